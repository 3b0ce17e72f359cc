package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"mqttsn-gateway/broker"
)

// gate knows whether the broker can be reached. One connection, the probe's, finds out
// for all: while it cannot connect no client tries, and when it can again all do, at
// their limited rate. So an outage costs one attempt every few seconds, and one line in
// the log, however many clients there are.
//
// Reached means that the broker has answered a CONNECT, even with a refusal.
type gate struct {
	broker *Broker

	mu        sync.Mutex
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

// reached is told that the broker has answered a CONNECT.
func (g *gate) reached() { g.set(true, nil) }

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
		log.Info("the broker is there")
	default:
		log.Info("the broker is back")
	}
	g.announced = state
}

// probe holds the gateway's own connection, which carries nothing but PINGREQs.
func (b *Broker) probe(ctx context.Context) {
	h := b.hello(b.options.ClientIDPrefix + "mqttsn-gateway-health-" + randomSuffix())
	h.cleanStart, h.keepAlive = true, 2*b.options.HealthInterval
	failures := 0
	var refused broker.Code
	for ctx.Err() == nil {
		trying, cancel := context.WithTimeout(ctx, b.options.HealthInterval)
		l, _, failure := b.dialer.connect(trying, &h)
		cancel()
		if ctx.Err() != nil {
			if l != nil {
				_ = l.conn.Close()
			}
			return
		}
		bound := b.options.HealthInterval
		switch {
		case failure == nil:
			failures = 0
			b.gate.reached()
			b.gate.watch(l.born)
			err := b.watch(ctx, l)
			b.gate.watch(time.Time{})
			b.counts.remember(err)
			if time.Since(l.born) > shortLife {
				continue // look at once what has become of it
			}
		case failure.reached:
			b.gate.reached()
			if failure.code != refused {
				b.log.Warn("the broker refuses the gateway's health connection: an outage will be noticed late", "client", h.clientID, "error", failure)
			}
			refused = failure.code
			bound = b.options.ReconnectMax
		default:
			b.unreachable(failure)
			if failure.code == codeProtocolVersion {
				bound = b.options.ReconnectMax
			}
		}
		failures = min(failures+1, 30)
		if !pause(ctx, rand.N(min(bound, b.options.ReconnectMin<<failures))) {
			return
		}
	}
}

// watch asks for a sign of life until there is none.
func (b *Broker) watch(ctx context.Context, l *line) error {
	defer l.goodbye(true)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Now()) })
	defer stop()
	var in incoming
	for {
		if err := l.conn.SetDeadline(time.Now().Add(b.options.HealthInterval)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := l.conn.Write(appendPingreq(nil)); err != nil {
			return err
		}
		if err := l.in.next(&in); err != nil {
			return err
		}
		switch in.kind {
		case kindPingresp:
		case kindDisconnect:
			return &disconnected{code: in.code, reason: in.reason}
		default:
			return malformed(fmt.Sprintf("type %d on a connection without subscriptions", in.kind))
		}
		if !pause(ctx, b.options.HealthInterval) {
			return ctx.Err()
		}
	}
}

// unreachable is told that the probe could not reach the broker. If it does not speak
// our language, nobody has to wait to hear that.
func (b *Broker) unreachable(r *refusal) {
	b.counts.remember(r)
	b.gate.set(false, r)
	if r.code != codeProtocolVersion {
		return
	}
	for _, s := range b.all(nil) {
		s.useless()
	}
	b.settle(true)
}

// pause waits for d, or less if ctx is done: then it reports false.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
