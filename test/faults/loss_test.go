package faults

import (
	"math"
	"testing"
	"time"
)

// TestLoss: 30 % of the datagrams are lost in both directions, some come twice and some
// late, and in the middle of it the gateway is killed.
func TestLoss(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	bad := newRadio(t, g.udp, dice(t))
	r := newTraffic(t, form(30, 100), bad.addr, g.mqtt, 0)
	// A lost PUBACK makes the gateway send the message again, and QoS 1 lets a device have
	// both. What the gateway takes itself is another matter: see the MQTT client.
	r.tolerate(math.Inf(1))
	r.publish(form(600, 20_000), func() {
		for range form(1, 5) {
			pass(form(3*time.Second, 20*time.Second))
			g.kill()
			g.start()
		}
	})
	r.judge(g)
	bad.mu.Lock()
	defer bad.mu.Unlock()
	t.Logf("datagrams: %+v", bad.tally)
	if share := float64(bad.tally.lost) / float64(bad.tally.sent); share < 0.25 || share > 0.35 {
		t.Errorf("%.2f of the datagrams were lost, and not about 0.3", share)
	}
}
