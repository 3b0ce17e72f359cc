package embedded

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mqttsn-gateway/broker"
)

// matches is the naive matcher: level by level, as the specification tells it.
func matches(filter, topic string) bool {
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (fs[0] == "+" || fs[0] == "#") {
		return false
	}
	for i, f := range fs {
		switch {
		case f == "#":
			return true
		case i >= len(ts) || f != "+" && f != ts[i]:
			return false
		}
	}
	return len(fs) == len(ts)
}

var (
	someLevel  = rapid.SampledFrom([]string{"a", "b", "", "$x", "long level"})
	someTopic  = rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(someLevel, 1, 4).Draw(t, "levels"), "/") })
	someFilter = rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.OneOf(someLevel, rapid.Just("+")), 1, 4).Draw(t, "levels")
		if rapid.Bool().Draw(t, "all below") {
			levels = append(levels, "#")
		}
		if rapid.IntRange(0, 20).Draw(t, "all") == 0 {
			levels = []string{"#"}
		}
		return strings.Join(levels, "/")
	})
)

// naive is what one subscription is known to be.
type naive struct {
	session *session
	filter  string
	subscription
}

// wantTargets is what a route must say, from the list of all subscriptions.
func wantTargets(all []naive, topic string, own *session) map[*session]string {
	merged := make(map[*session]*subscription)
	ids := make(map[*session][]uint32)
	for _, n := range all {
		if strings.HasPrefix(n.filter, "$share/") || !matches(n.filter, topic) || n.session == own && n.noLocal {
			continue
		}
		m := merged[n.session]
		if m == nil {
			m = new(subscription)
			merged[n.session] = m
		}
		m.qos = max(m.qos, n.qos)
		m.retainAsPublished = m.retainAsPublished || n.retainAsPublished
		if n.id != 0 {
			ids[n.session] = append(ids[n.session], n.id)
		}
	}
	want := make(map[*session]string)
	for s, m := range merged {
		slices.Sort(ids[s])
		want[s] = fmt.Sprint(m.qos, m.retainAsPublished, ids[s])
	}
	return want
}

// wantGroups is, for each shared subscription that matches, who shares it and how.
func wantGroups(all []naive, topic string) (want []string) {
	groups := make(map[string][]string)
	for _, n := range all {
		parts := strings.SplitN(n.filter, "/", 3)
		if parts[0] == "$share" && matches(parts[2], topic) {
			groups[n.filter] = append(groups[n.filter], fmt.Sprint(n.session.id, n.qos, n.retainAsPublished, n.id))
		}
	}
	for _, members := range groups {
		slices.Sort(members)
		want = append(want, fmt.Sprint(members))
	}
	slices.Sort(want)
	return want
}

func gotGroups(r *route) (got []string) {
	for _, g := range r.groups {
		var members []string
		for _, m := range g.members {
			var id uint32
			if m.rare != nil && len(m.rare.ids) > 0 {
				id = m.rare.ids[0]
			}
			members = append(members, fmt.Sprint(m.to.id, m.qos, m.retainAsPublished, id))
		}
		slices.Sort(members)
		got = append(got, fmt.Sprint(members))
	}
	slices.Sort(got)
	return got
}

func gotTargets(t *rapid.T, r *route, own *session) map[*session]string {
	got := make(map[*session]string)
	for i := range r.targets {
		to := &r.targets[i]
		if to.to == own {
			if to = to.local(); to == nil {
				continue
			}
		}
		if got[to.to] != "" {
			t.Fatalf("%s is a target twice", to.to.id)
		}
		var ids []uint32
		if to.rare != nil {
			ids = slices.Clone(to.rare.ids)
		}
		slices.Sort(ids)
		got[to.to] = fmt.Sprint(to.qos, to.retainAsPublished, ids)
	}
	return got
}

