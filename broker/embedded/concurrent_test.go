package embedded

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// Publishing while others subscribe, unsubscribe, come and go: every subscriber sees each
// publisher's messages in order, without a gap while it is subscribed.
func TestOrderWhileSubscribing(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxQueuedMessages = 10_000 })
	const publishers, each = 3, 500
	steady := connected(t, b, "steady", true)
	steady.subscribe("t/+", 1)
	fast := login(t, b, mqtt.V5, "fast")
	fast.subscribe(1, "t/#")
	var publishing, churning sync.WaitGroup
	var stop atomic.Bool
	for i := range 3 {
		churning.Go(func() {
			for n := 0; !stop.Load(); n++ {
				d := open(t, b, fmt.Sprint("churn", i))
				_ = d.Do(&broker.Request{Op: broker.Connect, CleanSession: n%2 == 0})
				for _, f := range []string{"t/#", "t/1", "+/2", "x"} {
					_ = d.Do(&broker.Request{Op: broker.Subscribe, Topic: f, QoS: byte(n % 3)})
				}
				_ = d.Do(&broker.Request{Op: broker.Unsubscribe, Topic: "t/#"})
				_ = d.Do(&broker.Request{Op: broker.Abandon})
			}
		})
	}
	for i := range publishers {
		from := connected(t, b, fmt.Sprint("from", i), true)
		publishing.Go(func() {
			for n := range each {
				from.do(broker.Request{Op: broker.Publish, Topic: fmt.Sprint("t/", i), Payload: fmt.Append(nil, n), QoS: 1})
				b.Flush()
			}
		})
	}
	next := make(map[string]int)
	for range publishers * each {
		m := expect[*mqtt.Publish](fast)
		fast.send(&mqtt.Puback{PacketID: m.PacketID})
		if want := next[string(m.Topic)]; string(m.Payload) != fmt.Sprint(want) {
			t.Fatalf("%s: got %s, want %d", m.Topic, m.Payload, want)
		}
		next[string(m.Topic)]++
	}
	next = make(map[string]int)
	for range publishers * each {
		ev := steady.next()
		steady.ack(ev.Token)
		if want := next[ev.Message.Topic]; string(ev.Message.Payload) != fmt.Sprint(want) {
			t.Fatalf("%s: got %s, want %d", ev.Message.Topic, ev.Message.Payload, want)
		}
		next[ev.Message.Topic]++
	}
	publishing.Wait()
	stop.Store(true)
	churning.Wait()
	if st := b.Stats(); st.Subscriptions > 2+9 {
		t.Errorf("%d subscriptions are left", st.Subscriptions)
	}
}

// However publishers of one retained topic and new subscribers interleave, the last
// message that each subscriber gets is the one that is retained.
func TestRetainedIsLastValue(t *testing.T) {
	b := newBroker(t)
	const publishers, each, subscribers = 3, 200, 8
	var done sync.WaitGroup
	for i := range publishers {
		from := connected(t, b, fmt.Sprint("from", i), true)
		done.Go(func() {
			for n := range each {
				from.do(broker.Request{Op: broker.Publish, Topic: "state", Payload: fmt.Append(nil, i, n), Retain: true})
			}
		})
	}
	subs := make([]*station, subscribers)
	for i := range subs {
		subs[i] = open(t, b, fmt.Sprint("sub", i))
		done.Go(func() {
			_ = subs[i].Do(&broker.Request{Op: broker.Connect, CleanSession: true})
			_ = subs[i].Do(&broker.Request{Op: broker.Subscribe, Topic: []string{"state", "#"}[i%2]})
		})
	}
	done.Wait()
	want := retainedFor(b, "state")[0]
	for _, s := range subs {
		events := s.take()
		if last := events[len(events)-1]; last.Message == nil || string(last.Message.Payload) != string(want.Payload) {
			t.Errorf("%s got last %+v, retained is %s", s.id, last.Message, want.Payload)
		}
	}
}

