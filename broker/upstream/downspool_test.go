package upstream

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// taker is a gateway's client that takes messages, one at a time, and knows by token which
// it has had: what it has had is in the store, as the gateway's own records are.
type taker struct {
	had  []string
	held []broker.Event // until their marks are durable
}

func handOf(token broker.Token) store.Op {
	return store.Put(store.SessionHand, "c", uint64(token), []byte{1})
}

// take takes what was delivered. QoS 2: the device has the message before the gateway has
// acknowledged it, and knows it by its token.
func (k *taker) take(d *device, st store.Store, seen map[broker.Token]bool) {
	d.mu.Lock()
	k.held = append(k.held, d.events...)
	d.events = nil
	d.mu.Unlock()
	for len(k.held) > 0 && st.Durable() >= k.held[0].Mark {
		ev := k.held[0]
		k.held = k.held[1:]
		if ev.Kind != broker.Delivered {
			continue
		}
		if ev.QoS < 2 || !seen[ev.Token] {
			k.had = append(k.had, string(ev.Message.Payload))
		}
		seen[ev.Token] = true
		r := broker.Request{Op: broker.Ack, Token: ev.Token}
		if ev.QoS == 2 {
			r.With = []store.Op{handOf(ev.Token)}
		}
		_ = d.Do(&r)
	}
	d.b.Flush()
}

// A crash at every change of the store, and after every commit, while the broker delivers:
// nothing is lost, at QoS 2 nothing is doubled, and the order is kept.
func TestCrashWhileDelivering(t *testing.T) {
	const messages = 6
	for qos := byte(1); qos <= 2; qos++ {
		for _, delay := range []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprint(qos, delay), func(t *testing.T) {
				for steps := 1; ; steps++ {
					crashed := true
					inHub(t, func(t *testing.T, h *hub) { crashed = crashDelivering(t, h, steps, messages, qos, delay) })
					if !crashed || t.Failed() {
						t.Logf("%d crashes", steps)
						return
					}
				}
			})
		}
	}
}

func crashDelivering(t *testing.T, h *hub, steps, messages int, qos byte, delay time.Duration) (crashed bool) {
	k := &taker{}
	seen := make(map[broker.Token]bool) // by the device
	o := spoolOptions()
	o.ReceiveMaximum = 4
	st := newCrashing(h, store.NewMemory(), steps, delay)
	b := h.begin(o, st)
	d := b.device("c")
	d.do(broker.Request{Op: broker.Connect, Token: 1000})
	pass(10 * time.Millisecond)
	for i := range messages {
		h.deliver("c", strconv.Itoa(i), qos)
		if i%2 == 1 && !st.crashed() {
			pass(3 * time.Millisecond)
			k.take(d, st, seen)
		}
	}
	for range 50 {
		if st.crashed() {
			break
		}
		k.take(d, st, seen)
		pass(100 * time.Millisecond)
	}
	if crashed = st.crashed(); crashed {
		h.crash(b)
		k.held = nil
		st = newCrashing(h, st.after, -1, delay)
		b = h.begin(o, st)
		d = b.device("c")
		d.do(broker.Request{Op: broker.Connect, Token: 1000})
	}
	for range 200 {
		pass(100 * time.Millisecond)
		k.take(d, st, seen)
	}
	var first []string
	for _, s := range k.had {
		if !slices.Contains(first, s) {
			first = append(first, s)
		} else if qos == 2 {
			t.Errorf("step %d: doubled %q", steps, k.had)
		}
	}
	if want := numbered(0, messages); !slices.Equal(first, want) {
		t.Errorf("step %d: had %q, want %q", steps, first, want)
	}
	if n := records(st.Memory, store.UpstreamDelivery) + records(st.Memory, store.UpstreamUnreleased); n > 0 {
		t.Errorf("step %d: %d records are left", steps, n)
	}
	h.set(func() {
		if n := len(h.sessions["c"].down); n > 0 {
			t.Errorf("step %d: %d exchanges are open at the broker", steps, n)
		}
	})
	b.end()
	return crashed
}

// A sleeper does not take its messages: beyond the receive maximum they are kept, so that
// the broker need not keep them; after a restart it gets them in order, those that are kept
// first.
func TestSleeperIsKeptMessagesFor(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			o := spoolOptions()
			o.ReceiveMaximum, o.MaxQueuedMessages = 4, 30
			st := store.NewMemory()
			b := h.begin(o, st)
			d := b.device("c")
			d.online(false)
			for i := range 50 {
				h.deliver("c", strconv.Itoa(i), qos)
			}
			pass(time.Minute)
			left := 0
			h.set(func() { left = len(h.sessions["c"].down) })
			if s := b.Stats(); s.KeptNow < 28 || s.KeptNow > 30 || left != 50-s.KeptNow {
				t.Fatalf("%d left at the broker, %+v", left, s)
			}
			var tokens []broker.Token
			for range 4 {
				tokens = append(tokens, d.want(broker.Delivered).Token)
			}
			d.quiet()
			h.crash(b)

			b = h.begin(o, st.Crash())
			d = b.device("c")
			d.online(false)
			for i := range 4 {
				if token := d.message("t", strconv.Itoa(i)).Token; token != tokens[i] {
					t.Fatalf("message %d has token %d, had %d", i, token, tokens[i])
				}
			}
			for i := range 50 {
				if i >= 4 {
					tokens = append(tokens, d.message("t", strconv.Itoa(i)).Token)
				}
				d.ack(broker.Event{Token: tokens[i]})
				pass(10 * time.Millisecond)
			}
			d.quiet()
			pass(time.Second)
			if s := b.Stats(); s.KeptNow != 0 || s.Unacked != 0 {
				t.Fatalf("%+v", s)
			}
			b.end()
		})
	}
}

