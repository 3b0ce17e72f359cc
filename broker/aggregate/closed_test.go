package aggregate

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/store"
)

// closer is a Local in whose sight the link is closed, just before it keeps a message.
type closer struct {
	*inside
	far  *memory.Broker
	kick bool
}

func (c *closer) Inbound(m *broker.Message, retain bool, to []string, apply func([]store.Op) store.Mark) {
	if c.kick {
		c.kick = false
		c.far.Kick("gw-0", broker.CodeServerUnavailable)
	}
	c.inside.Inbound(m, retain, to, apply)
}

// A message that came just before the link was closed, and could not be acknowledged any
// more, is handed on once.
func TestClosedWhileDelivering(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { closedWhileDelivering(t, late) })
		})
	}
}

func closedWhileDelivering(t *testing.T, late bool) {
	st, far := store.NewMemory(), memory.New()
	far.Keep(st)
	b, err := New(Options{ClientID: "gw", Links: 1}, far, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	near := &closer{inside: &inside{Broker: memory.New()}, far: far}
	b.Join(near)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, func() {}) }()
	synctest.Wait()
	w := &world{Broker: b, far: far, near: near.inside, store: st}
	w.come("t", "c", 2)

	near.kick = late
	other := far.Open("other", &link{})
	for _, r := range []broker.Request{
		{Op: broker.Connect, CleanSession: true},
		{Op: broker.Publish, Topic: "t", Payload: []byte("x"), QoS: 2}, // which wakes nobody
	} {
		if err := other.Do(&r); err != nil {
			t.Fatal(err)
		}
	}
	if !late {
		far.Kick("gw-0", broker.CodeServerUnavailable)
	}
	w.settle()
	time.Sleep(time.Minute)
	w.wantInbound(t, "t x")
	if unacked, waiting := far.Unacked("gw-0"); unacked+waiting > 0 {
		t.Errorf("%d messages are not acknowledged", unacked+waiting)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
