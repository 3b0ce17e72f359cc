package embedded

import (
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// up is an uplink that notes what it is told.
type up struct {
	store     store.Store
	published []broker.Request
	filters   []string
	allow     func(filter string) (broker.Code, byte)
	refuse    broker.Code
}

func (u *up) Publish(from string, r *broker.Request) (broker.Code, store.Mark) {
	if u.refuse.Failed() {
		return u.refuse, 0
	}
	kept := *r
	kept.Topic, kept.Payload, kept.With = from+" "+r.Topic, slices.Clone(r.Payload), slices.Clone(r.With)
	u.published = append(u.published, kept)
	return broker.CodeSuccess, u.store.Apply(append(kept.With, store.Put(store.UpstreamRequest, from, 1, r.Payload))...)
}

func (u *up) Subscribe(filter, client string, qos byte, answer func(broker.Code, byte)) {
	u.filters = append(u.filters, "+"+filter+" "+client)
	if answer != nil {
		answer(u.allow(filter))
	}
}

func (u *up) Unsubscribe(filter string) { u.filters = append(u.filters, "-"+filter) }

func bridged(t *testing.T, st store.Store) (*Broker, *up) {
	t.Helper()
	u := &up{store: st, allow: func(string) (broker.Code, byte) { return 0, 1 }}
	o := DefaultOptions()
	o.Listeners, o.SysInterval = nil, 0
	b, err := NewBridged(o, u, st, silent())
	if err != nil {
		t.Fatal(err)
	}
	return b, u
}

// seen takes the events of a device.
type seen struct{ events []broker.Event }

func (s *seen) Receive(ev broker.Event) { s.events = append(s.events, ev) }

func (s *seen) last(t *testing.T) broker.Event {
	t.Helper()
	if len(s.events) == 0 {
		t.Fatal("no event")
	}
	return s.events[len(s.events)-1]
}

func joinBridged(t *testing.T, b *Broker, id string, clean bool, w *broker.Message) (broker.Conn, *seen) {
	t.Helper()
	s := &seen{}
	c := b.Open(id, s)
	if err := c.Do(&broker.Request{Op: broker.Connect, Token: 1, CleanSession: clean, Will: w}); err != nil || s.last(t).Code.Failed() {
		t.Fatalf("%s: %v %+v", id, err, s.events)
	}
	return c, s
}

// What a device publishes goes up, with what is to be kept with it, and nowhere else.
func TestUplinkPublish(t *testing.T) {
	st := store.NewMemory()
	b, u := bridged(t, st)
	c, s := joinBridged(t, b, "a", false, nil)
	other, got := joinBridged(t, b, "b", false, nil)
	if err := other.Do(&broker.Request{Op: broker.Subscribe, Token: 2, Topic: "t", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	if ev := got.last(t); ev.QoS != 1 || ev.Code.Failed() || ev.Mark == 0 {
		t.Errorf("subscribe is answered with %+v", ev)
	}
	with := store.Put(store.SessionExchange, "a", 7, []byte{1})
	r := broker.Request{Op: broker.Publish, Token: 3, Topic: "t", Payload: []byte("x"), QoS: 2, Retain: true, With: []store.Op{with}}
	if err := c.Do(&r); err != nil {
		t.Fatal(err)
	}
	if ev := s.last(t); ev.Token != 3 || ev.Code.Failed() || ev.Mark == 0 {
		t.Errorf("publish is answered with %+v", ev)
	}
	if len(u.published) != 1 || u.published[0].Topic != "a t" || u.published[0].QoS != 2 || !u.published[0].Retain || len(u.published[0].With) != 1 {
		t.Errorf("published %+v", u.published)
	}
	if got.last(t).Kind == broker.Delivered {
		t.Error("it was delivered here")
	}
	u.refuse = broker.CodeQuota
	if err := c.Do(&broker.Request{Op: broker.Publish, Token: 4, Topic: "t", QoS: 1}); err != nil || s.last(t).Code != broker.CodeQuota {
		t.Errorf("refused: %v %+v", err, s.last(t))
	}
}

// A will goes up as well, once, and its records go with it.
func TestUplinkWill(t *testing.T) {
	st := store.NewMemory()
	b, u := bridged(t, st)
	c, _ := joinBridged(t, b, "a", false, &broker.Message{Topic: "w", Payload: []byte("gone"), QoS: 1})
	lost := store.Put(store.SessionState, "a", 0, []byte{1})
	if err := c.Do(&broker.Request{Op: broker.Abandon, With: []store.Op{lost}}); err != nil {
		t.Fatal(err)
	}
	if len(u.published) != 1 || u.published[0].Topic != "a w" || !slices.ContainsFunc(u.published[0].With, func(op store.Op) bool { return op.Key.Space == store.MQTTSession && op.Value == nil }) {
		t.Errorf("published %+v", u.published)
	}
	if _, err := st.Read(lost.Key, nil); err != nil {
		t.Errorf("what was with it: %v", err)
	}
	b, u = bridged(t, st.Crash())
	c, _ = joinBridged(t, b, "b", false, &broker.Message{Topic: "w", QoS: 1})
	u.refuse = broker.CodeServerBusy
	if err := c.Do(&broker.Request{Op: broker.Abandon, With: []store.Op{lost}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Read(lost.Key, nil); err != nil {
		t.Errorf("when the will is refused: %v", err)
	}
}

// The uplink is told of the first and the last subscription to a filter, also after a crash.
func TestUplinkFilters(t *testing.T) {
	st := store.NewMemory()
	b, u := bridged(t, st)
	one, _ := joinBridged(t, b, "one", false, nil)
	two, _ := joinBridged(t, b, "two", true, nil)
	do := func(c broker.Conn, r broker.Request) {
		t.Helper()
		if err := c.Do(&r); err != nil {
			t.Fatal(err)
		}
	}
	do(one, broker.Request{Op: broker.Subscribe, Topic: "a/#", QoS: 1})
	do(two, broker.Request{Op: broker.Subscribe, Topic: "a/#", QoS: 2})
	do(two, broker.Request{Op: broker.Subscribe, Topic: "b", QoS: 0})
	do(two, broker.Request{Op: broker.Unsubscribe, Topic: "a/#"})
	do(two, broker.Request{Op: broker.Disconnect})
	want := []string{"+a/# one", "+a/# two", "+b two", "-b"}
	if !slices.Equal(u.filters, want) {
		t.Errorf("told %q, want %q", u.filters, want)
	}
	b, u = bridged(t, st.Crash())
	if want := []string{"+a/# "}; !slices.Equal(u.filters, want) {
		t.Errorf("after a crash it is told %q, want %q", u.filters, want)
	}
	u.allow = func(string) (broker.Code, byte) { return broker.CodeNotAuthorized, 0 }
	two, got := joinBridged(t, b, "two", false, nil)
	do(two, broker.Request{Op: broker.Subscribe, Token: 9, Topic: "c", QoS: 1})
	if ev := got.last(t); ev.Token != 9 || ev.Code != broker.CodeNotAuthorized {
		t.Errorf("a refused subscription is answered with %+v", ev)
	}
	if want := []string{"+a/# ", "+c two", "-c"}; !slices.Equal(u.filters, want) {
		t.Errorf("told %q, want %q", u.filters, want)
	}
}

// What comes in is made safe together with what its sender wants, before anybody gets it;
// retained messages are for those alone who are named.
func TestUplinkInbound(t *testing.T) {
	st := store.NewMemory()
	b, _ := bridged(t, st)
	one, gotOne := joinBridged(t, b, "one", false, nil)
	two, gotTwo := joinBridged(t, b, "two", true, nil)
	for _, c := range []broker.Conn{one, two} {
		if err := c.Do(&broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 2}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(gotOne.events)
	called := 0
	b.Inbound(&broker.Message{Topic: "t", Payload: []byte("x"), QoS: 2, Expires: time.Now().Add(time.Hour)}, false, nil, func(ops []store.Op) store.Mark {
		called++
		if len(ops) != 1 || ops[0].Key.Space != store.MQTTDelivery || ops[0].Key.Client != "one" {
			t.Errorf("to be kept: %+v", ops)
		}
		if len(gotOne.events) != before {
			t.Error("it was delivered before")
		}
		return st.Apply(ops...)
	})
	if called != 1 {
		t.Errorf("made safe %d times", called)
	}
	for _, s := range []*seen{gotOne, gotTwo} {
		if ev := s.last(t); ev.Kind != broker.Delivered || string(ev.Message.Payload) != "x" || ev.Retain || ev.QoS != 2 || ev.Message.Expires.IsZero() {
			t.Errorf("delivered %+v", ev)
		}
	}
	n := len(gotOne.events)
	b.Inbound(&broker.Message{Topic: "t", Payload: []byte("r"), QoS: 1}, true, []string{"two"}, func(ops []store.Op) store.Mark {
		called++
		return st.Apply(ops...)
	})
	if ev := gotTwo.last(t); string(ev.Message.Payload) != "r" || !ev.Retain {
		t.Errorf("a retained message: %+v", ev)
	}
	if len(gotOne.events) != n {
		t.Error("a retained message for one came to another")
	}
	b.Inbound(&broker.Message{Topic: "nobody", QoS: 1}, false, nil, func(ops []store.Op) store.Mark {
		called++
		return 0
	})
	b.Inbound(&broker.Message{Topic: "no/+", QoS: 1}, false, nil, func(ops []store.Op) store.Mark {
		called++
		return 0
	})
	if called != 4 {
		t.Errorf("made safe %d times", called)
	}
}
