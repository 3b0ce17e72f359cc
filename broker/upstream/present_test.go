package upstream

import (
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// What was spooled for a user goes to the broker in the name of that user, also after a crash
// and without the device. The gateway, which has no name of its own, never says CONNECT.
func TestSpoolIsDrainedAsItsUser(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		o := spoolOptions()
		o.Username = "${user}/${identity}"
		st := store.NewMemory()
		p := h.begin(o, st)
		d := p.device("c")
		d.do(broker.Request{Op: broker.Connect, Token: 1, As: broker.Principal{User: "alice", Identity: "key"}})
		pass(time.Second)
		d.answer(1, 0)
		h.set(func() { h.away = true; h.cut() })
		pass(2 * time.Second)
		d.publish(2, "t", "x", 1)
		d.answer(2, 0)
		h.crash(p)
		p = h.begin(o, st.Crash())
		h.set(func() { h.away = false })
		pass(time.Minute)
		h.want("in its name", "x")
		h.set(func() {
			if len(h.users) < 2 || slices.ContainsFunc(h.users, func(user string) bool { return user != "alice/key" }) {
				t.Errorf("CONNECT as %q", h.users)
			}
		})
		p.end()
	})
}

// Without anything to present the gateway still knows whether the broker is there.
func TestWatchWithoutCredentials(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		o := spoolOptions()
		o.Durability, o.Username = "through", "${user}"
		p := h.begin(o, store.NewMemory())
		for range 3 {
			pass(2 * o.HealthInterval)
			if !p.Up() {
				t.Fatal("the broker is there, and is not found")
			}
			h.set(func() { h.away = true; h.cut() })
			pass(2 * o.HealthInterval)
			if p.Up() {
				t.Fatal("the broker is away, and is not missed")
			}
			h.set(func() { h.away = false })
		}
		h.set(func() {
			if len(h.users) > 0 {
				t.Errorf("CONNECT as %q", h.users)
			}
		})
		p.end()
	})
}

// The clients that are remembered as refused are bounded, and wait ever longer.
func TestShunned(t *testing.T) {
	inHub(t, func(t *testing.T, _ *hub) {
		var s shunned
		const first, longest = time.Second, 10 * time.Second
		for _, want := range []int{1, 2, 4, 8, 10, 10} {
			s.note("c", broker.CodeNotAuthorized, first, longest)
			pass(time.Duration(want)*time.Second - time.Millisecond)
			if code, refused := s.refuses("c"); !refused || code != broker.CodeNotAuthorized {
				t.Fatalf("it may try after less than %d s", want)
			}
			pass(time.Millisecond)
			if _, refused := s.refuses("c"); refused {
				t.Fatalf("it may not try after %d s", want)
			}
		}
		s.note("busy", broker.CodeServerBusy, first, longest)
		if _, refused := s.refuses("busy"); refused {
			t.Error("a broker that is busy is not asked again")
		}
		for i := range 2 * maxShunned {
			s.note(string(rune(i)), broker.CodeNotAuthorized, first, longest)
		}
		if n := len(s.clients); n != maxShunned {
			t.Errorf("%d clients are remembered", n)
		}
		s.note("c", broker.CodeNotAuthorized, first, longest)
		s.forgive("c")
		if _, refused := s.refuses("c"); refused {
			t.Error("it is not forgiven")
		}
	})
}
