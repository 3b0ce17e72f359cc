package embedded

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"mqttsn-gateway/broker"
)

func TestFiltersAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f filters
		want := make(map[string]bool)
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "filter")) })
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for _, s := range rapid.SliceOfN(name, 1, 50).Draw(t, "some") {
					if !f.has(s) {
						f.add(s)
					}
					want[s] = true
				}
			},
			"remove": func(t *rapid.T) {
				for _, s := range rapid.SliceOfN(name, 1, 50).Draw(t, "some") {
					f.remove(s)
					delete(want, s)
				}
			},
			"": func(t *rapid.T) {
				if f.len() != len(want) {
					t.Fatalf("%d filters, want %d", f.len(), len(want))
				}
				for s := range want {
					if !f.has(s) || !slices.Contains(f.list, s) {
						t.Fatalf("%s is missing from %v", s, f.list)
					}
				}
			},
		})
	})
}

// A client may come with many filters, end some, replace some, and go: the broker then
// holds what is left, and nothing in the end.
func TestManyFilters(t *testing.T) {
	const n = 10_000
	b := newBroker(t, func(o *Options) { o.MaxSubscriptions = n })
	d := connected(t, b, "d", true)
	filter := func(i int) string { return fmt.Sprintf("devices/%d/%s", i, []string{"state", "#"}[i%2]) }
	for i := range n {
		d.subscribe(filter(i), 0)
	}
	d.do(broker.Request{Op: broker.Subscribe, Topic: "one/more"})
	if ev := d.next(); ev.Code != broker.CodeQuota {
		t.Errorf("one more was answered %+v", ev)
	}
	d.subscribe(filter(7), 1) // replaces one
	for i := range n / 2 {
		d.do(broker.Request{Op: broker.Unsubscribe, Topic: filter(i)})
		d.answer()
	}
	if st := b.Stats(); st.Subscriptions != n/2 {
		t.Errorf("%d subscriptions, want %d", st.Subscriptions, n/2)
	}
	d.do(broker.Request{Op: broker.Disconnect})
	b.topics.mu.Lock()
	defer b.topics.mu.Unlock()
	if b.topics.count != 0 || len(b.topics.exact) != 0 || !b.topics.root.empty() {
		t.Errorf("%d subscriptions are left", b.topics.count)
	}
}
