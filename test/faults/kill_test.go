package faults

import (
	"testing"
	"time"
)

// TestKill: the gateway with the broker inside is killed at random moments and started
// again, while devices publish to devices and to an MQTT client.
func TestKill(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	r := newTraffic(t, form(20, 100), g.udp, g.mqtt, form(20*time.Millisecond, 40*time.Millisecond))
	r.publish(form(4000, 200_000), g.kills(dice(t), form(5, 50), form(1500*time.Millisecond, 5*time.Second)))
	r.judge(g)
}
