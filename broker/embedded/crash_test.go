package embedded

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// moments is a store that remembers what a crash would leave after each Apply.
type moments struct {
	*store.Memory
	after []*store.Memory // by mark
}

func newMoments() *moments {
	m := &moments{Memory: store.NewMemory()}
	m.after = append(m.after, m.Crash())
	return m
}

func (m *moments) Apply(ops ...store.Op) store.Mark {
	mark := m.Memory.Apply(ops...)
	m.after = append(m.after, m.Crash())
	return mark
}

// span is when something is there: from a mark on, up to another one, 0 for never.
type span struct{ from, to store.Mark }

func (s span) holds(at store.Mark) bool {
	return s.from != 0 && s.from <= at && (s.to == 0 || at < s.to)
}

// payloads are those that wait for a client, in their order.
func payloads(b *Broker, id string) (all []string) {
	b.mu.Lock()
	s := b.sessions[id]
	b.mu.Unlock()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.queue.len() {
		all = append(all, string(s.queue.at(i).message.Payload))
	}
	return all
}

// Wherever a crash comes between two changes, everything that was acknowledged is there,
// in order, nothing that was not, and what a request carried along exactly with what the
// request did.
func TestCrashBetweenAllChanges(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashEverywhere(t, seed) })
	}
}

type crashScript struct {
	t        *testing.T
	st       *moments
	b        *Broker
	random   *rand.Rand
	n        int
	queued   map[string]map[string]*span // by client and payload
	order    []string                    // of the payloads
	retained map[string][]span           // by payload
	last     string                      // payload that is retained
	with     map[store.Key]span
}

var crashSubscribers = []string{"sub1", "sub2", "sleeper"}

func crashEverywhere(t *testing.T, seed uint64) {
	c := &crashScript{
		t: t, st: newMoments(), random: rand.New(rand.NewPCG(seed, 0)),
		queued: make(map[string]map[string]*span), retained: make(map[string][]span), with: make(map[store.Key]span),
	}
	c.b = newStoreBroker(t, c.st)
	subs := make([]*station, len(crashSubscribers))
	for i, id := range crashSubscribers {
		subs[i] = connected(t, c.b, id, id == "sleeper")
		subs[i].subscribe("t/#", 2)
		c.queued[id] = make(map[string]*span)
	}
	subs[2].do(broker.Request{Op: broker.Persist})
	clean := connected(t, c.b, "clean", true)
	clean.subscribe("t/#", 2)
	pub := connected(t, c.b, "pub", true)
	ready := store.Mark(len(c.st.after) - 1)
	for range 40 {
		switch c.random.IntN(6) {
		case 0, 1:
			c.publish(pub, false)
		case 2:
			c.publish(pub, true)
		case 3, 4:
			c.ack(subs[c.random.IntN(len(subs))])
		case 5:
			c.loseOne()
		}
	}
	tidy(t, c.b)
	for at := ready; int(at) < len(c.st.after); at++ {
		c.check(at)
	}
}

// carry is what a request carries along.
func (c *crashScript) carry() []store.Op {
	c.n++
	return []store.Op{store.Put(store.SessionHand, "x", uint64(c.n), []byte("hand"))}
}

func (c *crashScript) publish(pub *station, retain bool) {
	r := broker.Request{Op: broker.Publish, Topic: "t/1", QoS: byte(1 + c.random.IntN(2)), Retain: retain, With: c.carry()}
	payload := fmt.Sprint("message ", c.n)
	r.Payload = []byte(payload)
	pub.do(r)
	ev := pub.answer()
	c.published(payload, ev.Mark, retain)
	c.with[r.With[0].Key] = span{from: ev.Mark}
}

func (c *crashScript) published(payload string, mark store.Mark, retain bool) {
	c.order = append(c.order, payload)
	for _, id := range crashSubscribers {
		c.queued[id][payload] = &span{from: mark}
	}
	if !retain {
		return
	}
	if c.last != "" {
		all := c.retained[c.last]
		all[len(all)-1].to = mark
	}
	c.retained[payload] = append(c.retained[payload], span{from: mark})
	c.last = payload
}

func (c *crashScript) ack(d *station) {
	for i, ev := range d.events {
		if ev.Kind != broker.Delivered {
			continue
		}
		d.events = slices.Delete(d.events, i, i+1)
		r := broker.Request{Op: broker.Ack, Token: ev.Token, With: c.carry()}
		if err := d.Do(&r); err != nil || r.Mark == 0 {
			c.t.Fatalf("Ack: %v, mark %d", err, r.Mark)
		}
		c.queued[d.id][string(ev.Message.Payload)].to = r.Mark
		c.with[r.With[0].Key] = span{from: r.Mark}
		return
	}
}

// loseOne lets a client come and be lost, so that its will is published.
func (c *crashScript) loseOne() {
	c.n++
	payload := fmt.Sprint("will ", c.n)
	d := open(c.t, c.b, "mortal")
	d.do(broker.Request{Op: broker.Connect, Will: &broker.Message{Topic: "t/will", Payload: []byte(payload), QoS: 1}})
	ev := d.answer()
	r := broker.Request{Op: broker.Abandon, With: c.carry()}
	ended := store.Mark(len(c.st.after)) // the session knows before the will is published
	if err := d.Do(&r); err != nil {
		c.t.Fatal(err)
	}
	c.published(payload, r.Mark, false)
	c.with[r.With[0].Key] = span{from: ended}
	for _, id := range crashSubscribers {
		c.queued[id]["armed "+payload] = &span{from: ev.Mark, to: r.Mark}
	}
}

