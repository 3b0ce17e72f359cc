package disk

import "mqttsn-gateway/gateway/store"

// group is the changes that become durable together: for each key the last one. Where in it
// that is stands in the record.
type group struct {
	mark   store.Mark
	slot   int  // of record.at; the open group and the one that is being written differ
	used   bool // somebody waits for the mark, be it that nothing is to be written
	ops    []store.Op
	of     []*record // that the operations are for
	values []byte    // a block of memory for values, as far as it is used
}

// valueBlock is how many octets are taken for values at a time.
const valueBlock = 32 << 10

// get returns what the group does to a record; nil is nothing.
func (g *group) get(r *record) *store.Op {
	if g == nil || r.at[g.slot] == 0 {
		return nil
	}
	return &g.ops[r.at[g.slot]-1]
}

// set makes an operation the last one for a record. The value is the group's from then on.
func (g *group) set(r *record, op store.Op) {
	if last := g.get(r); last != nil {
		*last = op
		return
	}
	g.ops = append(g.ops, op)
	g.of = append(g.of, r)
	r.at[g.slot] = int32(len(g.ops))
}

// drop forgets what the group does to a record.
func (g *group) drop(r *record) {
	i, last := r.at[g.slot]-1, int32(len(g.ops)-1)
	g.ops[i], g.of[i] = g.ops[last], g.of[last]
	g.of[i].at[g.slot] = i + 1
	r.at[g.slot] = 0
	g.ops[last], g.of[last] = store.Op{}, nil
	g.ops, g.of = g.ops[:last], g.of[:last]
}

// copy copies a value, as long as the group lives.
func (g *group) copy(value []byte) []byte {
	n := len(value)
	if n > valueBlock/8 {
		return append(make([]byte, 0, n), value...)
	}
	if n > cap(g.values)-len(g.values) || g.values == nil { // an empty value is not nil
		g.values = make([]byte, 0, valueBlock)
	}
	start := len(g.values)
	g.values = append(g.values, value...)
	return g.values[start : start+n : start+n]
}

// follow makes the group an empty one, to be open while another one is written. Nothing is
// done to a record by it any more.
func (g *group) follow(before *group) {
	clear(g.ops)
	clear(g.of)
	g.mark, g.slot, g.used = before.mark+1, 1-before.slot, false
	g.ops, g.of, g.values = g.ops[:0], g.of[:0], g.values[:0]
}
