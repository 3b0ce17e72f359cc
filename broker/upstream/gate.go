package upstream

import (
	"errors"
	"sync"
	"time"
)

// gate knows whether the broker can be reached. One connection, the probe's, finds out
// for all: while it cannot connect no client tries, and when it can again all do, at
// their limited rate. So an outage costs one attempt every few seconds, and one line in
// the log, however many clients there are.
//
// Reached means that the broker has answered a CONNECT, even with a refusal. Of several
// brokers, it is about the one that the probe has chosen.
type gate struct {
	broker *Broker

	mu        sync.Mutex
	current   string // the address of the broker that clients use
	known     bool
	up        bool
	since     time.Time
	why       error
	watching  time.Time // since when the probe is connected; zero if it is not
	announced string    // what the log was last told
	lines     bucket
}

func (g *gate) init(b *Broker) {
	g.broker = b
	g.lines = bucket{rate: 0.1, burst: 4}
	g.current = b.brokers[0]
}

// target is the address of the broker that clients use.
func (g *gate) target() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current
}

// move sets the address of the broker that clients use, and reports whether it was
// another one before.
func (g *gate) move(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	moved := g.current != address
	if moved {
		g.announced = "" // by which broker the clients are served is news
	}
	g.current = address
	return moved
}

// useless reports whether the broker is there and does not speak our language.
func (g *gate) useless() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Is(g.why, errOldBroker)
}

func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.up
}

// away reports whether the broker is known to be away.
func (g *gate) away() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known && !g.up
}

// steady reports whether the probe's connection is older than t, and still there.
func (g *gate) steady(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.watching.IsZero() && g.watching.Before(t)
}

// watch is told when the probe is connected (now), or is no more (zero).
func (g *gate) watch(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watching = since
}

// reached is told that the broker at address has answered a CONNECT.
func (g *gate) reached(address string) {
	if g.target() == address { // else a client was late
		g.set(true, nil)
	}
}

func (g *gate) set(up bool, why error) {
	g.mu.Lock()
	changed := !g.known || g.up != up
	if changed {
		g.known, g.up, g.since = true, up, time.Now()
	}
	g.why = why
	g.announce(time.Now())
	g.mu.Unlock()
	if changed {
		g.broker.dialer.setOpen(up)
	}
}

func (g *gate) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.announce(now)
}

// announce logs the state if it has changed since it was last logged; of a broker that
// comes and goes all the time only now and then.
func (g *gate) announce(now time.Time) {
	state := "up"
	switch {
	case !g.known:
		return
	case errors.Is(g.why, errOldBroker):
		state = "old"
	case !g.up:
		state = "away"
	}
	if state == g.announced {
		return
	}
	if !g.lines.take(now) {
		return
	}
	log := g.broker.log
	switch {
	case state == "old":
		log.Error("the broker cannot be used: this gateway needs MQTT 5", "error", g.why)
	case state == "away":
		log.Warn("the broker is away; clients stay connected and wait", "error", g.why)
	case g.announced == "":
		log.Info("the broker is there", "address", g.current)
	default:
		log.Info("the broker is back", "address", g.current)
	}
	g.announced = state
}