// Messages that expire while they are kept are dropped and counted.
func TestKeptMessagesExpire(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		o := spoolOptions()
		o.ReceiveMaximum = 1
		b := h.begin(o, store.NewMemory())
		d := b.device("c")
		d.online(false)
		s := d.Conn.(*conn).session
		s.mu.Lock()
		for i := range 3 {
			_, _ = s.deliveries.arrive(uint16(i+1), 2, false)
			m := &broker.Message{Topic: "t", Payload: []byte(strconv.Itoa(i)), QoS: 2}
			if i == 1 {
				m.Expires = time.Now().Add(time.Minute)
			}
			s.arrived(broker.Event{Kind: broker.Delivered, QoS: 2, Token: s.deliveries.token, Message: m})
		}
		s.mu.Unlock()
		pass(2 * time.Minute)
		d.ack(d.message("t", "0"))
		pass(time.Second)
		d.ack(d.message("t", "2"))
		if s := b.Stats(); s.KeptExpired != 1 || s.KeptNow != 0 {
			t.Fatalf("%+v", s)
		}
		b.end()
	})
}

// What is kept goes to a client whose session the broker has lost, and not to one that
// starts anew.
func TestKeptMessagesAndTheSession(t *testing.T) {
	for _, clean := range []bool{false, true} {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			b := h.begin(spoolOptions(), st)
			d := b.device("c")
			d.online(false)
			h.deliver("c", "kept", 2)
			pass(time.Second)
			d.message("t", "kept")
			d.do(broker.Request{Op: broker.Disconnect})
			pass(time.Second)
			h.restart(false)
			pass(5 * time.Second)
			d.online(clean)
			pass(time.Second)
			if clean {
				d.quiet()
			} else {
				d.ack(d.message("t", "kept"))
			}
			if n := records(st, store.UpstreamDelivery); n != 0 {
				t.Fatalf("%d records are left", n)
			}
			b.end()
		})
	}
}

// arriveAt lets a message arrive as if the broker had sent it.
func arriveAt(d *device, id uint16, qos byte, dup bool, payload string) {
	s := d.Conn.(*conn).session
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &broker.Message{Topic: "t", Payload: []byte(payload), QoS: qos}
	if err := s.deliver(s.line, &incoming{kind: kindPublish, id: id, qos: qos, dup: dup, message: m}); err != nil {
		d.t.Error(err)
	}
}

// A broker that uses a packet identifier for another message, because it has dropped the one
// that we were to be told to release, uses it for good: after a crash no message is taken for
// the one from before.
func TestIdentifierOfADroppedMessage(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			b := h.begin(spoolOptions(), st)
			d := b.device("c")
			d.online(false)
			arriveAt(d, 7, 2, false, "dropped")
			pass(time.Second)
			d.ack(d.message("t", "dropped"))
			pass(time.Second)
			if n := records(st, store.UpstreamUnreleased); n != 1 {
				t.Fatalf("%d records", n)
			}
			arriveAt(d, 7, qos, false, "another")
			pass(time.Second)
			ev := d.message("t", "another")
			d.do(broker.Request{Op: broker.Ack, Token: ev.Token, Code: broker.CodeQuota})
			pass(time.Second)
			if n := records(st, store.UpstreamUnreleased); n != int(qos)-1 {
				t.Fatalf("QoS %d: %d records are left", qos, n)
			}
			h.crash(b)
			if qos == 1 {
				b = h.begin(spoolOptions(), st.Crash())
				d = b.device("c")
				d.online(false)
				arriveAt(d, 7, 2, true, "the third")
				pass(time.Second)
				d.ack(d.message("t", "the third"))
				pass(time.Second)
				b.end()
			}
		})
	}
}

// The gateway acknowledges a message just after the session has ended, of which it has not
// heard yet: after a crash the message does not come again, and what was to go with that is
// there.
func TestAckAfterTheEnd(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		b := h.begin(spoolOptions(), st)
		d := b.device("c")
		d.online(false)
		h.deliver("c", "once", 2)
		pass(time.Second)
		ev := d.message("t", "once")
		s := d.Conn.(*conn).session
		s.mu.Lock()
		l := s.line
		s.mu.Unlock()
		s.lost(l, &disconnected{code: broker.CodeTakenOver})
		r := broker.Request{Op: broker.Ack, Token: ev.Token, With: []store.Op{handOf(ev.Token)}}
		if err := d.Do(&r); err != nil || r.Mark == 0 {
			t.Fatalf("%v, mark %d", err, r.Mark)
		}
		if err := d.Do(&r); err != broker.ErrClosed {
			t.Fatalf("once more: %v", err)
		}
		if kept, with := records(st, store.UpstreamDelivery), records(st, store.SessionHand); kept != 0 || with != 1 {
			t.Fatalf("%d kept, %d with them", kept, with)
		}
		pass(time.Second)
		h.crash(b)

		b = h.begin(spoolOptions(), st.Crash())
		d = b.device("c")
		d.online(false)
		pass(time.Minute)
		d.quiet()
		b.end()
	})
}
