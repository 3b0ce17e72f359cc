package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestForeignHome is what home automation does with a broker. Each thing leaves a retained
// description of itself, some of 10 to 50 KB; the hub subscribes to all of them when it
// starts, and says that it is there; its will says that it is not.
func TestForeignHome(t *testing.T) {
	t.Parallel()
	const things, status = 5000, "homeassistant/status"
	f := newFair(t)
	descriptions := map[string]string{}
	maker := f.join(kindNamed("mqttjs-3.1.1"), "things", greeting{})
	for n := range things {
		topic, length := fmt.Sprintf("homeassistant/sensor/thing-%d/config", n), 500
		if n%100 == 0 {
			length = 10_000 + n*8
		}
		descriptions[topic] = fmt.Sprintf("%d ", n) + strings.Repeat("{}", length/2)
		maker.publish(outgoing{topic: topic, payloads: []string{descriptions[topic]}, qos: 1, retain: true})
	}
	for range descriptions {
		maker.settle()
	}
	thing := f.join(kindNamed("device"), "thing", greeting{})
	thing.subscribe(status, 1)
	said := func(text string) message { return message{topic: status, payload: text, qos: 1} }

	for qos, name := range []string{"mosquitto-5", "paho-3.1.1", "mqttjs-5"} {
		hub := f.join(kindNamed(name), "hub-"+name, greeting{will: &testament{Topic: status, Payload: "offline", QoS: 1, Retain: true}})
		hub.subscribe("homeassistant/#", byte(qos))
		missing := len(descriptions)
		for missing > 0 {
			got, err := hub.inbox().next()
			if err != nil {
				t.Fatalf("%v: %d descriptions are missing", err, missing)
			}
			if got.topic == status {
				continue // of the hub before
			}
			if got.payload != descriptions[got.topic] || int(got.qos) != min(qos, 1) || !got.retain {
				t.Fatalf("%s got %v, want it as it was published, QoS %d, retained", name, got.message, min(qos, 1))
			}
			missing--
		}
		hub.publish(outgoing{topic: status, payloads: []string{"online"}, qos: 1, retain: true})
		hub.settle()
		thing.inbox().expect(t, said("online"))
		hub.die()
		thing.inbox().expect(t, said("offline"))
	}
}

func kindNamed(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}