// More retained messages than fit into any queue all reach a client that reads.
func TestManyRetained(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxQueuedMessages, o.MaxQueuedBytes = 10, 10_000 })
	from := connected(t, b, "from", true)
	const n = 3000
	for i := range n {
		from.publish(fmt.Sprint("r/", i), strings.Repeat("x", 100), byte(i%2), true)
	}
	for qos := range mqtt.QoS(3) {
		p := login(t, b, mqtt.V5, fmt.Sprint("c", qos))
		p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("r/#"), QoS: qos}}})
		expect[*mqtt.Suback](p)
		got := make(map[string]bool)
		for range n {
			m := expect[*mqtt.Publish](p)
			got[string(m.Topic)] = m.Retain
			if m.QoS == 1 {
				p.send(&mqtt.Puback{PacketID: m.PacketID})
			}
		}
		if len(got) != n {
			t.Errorf("QoS %d: %d topics", qos, len(got))
		}
	}
	d := connected(t, b, "d", true)
	d.subscribe("r/+", 1)
	for range n {
		if ev := d.next(); ev.QoS > 0 {
			d.ack(ev.Token)
		}
	}
	// One that does not read keeps at most its queue when it goes.
	d = connected(t, b, "away", false)
	d.subscribe("r/+", 1)
	d.do(broker.Request{Op: broker.Disconnect})
	until(t, "all acknowledgements have come", func() bool { return b.Stats().QueuedMessages <= 10+16 })
	st := b.Stats()
	if st.QueuedMessages == 0 || st.Dropped["queue_full"] == 0 {
		t.Errorf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
	}
	sum := uint64(0)
	for _, n := range st.Sent {
		sum += n
	}
	if want := uint64(5 * n); sum+st.Dropped["queue_full"]+st.Dropped["client_away"]+10 < want-16 {
		t.Errorf("of %d messages %d were sent, dropped %v", want, sum, st.Dropped)
	}
}

func TestRetainedLimit(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.MaxRetainedMessages = 2 })
	d := connected(t, b, "d", true)
	d.subscribe("#", 0)
	publish := func(topic string, qos byte, want broker.Code) {
		t.Helper()
		d.do(broker.Request{Op: broker.Publish, Topic: topic, Payload: []byte("x"), QoS: qos, Retain: true})
		answered, delivered := false, false
		for _, ev := range d.take() {
			delivered = delivered || ev.Kind == broker.Delivered
			if ev.Kind == broker.Answered {
				answered = true
				if ev.Code != want {
					t.Errorf("%s: code %#x, want %#x", topic, ev.Code, want)
				}
			}
		}
		if answered != (qos > 0) || delivered == want.Failed() {
			t.Errorf("%s: answered %v, delivered %v", topic, answered, delivered)
		}
	}
	publish("1", 1, 0)
	publish("2", 1, 0)
	publish("3", 1, broker.CodeQuota)
	publish("3", 0, 0)
	publish("2", 1, 0)
	if st := b.Stats(); st.RetainedMessages != 2 || st.Dropped["retained_full"] != 2 {
		t.Errorf("%+v", st)
	}
}

// Packet identifiers go round without ever standing for two messages at a time, and a
// message that nobody acknowledges closes the window before they could.
func TestPacketIdentifiersGoRound(t *testing.T) {
	b := newBroker(t)
	d := connected(t, b, "d", true)
	d.subscribe("t", 1)
	from := connected(t, b, "from", true)
	from.publish("t", "never acked", 1, false)
	first := d.delivered("never acked", 1)
	n := 0
	for ; ; n++ {
		from.publish("t", "x", 1, false)
		events := d.take()
		if len(events) == 0 {
			break
		}
		if len(events) > 1 || events[0].Token == first || events[0].Token == 0 || events[0].Token > 0xFFFF {
			t.Fatalf("told %+v", events)
		}
		d.ack(events[0].Token)
	}
	if n != 0xFFFE {
		t.Errorf("the window closed after %d messages", n)
	}
	d.ack(first)
	if token := d.delivered("x", 1); token != first {
		t.Errorf("goes on with token %d", token)
	}
}

