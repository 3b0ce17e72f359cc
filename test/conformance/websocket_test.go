package conformance

import (
	"net"
	"net/http"
	"strings"

	"mqttsn-gateway/broker/mqtt"
)

// MQTT over WebSocket. The client's end is that of web_test.go.

var (
	_ = statement("MQTT-6.0.0-1", both, "packets are sent in binary frames", func(t *T) {
		t.ownWeb()
		c, _ := t.dialWeb(subprotocol)
		c.enter("a")
		c.subscribe("a", 1)
		c.publish("b", "x", 2)
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
			payload := strings.Repeat("x", n)
			c.send(&mqtt.Publish{Topic: []byte(c.topic("a")), Payload: []byte(payload)})
			c.takes(payload, 0)
		}
	})

	_ = statement("MQTT-6.0.0-1b", both, "a text frame ends the connection", func(t *T) {
		t.ownWeb()
		first := func(w *web) { w.kind = frameText }
		later := func(w *web) { w.first, w.kind = framePart|frameText, frameRest }
		for name, as := range map[string]func(w *web){"a whole message": first, "the first part of one": later} {
			t.trying = name
			c, w := t.dialWeb(subprotocol)
			as(w)
			c.send(c.greeting("a"))
			c.closed()

			c, w = t.dialWeb(subprotocol)
			c.enter("a")
			as(w)
			c.send(&mqtt.Pingreq{})
			c.failed()
		}
	})

	_ = statement("MQTT-6.0.0-2", both, "a frame may have parts of packets, or several packets", func(t *T) {
		t.ownWeb()
		packets := func(c *client) (b []byte) {
			b = c.greeting("a").Append(b, c.version)
			b = (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(c.topic("a")), QoS: 1}}}).Append(b, c.version)
			b = (&mqtt.Publish{PacketID: 2, QoS: 1, Topic: []byte(c.topic("a")), Payload: []byte("x")}).Append(b, c.version)
			return (&mqtt.Pingreq{}).Append(b, c.version)
		}
		for name, send := range map[string]func(w *web, b []byte){
			"all in one frame":          func(w *web, b []byte) { w.frame(frameLast|frameBinary, b) },
			"frames of half of the sum": func(w *web, b []byte) { _, _ = w.Write(b[:len(b)/2]); _, _ = w.Write(b[len(b)/2:]) },
			"a frame for each octet": func(w *web, b []byte) {
				for i := range b {
					_, _ = w.Write(b[i : i+1])
				}
			},
			"a message in three frames": func(w *web, b []byte) {
				w.frame(framePart|frameBinary, b[:1])
				w.frame(framePart|frameRest, b[1:len(b)-3])
				w.frame(frameLast|frameRest, b[len(b)-3:])
			},
			"empty frames, and pings between": func(w *web, b []byte) {
				w.frame(framePart|frameBinary, nil)
				w.frame(frameLast|framePing, []byte("ping"))
				w.frame(framePart|frameRest, b[:5])
				w.frame(framePart|frameRest, nil)
				w.frame(frameLast|framePing, nil)
				w.frame(frameLast|frameRest, b[5:])
				w.frame(frameLast|frameBinary, nil)
			},
		} {
			t.trying = name
			c, w := t.dialWeb(subprotocol)
			send(w, packets(c))
			expect[*mqtt.Connack](c)
			expect[*mqtt.Suback](c)
			var acknowledged, got, answered int
			for _, p := range c.collect(3) {
				switch p.(type) {
				case *mqtt.Puback:
					acknowledged++
				case *mqtt.Publish:
					got++
				case *mqtt.Pingresp:
					answered++
				}
			}
			if acknowledged != 1 || got != 1 || answered != 1 {
				t.Fatalf("%d PUBACK, %d PUBLISH, %d PINGRESP", acknowledged, got, answered)
			}
			c.drop()
		}
	})

	_ = statement("MQTT-6.0.0-4", both, "the broker takes the subprotocol mqtt", func(t *T) {
		t.ownWeb()
		t.takesMQTT("mqtt", "mqtt, mqttv3.1", "chat, mqtt, superchat", "chat,mqtt")
	})

	_ = statement("MQTT-6.0.0-4b", both, "the broker takes the subprotocol mqtt though the client names an older one first", func(t *T) {
		t.ownWeb()
		t.takesMQTT("mqttv3.1, mqtt", "mqttv3.1,chat,mqtt")
	})

	_ = statement("MQTT-6.0.0-4c", both, "without an offer of MQTT there is no MQTT over WebSocket", func(t *T) {
		t.ownWeb()
		for _, offer := range []string{"", "chat", "mqtt5, xmqtt"} {
			t.trying = offer
			conn, err := net.Dial("tcp", t.addr)
			if err != nil {
				t.Fatalf("%v", err)
			}
			t.Cleanup(func() { conn.Close() })
			w := t.upgrade(conn, offer)
			if w.answer == http.StatusSwitchingProtocols {
				t.Fatalf("the broker goes on with %q", w.taken)
			}
		}
	})
)

// takesMQTT expects that of each of these offers the broker takes the subprotocol mqtt.
func (t *T) takesMQTT(offers ...string) {
	t.Helper()
	for _, offer := range offers {
		t.trying = offer
		c, w := t.dialWeb(offer)
		if len(w.taken) != 1 || w.taken[0] != subprotocol {
			t.Fatalf("the broker takes %q", w.taken)
		}
		c.enter("a")
		c.leave()
	}
}
