package memory

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// client records what one Conn is told.
type client struct {
	broker.Conn
	t      *testing.T
	events []broker.Event
}

func (c *client) Receive(ev broker.Event) { c.events = append(c.events, ev) }

func open(t *testing.T, b *Broker, id string) *client {
	c := &client{t: t}
	c.Conn = b.Open(id, c)
	return c
}

func (c *client) do(r broker.Request) {
	c.t.Helper()
	if err := c.Do(&r); err != nil {
		c.t.Fatalf("Do(%+v): %v", r, err)
	}
}

// take returns what was told since the last take.
func (c *client) take() []broker.Event {
	events := c.events
	c.events = nil
	return events
}

func (c *client) expect(want ...broker.Event) {
	c.t.Helper()
	got := c.take()
	if len(got) != len(want) {
		c.t.Fatalf("told %+v, want %+v", got, want)
	}
	for i := range got {
		g := got[i]
		if w := want[i]; w.Message != nil && g.Message != nil {
			if g.Message.Topic != w.Message.Topic || string(g.Message.Payload) != string(w.Message.Payload) {
				c.t.Fatalf("event %d: message %+v, want %+v", i, g.Message, w.Message)
			}
			g.Message = w.Message
		}
		if g != want[i] {
			c.t.Fatalf("event %d: %+v, want %+v", i, g, want[i])
		}
	}
}

func answered(t broker.Token, code broker.Code) broker.Event {
	return broker.Event{Kind: broker.Answered, Token: t, Code: code}
}

func delivered(t broker.Token, qos byte, topic, payload string) broker.Event {
	return broker.Event{
		Kind: broker.Delivered, Token: t, QoS: qos,
		Message: &broker.Message{Topic: topic, Payload: []byte(payload)},
	}
}

func TestPublishReachesSubscriberWithinDo(t *testing.T) {
	b := New()
	from, to := open(t, b, "from"), open(t, b, "to")
	from.do(broker.Request{Op: broker.Connect, Token: 1, CleanSession: true})
	to.do(broker.Request{Op: broker.Connect, Token: 7, CleanSession: true})
	from.expect(answered(1, 0))
	to.expect(answered(7, 0))
	to.do(broker.Request{Op: broker.Subscribe, Token: 8, Topic: "a/+", QoS: 1})
	to.expect(broker.Event{Kind: broker.Answered, Token: 8, QoS: 1})

	payload := []byte("on")
	from.do(broker.Request{Op: broker.Publish, Token: 2, Topic: "a/b", Payload: payload, QoS: 2})
	payload[0] = 'X' // valid only during Do
	from.expect(answered(2, 0))
	to.expect(delivered(1, 1, "a/b", "on"))
	from.do(broker.Request{Op: broker.Publish, Topic: "a/b", Payload: []byte("0")})
	from.expect()
	to.expect(delivered(0, 0, "a/b", "0"))
	if got := b.Published(); len(got) != 2 || string(got[0].Payload) != "on" || got[0].ClientID != "from" {
		t.Fatalf("published %+v", got)
	}
}

func TestUnackedComesAgainWithTheSameToken(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.Subscribe, Topic: "#", QoS: 1})
	c.take()
	for _, p := range []string{"1", "2", "3"} {
		b.Publish("t", []byte(p), 1, false)
	}
	c.expect(delivered(1, 1, "t", "1"), delivered(2, 1, "t", "2"), delivered(3, 1, "t", "3"))
	c.do(broker.Request{Op: broker.Ack, Token: 2})
	c.do(broker.Request{Op: broker.Disconnect})
	b.Publish("t", []byte("4"), 1, false)
	b.Publish("t", []byte("lost"), 0, false)
	c.expect()
	c.do(broker.Request{Op: broker.Connect})
	c.expect(broker.Event{Kind: broker.Answered, SessionPresent: true},
		delivered(1, 1, "t", "1"), delivered(3, 1, "t", "3"), delivered(4, 1, "t", "4"))

	c.do(broker.Request{Op: broker.Disconnect})
	c.do(broker.Request{Op: broker.Connect, CleanSession: true})
	c.expect(answered(0, 0))
	if subscribed := b.Subscriptions("c"); len(subscribed) != 0 {
		t.Fatalf("a clean session has subscriptions: %v", subscribed)
	}
	c.do(broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
	b.Publish("t", []byte("5"), 1, false)
	c.expect(broker.Event{Kind: broker.Answered, QoS: 1}, delivered(5, 1, "t", "5")) // no token is used twice
	c.do(broker.Request{Op: broker.Disconnect})
	if b.Subscriptions("c") != nil {
		t.Fatal("a clean session outlives its connection")
	}
}

