package upstream

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// What the broker refuses for good is kept as a dead letter, in a bounded number; the rest
// goes on, and leaves in order.
func TestDeadLetters(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			o := spoolOptions()
			o.DeadLetters = 2
			for _, n := range []string{"1", "3", "4"} {
				h.refuse[n] = 0x99
			}
			st := store.NewMemory()
			p := h.begin(o, st)
			d := p.device("c")
			d.online(true)
			for i := range 6 {
				d.publish(2, "a\ntopic", strconv.Itoa(i), qos)
				d.answer(2, 0)
			}
			pass(time.Second)
			h.want("the others", "0", "2", "5")
			s := p.Stats()
			if s.DeadLetters != 3 || s.DeadLettersNow != 2 || records(st, store.UpstreamDeadLetter) != 2 || s.SpooledNow != 0 {
				t.Fatalf("%+v", s)
			}
			if p.l.count(`topic="a\ntopic"`) != 1 {
				t.Fatalf("log:\n%s", p.l)
			}
			p.end()
			p = h.begin(o, st.Crash())
			if n := p.Stats().DeadLettersNow; n != 2 {
				t.Fatalf("%d dead letters after a restart", n)
			}
			p.end()
		})
	}
}

// What the broker refuses for the moment is sent later, and in order with what follows.
func TestQuotaIsWaitedFor(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			h.set(func() { h.refuse["0"] = 0x97 })
			p := h.begin(spoolOptions(), store.NewMemory())
			d := p.device("c")
			d.online(true)
			d.publish(2, "t", "0", qos)
			d.answer(2, 0)
			pass(10 * time.Millisecond)
			for i := 1; i < 200; i++ {
				d.publish(2, "t", strconv.Itoa(i), qos)
				d.answer(2, 0)
			}
			pass(10 * time.Second)
			h.want("nothing")
			h.set(func() { delete(h.refuse, "0") })
			pass(10 * time.Second)
			h.want("in order", numbered(0, 200)...)
			p.end()
		})
	}
}

// A full store takes no more QoS 1 and 2 messages, and says so; nothing is dropped.
func TestFullStoreRefuses(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		o := spoolOptions()
		o.MaxSpooledMessages, o.MaxPending = 20, 10
		p := h.begin(o, st)
		d := p.device("c")
		d.online(true)
		st.SetLevel(store.Full)
		d.publish(1, "t", "refused", 1)
		d.answer(1, broker.CodeQuota)
		d.publish(1, "t", "zero", 0)
		pass(time.Second)
		h.want("QoS 0", "zero")

		// On a failed disk a few are taken, and not told to be safe.
		st.SetLevel(store.Degraded)
		st.Hold()
		h.set(func() { h.silent = true })
		for i := range 10 {
			d.publish(2, "t", strconv.Itoa(i), 1)
			if ev := d.answer(2, 0); ev.Mark <= st.Durable() {
				t.Fatalf("%+v", ev)
			}
		}
		if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t", QoS: 1}); err != broker.ErrBusy {
			t.Fatalf("%v, want ErrBusy", err)
		}
		st.SetLevel(store.Normal)
		st.Commit()
		for range 10 {
			d.publish(2, "t", "more", 1)
			d.answer(2, 0)
		}
		d.publish(3, "t", "too many", 1)
		d.answer(3, broker.CodeQuota)
		p.end()
	})
}

// Messages that are too old when their turn comes are dropped and counted.
func TestSpooledMessagesExpire(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		o := spoolOptions()
		o.MaxMessageAge = time.Minute
		p := h.begin(o, store.NewMemory())
		d := p.device("c")
		d.online(true)
		h.set(func() { h.away = true; h.cut() })
		pass(2 * time.Second)
		for i := range 10 {
			d.publish(1, "t", strconv.Itoa(i), 2)
			d.answer(1, 0)
			pass(10 * time.Second)
		}
		h.set(func() { h.away = false })
		pass(10 * time.Second)
		s := p.Stats()
		if s.SpoolExpired == 0 || s.SpoolExpired == 10 || s.SpooledNow != 0 {
			t.Fatalf("%+v", s)
		}
		h.want("the young ones", numbered(int(s.SpoolExpired), 10)...)
		p.end()
	})
}

// The will of a client that is lost while the broker is away is published once, however
// long that takes, and over a crash.
func TestSpooledWill(t *testing.T) {
	for qos := byte(0); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			p := h.begin(spoolOptions(), st)
			d := p.device("c")
			d.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(qos), CleanSession: true})
			pass(time.Second)
			d.answer(1, 0)
			h.set(func() { h.away = true; h.cut() })
			pass(2 * time.Second)
			d.publish(2, "t", "last", 1)
			r := broker.Request{Op: broker.Abandon, With: []store.Op{store.Put(store.SessionState, "c", 0, []byte{1})}}
			d.do(r)
			if records(st, store.SessionState) != 1 || records(st, store.UpstreamRequest) != 2 {
				t.Fatalf("%v", st.Records())
			}
			pass(time.Hour)
			h.crash(p)
			st = st.Crash()
			p = h.begin(spoolOptions(), st)
			pass(time.Minute)
			h.set(func() { h.away = false })
			pass(time.Minute)
			h.want("once", "last", "gone")
			if s := p.Stats(); s.WillsLost != 0 || s.SpooledNow != 0 || s.Leaving != 0 {
				t.Fatalf("%+v", s)
			}
			if n := len(st.Records()); n != 2 { // the gateway's own, and how far numbers are used
				t.Logf("%d records are left: %v", n, st.Records())
			}
			p.end()
		})
	}
}

// With durability through the answer is the broker's, and what goes with it is applied then.
func TestThroughWithStore(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		o := spoolOptions()
		o.Durability = "through"
		p := h.begin(o, st)
		d := p.device("c")
		d.online(false)
		h.set(func() { h.silent = true })
		d.do(broker.Request{Op: broker.Publish, Token: 2, Topic: "t", Payload: []byte("x"), QoS: 2, With: []store.Op{exchangeOf(1)}})
		pass(time.Second)
		d.quiet()
		if n := len(st.Records()); n != 0 {
			t.Fatalf("%d records", n)
		}
		h.set(func() { h.silent = false; h.cut() })
		pass(5 * time.Second)
		if ev := d.answer(2, 0); ev.Mark == 0 || records(st, store.SessionExchange) != 1 {
			t.Fatalf("%+v", ev)
		}
		p.end()
	})
}

func TestSpoolNeedsAStore(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) { o.Durability = "spool" },
		func(o *Options) { o.ConnectOffline = "accept" },
	} {
		o := quick("127.0.0.1:1")
		change(&o)
		if _, err := New(o, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--state") {
			t.Errorf("%v", err)
		}
	}
}
