package faults

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// traffic is a ring of devices, each of which receives what the one before it publishes,
// and an MQTT client with a session that stays which receives all of it.
type traffic struct {
	testing.TB
	ledger   *Ledger
	fleet    *fleet
	listener *listener
	// limit is how many messages the devices publish at least; flow keeps them publishing.
	limit, begun atomic.Int64
	flow         atomic.Bool
	// stall is after which time without any progress nothing more is waited for.
	stall time.Duration
	// complaint is what a test has found besides.
	complaint string
}

// copiesAfterKills is the share of QoS 1 messages that may come twice.
const copiesAfterKills = 0.05

// newTraffic starts devices that reach the gateway at one address, and the MQTT client
// that reaches the broker at another one.
func newTraffic(t testing.TB, devices int, gateway, broker string, pause time.Duration) *traffic {
	t.Helper()
	r := &traffic{TB: t, ledger: NewLedger(), fleet: &fleet{}, stall: patience / 2}
	var publishers []uint32
	for i := range devices {
		publishers = append(publishers, uint32(i+1))
		before := uint32((i+devices-1)%devices + 1)
		d := newDevice(t, r.ledger, gateway, fmt.Sprintf("device-%d", i+1), uint32(i+1))
		d.topics, d.filters = topicsOf(d.publisher), topicsOf(before)
		d.pause, d.more = pause, r.more
		r.ledger.Subscribe(d.id, copiesAfterKills, before)
		r.fleet.add(t, d)
	}
	r.ledger.Subscribe("listener", copiesAfterKills, publishers...)
	r.listener = listen(t, r.ledger, broker, "listener", "up/#")
	eventually(t, "all have subscribed", func() bool { return r.listener.ready.Load() && r.fleet.settled() })
	return r
}

// tolerate lets so large a share of QoS 1 messages come to each device more than once.
func (r *traffic) tolerate(copies float64) {
	for _, d := range r.fleet.devices {
		r.ledger.Tolerate(d.id, copies)
	}
}

func topicsOf(publisher uint32) []string {
	return []string{fmt.Sprintf("up/%d/one", publisher), fmt.Sprintf("up/%d/two", publisher)}
}

func (r *traffic) more() bool {
	if r.flow.Load() || r.begun.Load() < r.limit.Load() {
		r.begun.Add(1)
		return true
	}
	return false
}

// publish has the devices publish messages until the faults are over, and so many at
// least, and waits until all has arrived that was acknowledged.
func (r *traffic) publish(messages int, faults func()) {
	r.Helper()
	r.limit.Store(int64(messages))
	r.flow.Store(true)
	began := time.Now()
	faults()
	r.flow.Store(false)
	r.finish("all is acknowledged", func() bool { return r.begun.Load() >= int64(messages) && r.fleet.resting() }, func() int { return int(r.begun.Load()) })
	r.Logf("published in %v", time.Since(began).Round(time.Millisecond))
	r.finish("all has arrived", func() bool { return r.ledger.Missing() == 0 }, r.ledger.Missing)
}

// finish waits as long as a figure goes on changing.
func (r *traffic) finish(what string, done func() bool, figure func() int) {
	r.Helper()
	awaitProgress(r, what, r.stall, done, figure)
}

// awaitProgress waits until something is done, or a figure has stayed the same for long.
func awaitProgress(t testing.TB, what string, stall time.Duration, done func() bool, figure func() int) {
	t.Helper()
	last, since := figure(), time.Now()
	within(time.Hour, func() bool {
		if now := figure(); now != last {
			last, since = now, time.Now()
		}
		return done() || time.Since(since) > stall
	})
	if !done() {
		t.Logf("%s: not, and nothing has changed for %v; what is left: %d", what, stall, figure())
	}
}

// verdict ends the traffic and has it judged, together with the counters of a gateway
// that has had time to come to rest.
func (r *traffic) verdict(g *gateway) (Verdict, figures) {
	r.Helper()
	g.ready()
	within(patience/4, func() bool { return g.counters().balanced() })
	r.ledger.Count(g.counters())
	met := r.fleet.stop()
	r.listener.stop()
	v := r.ledger.Judge()
	r.Logf("seed %d: %s; devices met %+v; the MQTT client connected %d times; the slowest of %d starts took %v",
		*seed, v, met, r.listener.connects.Load(), g.lives, g.slowest.Round(time.Millisecond))
	return v, met
}

// judge fails the test if anything was wrong.
func (r *traffic) judge(g *gateway) {
	r.Helper()
	if found := r.evidence(g); found != "" {
		r.Error(found)
	}
}

// evidence is what was wrong: what the oracle has found, that a device was refused
// anything, that it was told that the gateway does not know it or its topic ids, or that
// the broker had lost the session of the MQTT client.
func (r *traffic) evidence(g *gateway) string {
	r.Helper()
	v, met := r.verdict(g)
	switch lost := r.listener.lost.Load(); {
	case r.complaint != "":
		return r.complaint
	case !v.Good():
		return v.String()
	case lost != 0:
		return fmt.Sprintf("the broker lost the session of the MQTT client %d times", lost)
	case met.unknownIDs+met.refusals > 0:
		return fmt.Sprintf("devices were refused or told that their topic ids are unknown: %+v", met)
	}
	return ""
}