func TestReceiveMaximum(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 2})
	c.take()
	for range ReceiveMaximum + 3 {
		b.Publish("t", nil, 2, false)
	}
	if got := len(c.take()); got != ReceiveMaximum {
		t.Fatalf("%d delivered, want %d", got, ReceiveMaximum)
	}
	if unacked, waiting := b.Unacked("c"); unacked != ReceiveMaximum || waiting != 3 {
		t.Fatalf("unacked %d, waiting %d", unacked, waiting)
	}
	c.do(broker.Request{Op: broker.Ack, Token: 5})
	c.expect(delivered(ReceiveMaximum+1, 2, "t", ""))
}

func TestRetained(t *testing.T) {
	b := New()
	b.Publish("r/1", []byte("x"), 1, true)
	b.Publish("r/2", []byte("y"), 1, true)
	b.Publish("r/2", nil, 1, true)
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.Subscribe, Token: 1, Topic: "r/#", QoS: 0})
	want := delivered(0, 0, "r/1", "x")
	want.Retain = true
	c.expect(answered(0, 0), broker.Event{Kind: broker.Answered, Token: 1}, want)
}

func TestWillAndTakeover(t *testing.T) {
	b := New()
	will := &broker.Message{Topic: "w", Payload: []byte("gone"), QoS: 1}
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect, Will: will})
	c.do(broker.Request{Op: broker.Disconnect})
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.SetWill, Will: will})
	other := open(t, b, "c")
	c.take()
	other.do(broker.Request{Op: broker.Connect, Will: will})
	c.expect(broker.Event{Kind: broker.Closed, Code: broker.CodeTakenOver})
	if err := c.Do(&broker.Request{Op: broker.Publish, Topic: "t"}); err != broker.ErrClosed {
		t.Fatalf("after Closed: %v", err)
	}
	if got := b.Published(); len(got) != 0 {
		t.Fatalf("wills of living clients: %+v", got)
	}
	other.do(broker.Request{Op: broker.Abandon})
	if got := b.Published(); len(got) != 1 || !got[0].Will || got[0].Topic != "w" || got[0].ClientID != "c" {
		t.Fatalf("published %+v", got)
	}
	if b.Connected("c") {
		t.Fatal("connected after Abandon")
	}
}

func TestHoldStepRelease(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
	c.take()
	b.Hold(broker.Answered)
	for i := range 3 {
		c.do(broker.Request{Op: broker.Publish, Token: broker.Token(10 + i), Topic: "t", QoS: 1})
	}
	c.expect(delivered(1, 1, "t", ""), delivered(2, 1, "t", ""), delivered(3, 1, "t", ""))
	b.Step(1)
	c.expect(answered(10, 0))
	if b.Held() != 2 {
		t.Fatalf("held %d", b.Held())
	}
	b.Release()
	c.expect(answered(11, 0), answered(12, 0))

	b.Hold()
	c.do(broker.Request{Op: broker.Publish, Token: 13, Topic: "t", QoS: 1})
	c.do(broker.Request{Op: broker.Disconnect})
	b.Release()
	c.expect() // no events follow Disconnect
}

func TestRefuseAndBusy(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	b.Refuse(broker.Connect, broker.CodeNotAuthorized)
	c.do(broker.Request{Op: broker.Connect, Token: 1})
	c.expect(answered(1, broker.CodeNotAuthorized))
	b.Refuse(broker.Connect, broker.CodeSuccess)
	c.do(broker.Request{Op: broker.Connect, Token: 2})
	c.expect(answered(2, 0))
	b.BusyAfter(1)
	c.do(broker.Request{Op: broker.Publish, Token: 3, Topic: "t", QoS: 1})
	c.expect(answered(3, 0))
	if err := c.Do(&broker.Request{Op: broker.Publish, Token: 4, Topic: "t", QoS: 1}); err != broker.ErrBusy {
		t.Fatalf("beyond BusyAfter: %v", err)
	}
	c.do(broker.Request{Op: broker.Disconnect})
	ops := []broker.Op{}
	for _, a := range b.Asked() {
		ops = append(ops, a.Op)
	}
	if want := []broker.Op{broker.Connect, broker.Connect, broker.Publish, broker.Disconnect}; !slices.Equal(ops, want) {
		t.Fatalf("asked %v, want %v", ops, want)
	}
}

