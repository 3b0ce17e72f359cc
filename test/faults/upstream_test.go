package faults

import (
	"testing"
	"time"
)

// TestUpstreamSpool: a gateway with Mosquitto behind it, which is ended and started again,
// stopped in its tracks, reached slowly or not at all, while devices publish to devices
// and to an MQTT client of Mosquitto's. The gateway keeps what Mosquitto has not taken.
func TestUpstreamSpool(t *testing.T) {
	beside(t)
	troubledUpstream(t, "spool")
}

// TestUpstreamThrough is the same for a gateway that acknowledges what Mosquitto has. It
// cannot know after a kill whether Mosquitto has a message with QoS 2: the device repeats
// it, and it may come twice.
func TestUpstreamThrough(t *testing.T) {
	beside(t)
	troubledUpstream(t, "through")
}

func troubledUpstream(t *testing.T, durability string) {
	t.Helper()
	m := startMosquitto(t)
	c := newCable(t, m.addr)
	g := newGateway(t)
	g.broker, g.options["broker.durability"] = "mqtt://"+c.addr, durability
	g.start()
	g.ready()
	// Each trouble has what was under way repeated: with few messages that is a large share.
	r := newTraffic(t, form(10, 50), g.udp, m.addr, 20*time.Millisecond)
	r.tolerate(form(0.5, copiesAfterKills))
	if durability == "through" {
		r.ledger.AtLeastOnce()
	}
	r.publish(form(2000, 40_000), func() { troubles(t, r, m, c, g) })
	r.judge(g)
}

// troubles gives the broker and the way to it all kinds of trouble, in a random order.
func troubles(t *testing.T, r *traffic, m *mosquitto, c *cable, g *gateway) {
	rnd := dice(t)
	lasts := func() {
		pass(300*time.Millisecond + time.Duration(rnd.Int64N(int64(form(time.Second, 5*time.Second)))))
	}
	kinds := map[string]func(){
		"broker ended":   func() { m.end(); lasts(); m.start() },
		"broker stopped": func() { m.freeze(); lasts(); m.thaw() },
		"slow way":       func() { c.set(slow, 50*time.Millisecond); lasts(); c.set(straight, 0) },
		"black hole":     func() { c.set(hole, 0); lasts(); c.set(straight, 0) },
		"way cut":        func() { c.set(cut, 0); lasts(); c.set(straight, 0) },
		"gateway killed": func() { g.kill(); g.start() },
		"killed, no way": func() {
			c.set(cut, 0)
			lasts()
			g.kill()
			g.start()
			lasts()
			c.set(straight, 0)
		},
		"killed in a hole": func() {
			c.set(hole, 0)
			lasts()
			g.kill()
			g.start()
			c.set(cut, 0)
			c.set(straight, 0)
		},
		"broker killed": func() { killSaved(t, r, m) },
	}
	names := []string{"broker ended", "broker stopped", "slow way", "black hole", "way cut", "gateway killed", "killed, no way",
		"killed in a hole", "broker killed"}
	for range form(1, 5) {
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			t.Logf("%s", name)
			kinds[name]()
			lasts()
		}
	}
}

// killSaved kills Mosquitto at a time when its file has all that it has acknowledged, for
// else it is Mosquitto that loses it; devices go on while it is away.
func killSaved(t *testing.T, r *traffic, m *mosquitto) {
	t.Helper()
	r.flow.Store(false)
	limit := r.limit.Swap(0)
	eventually(t, "all has arrived", func() bool { return r.fleet.resting() && r.ledger.Missing() == 0 })
	pass(200 * time.Millisecond) // for the last acknowledgements
	m.save()
	m.kill()
	r.limit.Store(limit)
	r.flow.Store(true)
	pass(time.Second)
	m.start()
}

// TestUpstreamKilled: gateway and broker are killed at random; the broker is one that
// keeps what it acknowledges, another gateway of ours.
func TestUpstreamKilled(t *testing.T) {
	beside(t)
	b, g := newGateway(t), newGateway(t)
	b.start()
	g.broker = "mqtt://" + b.mqtt
	g.start()
	g.ready()
	rnd := dice(t)
	// Each kill has what was under way repeated: with few messages that is a large share.
	r := newTraffic(t, form(10, 50), g.udp, b.mqtt, 20*time.Millisecond)
	r.tolerate(form(0.5, copiesAfterKills))
	r.publish(form(1000, 40_000), func() {
		for range form(6, 60) {
			pass(time.Duration(rnd.Int64N(int64(form(time.Second, 4*time.Second)))))
			victim := []*gateway{b, g}[rnd.IntN(2)]
			victim.kill()
			pass(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
			victim.start()
		}
	})
	r.judge(g)
}
