package embedded

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// Branches are what a map is, however many there are.
func TestBranches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var b branches[int]
	model := make(map[string]*int)
	for range 10_000 {
		name := fmt.Sprint(random.IntN(4))
		if have := b.get(name); have != model[name] {
			t.Fatalf("%s is %p, want %p", name, have, model[name])
		}
		switch {
		case random.IntN(2) == 0:
			b.remove(name)
			delete(model, name)
		case model[name] == nil:
			model[name] = new(int)
			b.add(name, model[name])
		}
		if all := maps.Collect(b.all()); !maps.Equal(all, model) || b.none() != (len(model) == 0) {
			t.Fatalf("%v, want %v", all, model)
		}
	}
	for name := range b.all() {
		b.remove(name)
	}
	if !b.none() || b.more != nil {
		t.Errorf("%+v is left", b)
	}
}
