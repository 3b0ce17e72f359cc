package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// TestCrossing has what happens where MQTT-SN and MQTT meet: what MQTT can say and MQTT-SN
// cannot, and clients of both that have the same id.
func TestCrossing(t *testing.T) { run(t, crossing) }

var crossing = table{
	// MQTT 5 messages expire; what has done so while a device slept is not for it any more.
	"ExpiresWhileAsleep": both(func(r *rig) {
		d := asleep(r, keepSession)
		c := dialMQTT(r.T, r.gateway.mqtt, "publisher-5", true)
		for _, qos := range []byte{0, 1, 2} {
			c.publishFor("s/temp", "too old", qos, 1)
		}
		c.publishFor("s/temp", "lasts", 1, 3600)
		eventually(r.T, "the messages wait in the gateway", func() bool { return r.metric("queue_messages") == 4 })
		d.silent(1100 * time.Millisecond)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "lasts", 1)
		d.expect("02 17")
		if n := r.gateway.labelled(r.T, "drops_total", `reason="expired"`); n != 3 {
			r.Errorf("%v messages are counted as expired, want 3", n)
		}
	}),
	// A topic may be longer than a REGISTER to this device: it does without, and the next
	// message is not held up.
	"TopicThatFitsNoPacket": both(func(r *rig) {
		d := wild(r, 1)
		long := "s/" + strings.Repeat("x", r.medium.mtu())
		r.publish(long, "hi", 0)
		r.publish(long, "hi", 1)
		r.publish("s/y", "next", 1)
		d.receive("s/y", "next", 1)
		if n := r.gateway.labelled(r.T, "drops_total", `reason="too_large"`); n != 2 {
			r.Errorf("%v messages are counted as too large, want 2", n)
		}
		d.alive()
	}),
	// A sleeper counts as connected. Who connects with its id over MQTT gets its session with
	// all that waits; the device is told when it asks, and connects to have it back.
	"SleeperTakenOverByMQTT": {
		embedded: does(func(r *rig) {
			watcher := r.watch("w/#")
			d := r.device("cli-1")
			d.connectWithWill(keepSession, minute, lastWill)
			d.subscribe("s/temp", 2)
			d.sleep(60)
			r.queue(1, 2)
			c := dialMQTT(r.T, r.gateway.mqtt, "cli-1", false)
			if !c.sessionPresent {
				r.Error("the device's session is not there")
			}
			c.expect("s/temp", "0", 1)
			c.expect("s/temp", "1", 2)
			watcher.expect("w/dead1", "bye!", 1) // its connection was ended by another [MQTT-3.1.2-8]
			d.silent(moment)
			d.ask(d.wakeFrame(), "02 18")
			d.connect(keepSession, minute)
			c.takenOver()
			r.publish("s/temp", "mine again", 2)
			d.receive("s/temp", "mine again", 2)
			watcher.nothing(moment)
			d.alive()
		}),
		upstream: absent("Mosquitto 2.0 does not say why it closes a connection; MovesToAnotherGateway has what comes of it"),
	},
	// Who starts clean elsewhere ends the device's session at the broker, but not the
	// device's own: what it has subscribed to is made again when it is back.
	"CleanStartElsewhere": {
		embedded: does(func(r *rig) {
			d := asleep(r, keepSession)
			r.queue(1)
			c := dialMQTT(r.T, r.gateway.mqtt, "cli-1", true)
			if c.sessionPresent {
				r.Error("a clean start finds a session")
			}
			d.ask(d.wakeFrame(), "02 18")
			d.connect(keepSession, minute)
			c.takenOver()
			r.publish("s/temp", "again", 1)
			d.receive("s/temp", "again", 1)
			d.alive()
		}),
		upstream: absent("Mosquitto 2.0 does not say why it closes a connection; MovesToAnotherGateway has what comes of it"),
	},
}

// publishFor is publish for a message that expires after some seconds.
func (c *mqttClient) publishFor(topic, payload string, qos byte, seconds uint32) {
	c.t.Helper()
	c.publishWith(topic, payload, qos, func(p *packets.Publish) { p.Properties.MessageExpiry = &seconds })
}

// takenOver expects that the broker has ended the connection for another one of its id.
func (c *mqttClient) takenOver() {
	c.t.Helper()
	const sessionTakenOver = 0x8E
	if code := answer[*packets.Disconnect](c).ReasonCode; code != sessionTakenOver {
		c.t.Errorf("%s: DISCONNECT %02X", c.id, code)
	}
}