// The tree, the table of exact filters and the cache together find what the naive matcher
// finds, at every moment of a history of subscribing and unsubscribing.
func TestTopicsAgainstNaiveMatcher(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := newTopics(10)
		sessions := make([]*session, 20)
		for i := range sessions {
			sessions[i] = &session{id: fmt.Sprint(i)}
		}
		var all []naive
		at := func(s *session, filter string) int {
			return slices.IndexFunc(all, func(n naive) bool { return n.session == s && n.filter == filter })
		}
		// Few filters and topics, so that they meet.
		filters := rapid.SliceOfN(someFilter, 1, 10).Draw(t, "filters")
		for _, f := range filters {
			if f != "" {
				filters = append(filters, "$share/g/"+f, "$share/h/"+f)
			}
		}
		known := rapid.SliceOfN(someTopic, 1, 5).Draw(t, "topics")
		session := rapid.SampledFrom(sessions)
		filter := rapid.SampledFrom(filters)
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				s, f := session.Draw(t, "session"), filter.Draw(t, "filter")
				sub := subscription{to: s, qos: rapid.ByteMax(2).Draw(t, "qos"),
					id: rapid.Uint32Range(0, 3).Draw(t, "id"), noLocal: rapid.Bool().Draw(t, "noLocal"),
					retainAsPublished: rapid.Bool().Draw(t, "retain as published")}
				i := at(s, f)
				if added := topics.subscribe(f, sub); added != (i < 0) {
					t.Fatalf("added %v", added)
				}
				if i >= 0 {
					all = slices.Delete(all, i, i+1)
				}
				all = append(all, naive{s, f, sub})
			},
			"unsubscribe": func(t *rapid.T) {
				s, f := session.Draw(t, "session"), filter.Draw(t, "filter")
				i := at(s, f)
				if removed := topics.unsubscribe(f, s); removed != (i >= 0) {
					t.Fatalf("removed %v", removed)
				}
				if i >= 0 {
					all = slices.Delete(all, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				topic := rapid.SampledFrom(known).Draw(t, "topic")
				own := session.Draw(t, "publisher")
				if topic == "" {
					return
				}
				r, code := topics.route(topic)
				if code.Failed() {
					t.Fatalf("route of %q: %v", topic, code)
				}
				again, _ := topics.routeBytes([]byte(topic))
				if again != r {
					t.Fatal("the cache was not used")
				}
				got, want := gotTargets(t, r, own), wantTargets(all, topic, own)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%q: got %v, want %v", topic, got, want)
				}
				if got, want := gotGroups(r), wantGroups(all, topic); !slices.Equal(got, want) {
					t.Fatalf("%q: got groups %v, want %v", topic, got, want)
				}
				if count, _, _ := topics.stats(); count != len(all) {
					t.Fatalf("%d subscriptions are counted, want %d", count, len(all))
				}
			},
		})
		for _, n := range all {
			topics.unsubscribe(n.filter, n.session)
		}
		if !topics.root.empty() || len(topics.exact) > 0 || topics.count != 0 || topics.shared != 0 {
			t.Fatalf("something is left: %+v", &topics.root)
		}
	})
}

// Many sessions at one filter: the list gets an index.
func TestManySubscribers(t *testing.T) {
	topics := newTopics(10)
	sessions := make([]*session, 1000)
	for i := range sessions {
		sessions[i] = &session{id: fmt.Sprint(i)}
		topics.subscribe("a", subscription{to: sessions[i]})
		topics.subscribe("a/#", subscription{to: sessions[i], qos: 1})
	}
	r, _ := topics.route("a")
	if len(r.targets) != 1000 || r.targets[0].qos != 1 {
		t.Fatalf("%d targets, %+v", len(r.targets), r.targets[0])
	}
	for i := range sessions {
		if !topics.unsubscribe("a", sessions[i]) || topics.unsubscribe("a", sessions[i]) {
			t.Fatal("unsubscribe")
		}
		if i%2 == 0 {
			topics.unsubscribe("a/#", sessions[i])
		}
	}
	if r, _ = topics.route("a"); len(r.targets) != 500 {
		t.Fatalf("%d targets, want 500", len(r.targets))
	}
}

// The cache is bounded, whatever topics are published to.
func TestCacheIsBounded(t *testing.T) {
	topics := newTopics(10)
	for i := range 200 {
		topics.subscribe("#", subscription{to: &session{id: fmt.Sprint(i)}})
	}
	for i := range 10_000 {
		topics.route(fmt.Sprint("topic/", i))
		if topics.cost > routesCost {
			t.Fatalf("the cache costs %d octets", topics.cost)
		}
	}
	sum := 0
	for _, r := range topics.routes {
		sum += r.cost()
	}
	if sum != topics.cost || sum < routesCost/2 {
		t.Errorf("the cache costs %d, and says %d", sum, topics.cost)
	}
	for _, bad := range []string{"", "a/+", "#", "a\x00b", "a/\xff", strings.Repeat("x", 65536), strings.Repeat("/", 10), "$SYS", "$SYS/x"} {
		for range 2 {
			if _, code := topics.route(bad); !code.Failed() {
				t.Errorf("%.20q may be published to", bad)
			}
		}
	}
}

func TestRetainedAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := retained{maxMessages: 5, maxBytes: 450}
		known := make(map[string]*message)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				m := &message{Message: broker.Message{Topic: someTopic.Draw(t, "topic"), Payload: make([]byte, rapid.IntRange(1, 30).Draw(t, "size"))}}
				m.expires = time.Duration(rapid.SampledFrom([]int{0, 0, 50, 100}).Draw(t, "expires"))
				bytes, count := m.size()+shelves(m.Topic), 1
				for topic, old := range known {
					if topic != m.Topic {
						bytes += old.size() + shelves(topic)
						count++
					}
				}
				shrinks := known[m.Topic] != nil && m.size() <= known[m.Topic].size()
				if _, ok := r.set(m); ok != (count <= 5 && bytes <= 450 || shrinks) {
					t.Fatalf("set: %v, with %d messages of %d octets", ok, count, bytes)
				} else if ok {
					known[m.Topic] = m
				}
			},
			"remove": func(t *rapid.T) {
				topic := someTopic.Draw(t, "topic")
				r.remove(topic)
				delete(known, topic)
			},
			"": func(t *rapid.T) {
				filter := someFilter.Draw(t, "filter")
				now := time.Duration(rapid.SampledFrom([]int{0, 70, 200}).Draw(t, "now"))
				got, _ := r.match(filter, r.now(), now, anySize)
				var want []*message
				for topic, m := range known {
					if matches(filter, topic) && (m.expires == 0 || m.expires > now) {
						want = append(want, m)
					}
				}
				byTopic := func(a, b *message) int { return cmp.Compare(a.Topic, b.Topic) }
				slices.SortFunc(got, byTopic)
				slices.SortFunc(want, byTopic)
				if !slices.Equal(got, want) {
					t.Fatalf("%q: %d messages, want %d", filter, len(got), len(want))
				}
				if n, _ := r.stats(); n != len(known) {
					t.Fatalf("%d messages are counted, want %d", n, len(known))
				}
			},
		})
		r.sweep(75)
		for topic, m := range known {
			if m.expires == 50 {
				delete(known, topic)
			}
		}
		if n, _ := r.stats(); n != len(known) {
			t.Fatalf("%d messages after the sweep, want %d", n, len(known))
		}
		for topic := range known {
			r.remove(topic)
		}
		if r.count != 0 || r.bytes != 0 || !r.root.empty() {
			t.Fatalf("something is left: %+v", &r.root)
		}
	})
}

func TestDeadlinesAreAHeap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDeadlines()
		due := make(map[*session]time.Duration)
		sessions := make([]*session, 10)
		for i := range sessions {
			sessions[i] = new(session)
		}
		one := rapid.SampledFrom(sessions)
		t.Repeat(map[string]func(*rapid.T){
			"file": func(t *rapid.T) {
				s, at := one.Draw(t, "session"), time.Duration(rapid.IntRange(1, 100).Draw(t, "at"))
				d.file(s, at)
				due[s] = at
			},
			"remove": func(t *rapid.T) {
				s := one.Draw(t, "session")
				d.remove(s)
				delete(due, s)
			},
			"": func(t *rapid.T) {
				first := time.Duration(1000)
				for _, at := range due {
					first = min(first, at)
				}
				at, ok := d.next()
				if ok != (len(due) > 0) || ok && at != first || len(d.heap) != len(due) {
					t.Fatalf("next is %v, %v; want %v of %d", at, ok, first, len(due))
				}
				if s := d.dueAt(first); ok && due[s] != first {
					t.Fatalf("due at %v is one of %v", first, due[s])
				}
				if d.dueAt(first-1) != nil {
					t.Fatal("something is due too early")
				}
			},
		})
	})
}

func TestIDSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := make(idSet), make(map[uint16]bool)
		for range 200 {
			id := rapid.Uint16().Draw(t, "id")
			if rapid.Bool().Draw(t, "add") {
				s.add(id)
				want[id] = true
			} else {
				s.remove(id)
				delete(want, id)
			}
			if s.has(id) != want[id] {
				t.Fatalf("has %d: %v", id, s.has(id))
			}
		}
		for id := range want {
			if !s.has(id) {
				t.Fatalf("%d is lost", id)
			}
			s.remove(id)
		}
		if len(s) != 0 {
			t.Fatalf("%d pages are left", len(s))
		}
	})
}

// Clients that come and go with wildcard subscriptions leave the routes of other topics
// alone.
func TestRoutesOutliveChangesOfOthers(t *testing.T) {
	for _, c := range []struct {
		topic, filter string
		concerned     bool
	}{
		{"cmd/1/reset", "cmd/1/#", true},
		{"cmd/1/reset", "cmd/1/+", true},
		{"cmd/1/reset", "cmd/1/x/#", true}, // only two levels count
		{"cmd/1/reset", "cmd/#", true},
		{"cmd/1/reset", "cmd/+/reset", true},
		{"cmd/1/reset", "+/1/reset", true},
		{"cmd/1", "cmd/1/#", true},
		{"cmd", "cmd/#", true},
		{"/1", "/1/#", true},
		{"cmd/1", "cmd/1", true},
		{"cmd/1/reset", "cmd/2/#", false},
		{"cmd/1/reset", "state/#", false},
		{"cmd/1/reset", "$share/g/cmd/2/#", false},
		{"cmd", "cmd/1/#", false},
		{"cmd/1", "cmd/2", false},
	} {
		kept := 0
		const times = 5 // two filters may happen to share a counter
		for range times {
			topics := newTopics(10)
			s := new(session)
			topics.subscribe("#", subscription{to: s})
			before, _ := topics.route(c.topic)
			topics.subscribe(c.filter, subscription{to: s, qos: 1})
			after, _ := topics.route(c.topic)
			topics.unsubscribe(c.filter, s)
			last, _ := topics.route(c.topic)
			if (after == before) != (last == after) {
				t.Errorf("%s is subscribed to and not any more: the route of %s changes once", c.filter, c.topic)
			}
			if after == before {
				kept++
			}
		}
		if c.concerned && kept > 0 || !c.concerned && kept == 0 {
			t.Errorf("subscribing to %s kept the route of %s %d times of %d", c.filter, c.topic, kept, times)
		}
	}
}
