package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"

	"pgregory.net/rapid"
)

// subscription topics of the device: by name, by wildcard, short.
var modelTopics = []string{"s/temp", "w/1", "w/2", "ab"}

// modelRates are lines of the device: half of the time one without a pace.
var modelRates = []int{0, 0, 0, 0, 5, 100, 1200, 11520}

func subscribeAll(d *device) {
	short, _ := mqttsn.ShortTopic("ab")
	d.add(
		&mqttsn.Subscribe{QoS: 2, TopicName: []byte("s/temp")},
		&mqttsn.Subscribe{QoS: 2, TopicName: []byte("w/+")},
		&mqttsn.Subscribe{QoS: 2, TopicIDType: mqttsn.TopicShort, TopicID: short},
	)
}

func publishUp(qos mqttsn.QoS, payload string) *mqttsn.Publish {
	short, _ := mqttsn.ShortTopic("up")
	return &mqttsn.Publish{QoS: qos, TopicIDType: mqttsn.TopicShort, TopicID: short, Data: []byte(payload)}
}

// Whatever device, broker and network do, no QoS 1 message that was acknowledged is lost,
// no QoS 2 message is lost or doubled, order is kept, and the checks of the world hold
// after every step.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"), t.Fatalf)
		w.loss = rapid.IntRange(0, 30).Draw(t, "loss")
		w.double = rapid.IntRange(0, 30).Draw(t, "double")
		w.delay = time.Duration(rapid.IntRange(1, 1000).Draw(t, "delay")) * time.Millisecond
		w.broker.slow = time.Duration(rapid.IntRange(0, 3000).Draw(t, "slow")) * time.Millisecond
		w.broker.window = rapid.IntRange(1, 8).Draw(t, "window")
		w.device.will, w.forgeable = rapid.Bool().Draw(t, "will"), rapid.Bool().Draw(t, "forgeable")
		w.setPath(rapid.SampledFrom(modelRates).Draw(t, "rate"))
		d := w.device
		d.reconnect()
		subscribeAll(d)
		w.run(10*time.Minute, d.idle)

		var up, down []string // QoS 1 and 2
		n := 0
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			n++
			qos := rapid.IntRange(0, 2).Draw(t, "qos")
			switch rapid.IntRange(0, 13).Draw(t, "action") {
			case 0, 1, 2:
				topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
				payload := fmt.Sprintf("%s %d", topic, n)
				w.broker.publish(byte(qos), topic, payload)
				if qos > 0 {
					down = append(down, payload)
				}
			case 3, 4:
				payload := fmt.Sprintf("up %d qos=%d", n, qos)
				d.add(publishUp(mqttsn.QoS(qos), payload))
				if qos > 0 {
					up = append(up, payload)
				}
			case 5:
				d.add(&mqttsn.Disconnect{HasDuration: true, Duration: uint16(rapid.IntRange(1, 100).Draw(t, "sleep"))})
			case 6:
				d.add(&mqttsn.Pingreq{ClientID: []byte("dev")})
			case 7:
				d.add(&mqttsn.Disconnect{})
			case 8:
				d.add(&mqttsn.Register{TopicName: fmt.Appendf(nil, "r/%d", n)})
			case 9:
				d.add(&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: deviceAlive, ClientID: []byte("dev"), Will: d.will})
			case 10:
				w.broker.shutDown()
			case 11:
				if w.s.link == linkOpening {
					break // the device would take CONNACK for the answer to its new CONNECT
				}
				d.restart()
				subscribeAll(d)
				up, down = nil, nil // the device has forgotten, and wants the broker to
			case 12:
				w.s.Moved()
				w.setPath(rapid.SampledFrom(modelRates).Draw(t, "rate"))
			case 13: // a burst
				for i := range rapid.IntRange(1, 8).Draw(t, "burst") {
					topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
					w.broker.publish(0, topic, fmt.Sprintf("%s %d.%d", topic, n, i))
				}
			}
			w.run(time.Duration(rapid.IntRange(0, 20000).Draw(t, "pause"))*time.Millisecond, never)
		}
		settle(w)
		checkUp(w, up)
		checkDown(w, down)
	})
}

// settle lets all finish over a network without faults.
func settle(w *world) {
	w.loss, w.double, w.delay = 0, 0, 10*time.Millisecond
	d := w.device
	d.add(&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: deviceAlive, ClientID: []byte("dev"), Will: d.will})
	quiet := func() bool {
		n, _ := w.s.Queued()
		return d.idle() && w.broker.idle() && n == 0
	}
	for range 200 {
		w.run(30*time.Second, quiet)
		if quiet() {
			return
		}
		d.add(&mqttsn.Pingreq{})
	}
	n, _ := w.s.Queued()
	w.failf("it does not come to an end: device has %d tasks and %v in hand, broker %d waiting and %d not acknowledged, session %d queued in %v",
		len(d.tasks), d.task, len(w.broker.waiting), len(w.broker.unacked), n, w.s.State())
}

// checkUp checks the messages of the device: "up N", QoS by the broker's count.
func checkUp(w *world, up []string) {
	acked := map[string]bool{}
	for _, payload := range w.device.acked {
		acked[payload] = true
	}
	for _, payload := range up {
		if !acked[payload] {
			w.failf("%q was never acknowledged", payload)
		}
		if w.broker.got[payload] == 0 {
			w.failf("%q is lost", payload)
		}
	}
	for payload, n := range w.broker.got {
		if strings.HasSuffix(payload, "qos=2") && n > 1 && !w.broker.uncertain[payload] {
			w.failf("%q was published %d times", payload, n)
		}
	}
}

// checkDown checks the messages of the broker. That QoS 2 never comes twice the device
// itself checks.
func checkDown(w *world, down []string) {
	place := map[string]int{}
	for i, payload := range w.device.order {
		place[payload] = i
	}
	last := -1
	for _, payload := range down {
		i, ok := place[payload]
		if !ok {
			if !w.broker.forgotten[payload] {
				w.failf("%q is lost", payload)
			}
			continue
		}
		if i < last {
			w.failf("%q came out of order: %v", payload, w.device.order)
		}
		last = i
	}
	if len(w.broker.refused) > 0 {
		w.failf("the session refused %v", w.broker.refused)
	}
}
