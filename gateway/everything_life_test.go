package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

func (g *gadget) ping() {
	g.ask("ping", func(bool) []byte { return mqttsn.Pingreq{}.Append(nil) }, func(p mqttsn.Packet) bool {
		if _, ok := p.(*mqttsn.Pingresp); ok {
			g.idle()
			return true
		}
		return false
	})
}

func (g *gadget) leave() {
	if !g.lasting {
		g.wipe()
		g.known = false
	}
	g.say(mqttsn.Disconnect{}, func() {
		g.state = offline
		// CONNACK does not say which CONNECT it answers, and copies of one with a will are
		// answered with WILLTOPICREQ: only now is it certain that no answer is under way.
		g.afresh = g.lasting && !g.member && !g.willing && !g.world.calm && g.world.rand.IntN(4) == 0
		g.later(g.world.within(10*time.Second), g.connect)
	})
}

func (g *gadget) die() {
	w := g.world
	d := &death{certain: g.lasting || g.known}
	w.deaths[g.will] = d
	g.state, g.asks = dead, nil
	if !g.lasting {
		g.wipe()
		g.known = false
	}
	var wait func(left int)
	wait = func(left int) {
		w.plan(10*time.Second, func() {
			if d.seen > 0 || !d.certain && left == 0 {
				g.connect()
				return
			}
			wait(left - 1)
		})
	}
	wait(60)
}

// forgotten is told when a gateway has ended.
func (g *gadget) forgotten() {
	if !g.lasting && !g.known {
		g.wipe()
		g.doubtful = true
	}
}

// busy reports whether the device has not come to rest.
func (g *gadget) busy() bool {
	return g.pub != nil || g.state != active && g.state != napping && g.state != waking
}

// retire ends the session for good.
func (g *gadget) retire() {
	g.retiring, g.pub = true, nil
	g.connectWith(true)
}

func (g *gadget) sleep() {
	g.state = falling
	g.say(mqttsn.Disconnect{HasDuration: true, Duration: 600}, func() {
		if !g.doubtful {
			g.known = true
		}
		g.nap()
	})
}

func (g *gadget) nap() {
	g.state = napping
	g.later(g.world.within(gadgetNap), func() {
		if g.world.rand.IntN(3) == 0 || g.pub != nil {
			if !g.lasting && !g.known {
				g.connect()
			} else {
				g.roused = true
				g.connectWith(false)
			}
			return
		}
		g.state = waking
		g.ask("wake", func(bool) []byte { return mqttsn.Pingreq{ClientID: []byte(g.clientID)}.Append(nil) }, func(p mqttsn.Packet) bool {
			if _, ok := p.(*mqttsn.Pingresp); ok {
				g.asks = nil
				g.nap()
				return true
			}
			return false
		})
	})
}

// robbery has somebody else connect with the client id for a while, directly.
func (g *gadget) robbery() {
	w := g.world
	b := w.broker
	thief := &thief{}
	g.journal.add(w, "is robbed", nil)
	c := b.Open(g.clientID, thief)
	if err := c.Do(&broker.Request{Op: broker.Connect, Token: 1}); err != nil {
		w.Fatal(err)
	}
	// A message that it was being given comes again under another MsgId, and the first one may
	// stand for another message some day.
	clear(g.open)
	session := g.sessions
	w.plan(w.within(3*time.Second), func() {
		if w.broker != b {
			return
		}
		for _, ev := range thief.take() {
			if g.sessions != session {
				break // what the thief has was of a session that is over
			}
			if ev.Message != nil {
				g.journal.add(w, fmt.Sprintf("the thief has %s, mark %d of %d", ev.Message.Payload, ev.Mark, w.store.Durable()), nil)
			}
			if ev.Mark > w.store.Durable() {
				break // it would not have left yet, and nothing behind it
			}
			if ev.Kind == broker.Delivered {
				w.receives(g.account, string(ev.Message.Payload), 1)
				_ = c.Do(&broker.Request{Op: broker.Ack, Token: ev.Token}) // the device may be back
			}
		}
		_ = c.Do(&broker.Request{Op: broker.Disconnect})
	})
	g.idle()
}

type thief struct {
	mu     sync.Mutex
	events []broker.Event
}

func (t *thief) Receive(ev broker.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, ev)
}

func (t *thief) take() []broker.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	events := t.events
	t.events = nil
	return events
}

// shares reports whether a filter is one of a group.
func shares(filter string) bool { return strings.HasPrefix(filter, "$share/") }
