package embedded

import "iter"

// branches are what follows on one level of topics or filters, by the next level's name.
// One alone takes no map, which is all there is on most levels: a topic of 200 levels that
// nothing else shares costs 200 times the node, not 200 maps. The zero value is empty.
type branches[T any] struct {
	name string // of only
	only *T     // nil for none, or if there are more
	more map[string]*T
}

func (b *branches[T]) none() bool { return b.only == nil && len(b.more) == 0 }

// get is the branch of that name, nil for none.
func (b *branches[T]) get(name string) *T {
	if b.only != nil && b.name == name {
		return b.only
	}
	return b.more[name]
}

// add adds a branch of a name that is not there.
func (b *branches[T]) add(name string, t *T) {
	if b.none() {
		b.name, b.only, b.more = name, t, nil
		return
	}
	if b.only != nil {
		b.more = map[string]*T{b.name: b.only}
		b.name, b.only = "", nil
	}
	b.more[name] = t
}

// remove takes out the branch of that name, if there is one.
func (b *branches[T]) remove(name string) {
	if b.only != nil && b.name == name {
		b.name, b.only = "", nil
		return
	}
	delete(b.more, name)
	if len(b.more) == 0 {
		b.more = nil
	}
}

// all lists the branches, in no order. The present one may be removed meanwhile.
func (b *branches[T]) all() iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		if b.only != nil {
			yield(b.name, b.only)
			return
		}
		for name, t := range b.more {
			if !yield(name, t) {
				return
			}
		}
	}
}