func TestDownAndUp(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
	c.take()
	b.SetUp(false)
	if b.Up() {
		t.Fatal("up")
	}
	c.do(broker.Request{Op: broker.Publish, Token: 1, Topic: "t", QoS: 1})
	late := open(t, b, "late")
	late.do(broker.Request{Op: broker.Connect, Token: 9})
	late.expect(answered(9, broker.CodeServerUnavailable))
	c.expect()
	b.SetUp(true)
	c.expect(answered(1, 0), delivered(1, 1, "t", ""))
	b.Forget("c")
	c.expect(broker.Event{Kind: broker.Closed, Code: broker.CodeServerUnavailable})
	c.do(broker.Request{Op: broker.Connect})
	c.expect(answered(0, 0))
}

func TestServeWakesAfterControls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		ctx, cancel := context.WithCancel(t.Context())
		woken := 0
		var served error
		go func() { served = b.Serve(ctx, func() { woken++ }) }()
		synctest.Wait()
		b.Publish("t", nil, 0, false)
		cancel()
		synctest.Wait()
		b.Publish("t", nil, 0, false)
		if woken != 1 || served != nil {
			t.Fatalf("woken %d times, Serve returned %v", woken, served)
		}
	})
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false},
		{"+", "a", true}, {"+", "a/b", false}, {"a/+/c", "a/b/c", true}, {"a/+", "a", false}, {"+/+", "/x", true},
		{"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "b", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

// The properties of a message are recorded with it; a will has the latest.
func TestUserProperties(t *testing.T) {
	b := New()
	c := open(t, b, "c")
	list := func(value string) []broker.UserProperty {
		return []broker.UserProperty{{Name: []byte("hop"), Value: []byte(value)}}
	}
	will := &broker.Message{Topic: "w"}
	c.do(broker.Request{Op: broker.Connect, Will: will, User: list("1")})
	c.do(broker.Request{Op: broker.Publish, Topic: "t", User: list("2")})
	c.do(broker.Request{Op: broker.Abandon})
	c.do(broker.Request{Op: broker.Connect})
	c.do(broker.Request{Op: broker.SetWill, Will: will, User: list("3")})
	c.do(broker.Request{Op: broker.Abandon, User: list("4")})
	var got []string
	for _, p := range b.Published() {
		for _, u := range p.User {
			got = append(got, p.Topic+string(u.Value))
		}
	}
	if want := []string{"t2", "w1", "w4"}; !slices.Equal(got, want) {
		t.Errorf("published with %q, want %q", got, want)
	}
}

// What goes with a request is in the store when Do returns, and the answer says where.
func TestKeep(t *testing.T) {
	b, st := New(), store.NewMemory()
	b.Keep(st)
	c := open(t, b, "a")
	c.do(broker.Request{Op: broker.Connect, CleanSession: true})
	c.take()
	with := []store.Op{store.Put(store.SessionExchange, "a", 1, []byte("x"))}
	c.do(broker.Request{Op: broker.Publish, Token: 7, QoS: 2, Topic: "t", Payload: []byte("hi"), With: with})
	c.expect(broker.Event{Kind: broker.Answered, Token: 7, Mark: 1})
	if n := len(st.Records()); n != 2 {
		t.Errorf("%d records, want the message and what went with it", n)
	}
	b.BusyAfter(0)
	if err := c.Do(&broker.Request{Op: broker.Publish, QoS: 2, Topic: "t", With: with}); err == nil || st.Durable() != 1 {
		t.Errorf("a request that was not taken: %v, mark %d", err, st.Durable())
	}
}

// A sleeper's session outlives a crash of its gateway, and ends with its connection else.
func TestPersist(t *testing.T) {
	b := New()
	c := open(t, b, "a")
	for _, crash := range []bool{true, false} {
		c.do(broker.Request{Op: broker.Connect, CleanSession: true})
		c.do(broker.Request{Op: broker.Persist})
		if !crash {
			c.do(broker.Request{Op: broker.Disconnect})
		}
		d := open(t, b, "a")
		d.do(broker.Request{Op: broker.Connect})
		d.expect(broker.Event{Kind: broker.Answered, SessionPresent: crash})
		c.take()
	}
}
