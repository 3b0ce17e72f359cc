package upstream

import (
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Subscriptions made before a crash are made again when the broker loses the session after
// it; those that were ended are not.
func TestSubscriptionsOutliveACrash(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		p := h.begin(spoolOptions(), st)
		d := p.device("c")
		d.online(false)
		for i, filter := range []string{"a", "b", "c"} {
			d.do(broker.Request{Op: broker.Subscribe, Token: broker.Token(i), Topic: filter, QoS: 1})
			pass(time.Millisecond)
			if ev := d.answer(broker.Token(i), 0); ev.Mark == 0 {
				t.Fatalf("%+v", ev)
			}
		}
		h.crash(p)
		p = h.begin(spoolOptions(), st.Crash())
		d = p.device("c")
		if ev := d.online(false); !ev.SessionPresent {
			t.Fatalf("%+v", ev)
		}
		h.set(func() { h.filters = nil })
		h.restart(false)
		pass(5 * time.Second)
		h.set(func() {
			if want := []string{"a", "b", "c"}; !slices.Equal(h.filters, want) {
				t.Fatalf("subscribed to %q, want %q", h.filters, want)
			}
		})
		p.end()
	})
}

// A clean session ends with the process, unless its client sleeps: then it is found again,
// and ends when the client leaves.
func TestPersistKeepsACleanSession(t *testing.T) {
	for _, persist := range []bool{false, true} {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			p := h.begin(spoolOptions(), st)
			d := p.device("c")
			d.online(true)
			if persist {
				d.do(broker.Request{Op: broker.Persist})
			}
			h.deliver("c", "kept", 2)
			pass(time.Second)
			d.message("t", "kept")
			h.crash(p)
			st = st.Crash()
			p = h.begin(spoolOptions(), st)
			d = p.device("c")
			if ev := d.online(false); ev.SessionPresent != persist {
				t.Fatalf("%+v", ev)
			}
			if !persist {
				d.quiet()
				p.end()
				return
			}
			d.ack(d.message("t", "kept"))
			d.do(broker.Request{Op: broker.Disconnect})
			pass(2 * time.Second)
			h.set(func() {
				if h.sessions["c"] != nil {
					t.Fatal("the session is left at the broker")
				}
			})
			if n := records(st, store.UpstreamSession); n != 1 { // how far deliveries are numbered
				t.Fatalf("%d records are left", n)
			}
			p.end()
		})
	}
}

// A QoS 2 exchange is finished before a client with CleanSession starts anew, although its
// CONNECT throws the session away: the message was acknowledged to the device.
func TestCleanStartWaitsForWhatWasBegun(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		p := h.begin(spoolOptions(), st)
		d := p.device("c")
		d.online(true)
		st.Hold()
		d.publish(1, "t", "two", 2)
		d.answer(1, 0)
		st.Commit()
		pass(time.Second) // PUBREC has come, PUBREL waits
		h.crash(p)
		p = h.begin(spoolOptions(), st.Crash())
		d = p.device("c")
		d.do(broker.Request{Op: broker.Connect, Token: 2, CleanSession: true})
		pass(time.Second)
		p.store.(*store.Memory).Commit()
		pass(time.Second)
		p.store.(*store.Memory).Commit()
		pass(10 * time.Second)
		d.answer(2, 0)
		h.want("once", "two")
		h.set(func() {
			if n := len(h.sessions["c"].up); n > 0 {
				t.Fatalf("%d exchanges are left", n)
			}
		})
		p.end()
	})
}

// Of a client that is connected elsewhere the spool is drained later, and the client is
// not robbed all the time.
func TestSpoolOfAClientElsewhere(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		p := h.begin(spoolOptions(), st)
		d := p.device("c")
		d.online(false)
		h.set(func() { h.silent = true })
		d.publish(1, "t", "waits", 1)
		d.answer(1, 0)
		pass(time.Second)
		s := d.Conn.(*conn).session
		s.mu.Lock()
		l := s.line
		s.mu.Unlock()
		s.lost(l, &disconnected{code: broker.CodeTakenOver})
		h.set(func() { h.silent, h.connects = false, 0 })
		if ev := d.want(broker.Closed); ev.Code != broker.CodeTakenOver {
			t.Fatalf("%+v", ev)
		}
		pass(50 * time.Second)
		h.set(func() {
			if h.connects != 0 {
				t.Fatal("drained at once")
			}
		})
		pass(20 * time.Second)
		if st := p.Stats(); st.SpooledNow != 0 || st.Leaving != 0 {
			t.Fatalf("%+v", st)
		}
		h.want("twice: QoS 1", "waits", "waits")
		p.end()
	})
}
