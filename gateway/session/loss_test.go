package session

import (
	"fmt"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// N01, N02, N03: a thousand messages each way at each QoS over a network that loses three
// datagrams of ten both ways, doubles one in ten, and lets them overtake each other.
func TestThousandMessagesOverABadNetwork(t *testing.T) {
	for _, qos := range []mqttsn.QoS{1, 2} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("QoS %d, seed %d", qos, seed), func(t *testing.T) {
				w := newWorld(seed, t.Fatalf)
				w.loss, w.double, w.delay = 30, 10, 500*time.Millisecond
				w.broker.slow = 100 * time.Millisecond
				d := w.device
				d.reconnect()
				subscribeAll(d)
				w.run(time.Hour, d.idle)
				var up, down []string
				for i := range 1000 {
					up = append(up, fmt.Sprintf("up %d qos=%d", i, qos))
					d.add(publishUp(qos, up[i]))
					down = append(down, fmt.Sprintf("%s %d", modelTopics[i%len(modelTopics)], i))
					w.broker.publish(byte(qos), modelTopics[i%len(modelTopics)], down[i])
				}
				start := w.now
				for !d.idle() || !w.broker.idle() || w.s.hand.phase != idle {
					if d.idle() {
						d.add(&mqttsn.Pingreq{}) // keeps the connection alive
						w.run(20*time.Second, never)
					}
					w.run(20*time.Second, d.idle)
					if w.now.Sub(start) > 48*time.Hour {
						w.failf("it does not come to an end")
					}
				}
				checkUp(w, up)
				checkDown(w, down)
				twice := 0
				for _, n := range w.broker.got {
					twice += n - 1
				}
				t.Logf("%v of virtual time; %d up twice", w.now.Sub(start).Round(time.Second), twice)
				if twice > 0 && qos == 2 {
					t.Errorf("%d QoS 2 messages were published twice", twice)
				}
			})
		}
	}
}

// A sleeper that wakes up over the same network gets everything, and a PINGRESP for each
// wake, by radio too.
func TestSleeperOverABadNetwork(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(seed, t.Fatalf)
		w.loss, w.double, w.delay = 30, 10, 500*time.Millisecond
		w.setPath(int(seed%2) * 300)
		d := w.device
		d.reconnect()
		subscribeAll(d)
		w.run(time.Hour, d.idle)
		var down []string
		const wakes = 100
		for i := range wakes {
			d.add(&mqttsn.Disconnect{HasDuration: true, Duration: 60})
			w.run(time.Hour, d.idle)
			for qos := range byte(3) {
				topic := modelTopics[i%len(modelTopics)]
				payload := fmt.Sprintf("%s %d/%d", topic, i, qos)
				w.broker.publish(qos, topic, payload)
				if qos > 0 {
					down = append(down, payload)
				}
			}
			w.run(30*time.Second, never)
			d.add(&mqttsn.Pingreq{ClientID: []byte("dev")})
			w.run(time.Hour, d.idle)
		}
		settle(w)
		checkDown(w, down)
		if d.pings < wakes {
			t.Errorf("seed %d: %d PINGRESPs for %d wakes", seed, d.pings, wakes)
		}
	}
}
