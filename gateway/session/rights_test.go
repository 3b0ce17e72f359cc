package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"

	"pgregory.net/rapid"
)

// listed are rights to what is listed, by the names publish, receive and subscribe.
type listed map[string][]string

func (l listed) MayPublish(topic string) bool    { return slices.Contains(l["publish"], topic) }
func (l listed) MayReceive(topic string) bool    { return slices.Contains(l["receive"], topic) }
func (l listed) MaySubscribe(filter string) bool { return slices.Contains(l["subscribe"], filter) }

// parseRights reads rights in a scenario.
func parseRights(parts []string) (Rights, error) {
	w := newWords(parts)
	if w.flag("any") {
		return nil, nil
	}
	l := listed{}
	for key, topics := range w.kv {
		if key != "publish" && key != "receive" && key != "subscribe" {
			return nil, fmt.Errorf("%s: not a right", key)
		}
		l[key] = strings.Split(topics, ",")
	}
	return l, w.err
}

// denied are rights to all but to receive some topics.
type denied map[string]bool

func (d denied) MayPublish(string) bool          { return true }
func (d denied) MayReceive(topic string) bool    { return !d[topic] }
func (d denied) MaySubscribe(filter string) bool { return true }

// Rights come and go while messages wait, are sent, and are sent again. Nothing is sent
// without the right, each message is accounted for, and none is lost that was not refused.
func TestModelRights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"), t.Fatalf)
		w.loss = rapid.IntRange(0, 30).Draw(t, "loss")
		w.double = rapid.IntRange(0, 30).Draw(t, "double")
		w.denied = denied{}
		w.s.SetRights(w.denied)
		d := w.device
		d.reconnect()
		subscribeAll(d)
		w.run(10*time.Minute, d.idle)
		var down []string // QoS 1 and 2
		for n := range rapid.IntRange(1, 60).Draw(t, "actions") {
			topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0, 1, 2, 3:
				qos, payload := byte(rapid.IntRange(0, 2).Draw(t, "qos")), fmt.Sprintf("%s %d", topic, n)
				w.broker.publish(qos, topic, payload)
				if qos > 0 {
					down = append(down, payload)
				}
			case 4, 5:
				w.denied[topic] = true
			case 6:
				delete(w.denied, topic)
			case 7:
				d.add(&mqttsn.Disconnect{HasDuration: true, Duration: uint16(rapid.IntRange(1, 100).Draw(t, "sleep"))})
			case 8:
				d.add(&mqttsn.Pingreq{ClientID: []byte("dev")})
			case 9:
				d.add(&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: deviceAlive, ClientID: []byte("dev")})
			}
			w.run(time.Duration(rapid.IntRange(0, 20000).Draw(t, "pause"))*time.Millisecond, never)
		}
		settle(w)
		for _, payload := range down {
			if !slices.Contains(d.order, payload) && !slices.Contains(w.broker.refused, payload) && !w.broker.forgotten[payload] {
				w.failf("%q is lost", payload)
			}
		}
	})
}
