package faults

import (
	"math/rand/v2"
	"testing"
	"time"
)

// kills has the gateway killed so many times, after 0.1 s to longest of life each.
func (g *gateway) kills(rnd *rand.Rand, times int, longest time.Duration) func() {
	return func() {
		g.t.Helper()
		for range times {
			pass(100*time.Millisecond + time.Duration(rnd.Int64N(int64(longest-100*time.Millisecond))))
			g.kill()
			g.start()
		}
	}
}

// TestKillWithoutState is the negative control: without a state directory the same kills
// lose messages, and the oracle tells.
func TestKillWithoutState(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.state = ""
	g.start()
	r := newTraffic(t, 5, g.udp, g.mqtt, 20*time.Millisecond)
	r.stall = 3 * time.Second
	r.publish(100, g.kills(dice(t), 2, time.Second))
	if v, _ := r.verdict(g); v.Count(Lost) == 0 {
		t.Errorf("nothing was lost without a state directory: %s", v)
	}
}