// Any history of a device's coming, going, subscribing and acknowledging: every message
// that was accepted for its session comes, in order, again until it is acknowledged, with
// the same token, and never afterwards.
func TestDeviceHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBroker(t, func(o *Options) { o.DeviceInflight, o.MaxQueuedMessages = 3, 5 })
		from := connected(t, b, "from", true)
		d := open(t, b, "d")
		type waiting struct {
			payload string
			token   broker.Token // 0: not delivered yet
		}
		var (
			online, exists, subscribed bool
			queue                      []waiting // what the session owes
			n                          int
		)
		deliver := func(events []broker.Event, again bool) {
			at := 0
			if !again {
				for at < len(queue) && queue[at].token != 0 {
					at++
				}
			}
			for _, ev := range events {
				if at >= min(len(queue), 3) {
					rt.Fatalf("told %s, %+v, with nothing to come", ev.Message.Payload, ev)
				}
				w := &queue[at]
				if ev.Kind != broker.Delivered || string(ev.Message.Payload) != w.payload || w.token != 0 && w.token != ev.Token {
					rt.Fatalf("told %s, %+v, want %+v", ev.Message.Payload, ev, *w)
				}
				w.token = ev.Token
				at++
			}
			if want := min(len(queue), 3); at != want && online {
				rt.Fatalf("%d of %d were delivered", at, want)
			}
		}
		do := func(r broker.Request) error { return d.Do(&r) }
		rt.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) {
				clean := rapid.IntRange(0, 4).Draw(t, "clean") == 0
				_ = do(broker.Request{Op: broker.Connect, CleanSession: clean})
				events := d.take()
				if events[0].SessionPresent != (exists && !clean) {
					t.Fatalf("%+v, session exists %v", events[0], exists)
				}
				if clean || !exists {
					queue, subscribed = nil, false
				}
				online, exists = true, !clean
				deliver(events[1:], true)
			},
			"disconnect": func(t *rapid.T) {
				op := rapid.SampledFrom([]broker.Op{broker.Disconnect, broker.Abandon}).Draw(t, "op")
				if err := do(broker.Request{Op: op}); (err == nil) != online {
					t.Fatalf("%v while online %v", err, online)
				}
				online = false
				if !exists {
					queue, subscribed = nil, false
				}
			},
			"subscribe": func(t *rapid.T) {
				if do(broker.Request{Op: broker.Subscribe, Topic: "t/+", QoS: 1}) == nil {
					subscribed = true
					d.take()
				}
			},
			"unsubscribe": func(t *rapid.T) {
				if do(broker.Request{Op: broker.Unsubscribe, Topic: "t/+"}) == nil {
					subscribed = false
					d.take()
				}
			},
			"publish": func(t *rapid.T) {
				n++
				from.publish("t/x", strconv.Itoa(n), 1, false)
				if subscribed && len(queue) < 3+5 {
					queue = append(queue, waiting{payload: strconv.Itoa(n)})
				}
				deliver(d.take(), false)
			},
			"ack": func(t *rapid.T) {
				if !online || len(queue) == 0 {
					return
				}
				i := rapid.IntRange(0, min(len(queue), 3)-1).Draw(t, "which")
				_ = do(broker.Request{Op: broker.Ack, Token: queue[i].token})
				_ = do(broker.Request{Op: broker.Ack, Token: queue[i].token}) // is unknown then
				queue = append(queue[:i:i], queue[i+1:]...)
				deliver(d.take(), false)
			},
			"": func(t *rapid.T) {
				if got := b.Stats().QueuedMessages; got != len(queue) {
					t.Fatalf("%d are queued, want %d", got, len(queue))
				}
			},
		})
	})
}
