package disk

import "mqttsn-gateway/gateway/store"

// group is the changes that become durable together: for each key the last one.
type group struct {
	mark store.Mark
	used bool // somebody waits for the mark, be it that nothing is to be written
	ops  []store.Op
	at   map[store.Key]int // where in ops
}

func newGroup(mark store.Mark) *group {
	return &group{mark: mark, at: make(map[store.Key]int)}
}

// get returns what the group does to a record, if anything.
func (g *group) get(k store.Key) (store.Op, bool) {
	if g == nil {
		return store.Op{}, false
	}
	i, ok := g.at[k]
	if !ok {
		return store.Op{}, false
	}
	return g.ops[i], true
}

func (g *group) set(op store.Op) {
	i, ok := g.at[op.Key]
	if !ok {
		g.at[op.Key] = len(g.ops)
		g.ops = append(g.ops, op)
		return
	}
	g.ops[i] = op
}

// drop forgets what the group does to a record.
func (g *group) drop(k store.Key) {
	i, ok := g.at[k]
	if !ok {
		return
	}
	delete(g.at, k)
	last := len(g.ops) - 1
	if i != last {
		g.ops[i] = g.ops[last]
		g.at[g.ops[i].Key] = i
	}
	g.ops[last] = store.Op{}
	g.ops = g.ops[:last]
}

// reset makes the group an empty one with another mark.
func (g *group) reset(mark store.Mark) {
	clear(g.at)
	clear(g.ops)
	g.mark, g.used, g.ops = mark, false, g.ops[:0]
}