// check compares what a crash leaves with what was acknowledged by then.
func (c *crashScript) check(at store.Mark) {
	c.t.Helper()
	left := c.st.after[at].Crash()
	for k, when := range c.with {
		if _, err := left.Read(k, nil); when.holds(at) != (err == nil) {
			c.t.Fatalf("after change %d: what %d has carried is there: %v, it should from %d on", at, k.Number, err == nil, when.from)
		}
	}
	b := newStoreBroker(c.t, left)
	for _, id := range crashSubscribers {
		var want []string
		for _, p := range c.order {
			if c.queued[id][p].holds(at) {
				want = append(want, p)
			}
		}
		if got := payloads(b, id); !slices.Equal(got, want) {
			c.t.Fatalf("after change %d: %s is to get\n%q, want\n%q", at, id, got, want)
		}
	}
	var want []string
	for p, all := range c.retained {
		for _, when := range all {
			if when.holds(at) {
				want = append(want, p)
			}
		}
	}
	var got []string
	for _, m := range retainedFor(b, "#") {
		got = append(got, string(m.Payload))
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("after change %d: retained is %q, want %q", at, got, want)
	}
	// Wills whose clients do not come back are published, once.
	expected := payloads(b, "sub1")
	b.start = b.start.Add(-2 * restartGrace)
	b.expire()
	for _, p := range c.order {
		if when := c.queued["sub1"]["armed "+p]; when != nil && when.holds(at) {
			expected = append(expected, p)
		}
	}
	if got := payloads(b, "sub1"); !slices.Equal(got, expected) {
		c.t.Fatalf("after change %d: with the wills of those who do not come back sub1 is to get\n%q, want\n%q", at, got, expected)
	}
	if b.sessions["sleeper"] != nil {
		c.t.Fatalf("after change %d: the sleeper's session has not ended", at)
	}
	// And all of it can be read again.
	again := newStoreBroker(c.t, left.Crash())
	if got, want := payloads(again, "sub1"), payloads(b, "sub1"); !slices.Equal(got, want) {
		c.t.Fatalf("after change %d and another restart: %q, want %q", at, got, want)
	}
	tidy(c.t, again)
}

// tidy fails if the store has more than what the broker has in memory.
func tidy(t testing.TB, b *Broker) {
	t.Helper()
	var deliveries, subscriptions int
	messages := make(map[*message]bool)
	for _, s := range b.sessions {
		if !s.isDurable() {
			continue
		}
		subscriptions += s.filters.len()
		for i := range s.queue.len() {
			if d := s.queue.at(i); d.record&kept != 0 {
				deliveries++
				if d.record&sharedKept != 0 {
					messages[d.message] = true
				}
			}
		}
	}
	retained := retainedFor(b, "#")
	for _, m := range retained {
		if m.shared.retainedShared {
			messages[m] = true
		}
	}
	wills, flights, sessions := 0, 0, 0
	for _, s := range b.sessions {
		if !s.isDurable() {
			continue
		}
		sessions++
		if s.will != nil {
			wills++
		}
		for i := range s.queue.len() {
			if s.queue.at(i).record&flightKept != 0 {
				flights++
			}
		}
	}
	counts := make(map[store.Space]int)
	for k := range memory(b.store).Records() {
		if k.Number != 0 || k.Space != store.MQTTMessage {
			counts[k.Space]++
		}
	}
	for space, want := range map[store.Space]int{
		store.MQTTDelivery: deliveries, store.MQTTSubscription: subscriptions, store.MQTTMessage: len(messages), store.MQTTRetained: len(retained),
		store.MQTTSession: sessions + wills, store.MQTTFlight: flights,
	} {
		if counts[space] != want {
			t.Errorf("%d records %s, want %d", counts[space], spaceNames[space], want)
		}
	}
}

func memory(st store.Store) *store.Memory {
	if m, ok := st.(*moments); ok {
		return m.Memory
	}
	return st.(*store.Memory)
}

// A publisher is answered with the mark of all that its message has changed.
func TestMarks(t *testing.T) {
	st := holding()
	b := newStoreBroker(t, st)
	d := open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect})
	connect := d.answer().Mark
	d.do(broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
	subscribe := d.answer().Mark
	from := open(t, b, "from")
	from.do(broker.Request{Op: broker.Connect, CleanSession: true})
	if mark := from.answer().Mark; mark != 0 {
		t.Errorf("a clean session has mark %d", mark)
	}
	from.do(broker.Request{Op: broker.Publish, Topic: "t", QoS: 1})
	publish := from.answer().Mark
	from.do(broker.Request{Op: broker.Publish, Topic: "nobody", QoS: 1})
	if mark := from.answer().Mark; mark != 0 {
		t.Errorf("a message for nobody has mark %d", mark)
	}
	if connect == 0 || subscribe <= connect || publish <= subscribe {
		t.Errorf("marks %d, %d, %d", connect, subscribe, publish)
	}
	if st.Durable() >= connect {
		t.Error("durable before the commit")
	}
	if n := len(newStoreBroker(t, st.Crash()).sessions); n != 0 {
		t.Errorf("%d sessions after a crash before the commit", n)
	}
}
