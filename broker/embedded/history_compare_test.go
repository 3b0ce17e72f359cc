package embedded

import (
	"fmt"
	"reflect"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// ask has a device ask for something, and returns the answer.
func (h *history) ask(a *actor, r broker.Request) broker.Event {
	a.device.do(r)
	h.broker.Flush()
	for i, ev := range a.device.events {
		if ev.Kind == broker.Answered {
			a.device.events = slices.Delete(a.device.events, i, i+1)
			return ev
		}
	}
	h.t.Fatalf("%v was not answered", r.Op)
	return broker.Event{}
}

// answer reads up to the answer to what an MQTT client has sent.
func answer[T mqtt.Packet](h *history, a *actor) T {
	for {
		packet, err := a.peer.read(patience)
		if err != nil {
			h.t.Fatalf("%s: reading, want %T: %v", a.id, *new(T), err)
		}
		switch p := packet.(type) {
		case T:
			return p
		case *mqtt.Publish:
			topic := string(p.Topic)
			if alias := p.Properties.TopicAlias; alias != 0 && topic == "" {
				topic = a.aliases[alias]
			} else if alias != 0 {
				a.aliases[alias] = topic
			}
			a.seen = append(a.seen, modelDelivery{
				message: &modelMessage{topic: topic, payload: string(p.Payload)},
				qos:     byte(p.QoS), retain: p.Retain, again: p.DUP, id: p.PacketID, ids: p.Properties.SubscriptionIDs,
			})
		case *mqtt.Pubrel:
			a.seen = append(a.seen, modelDelivery{released: true, id: p.PacketID})
		default:
			h.t.Fatalf("%s was sent %T %+v", a.id, p, p)
		}
	}
}

// compare compares what everybody was sent with what the model says, and the counters.
// Whoever has just done something comes first: once it is answered, the others have been
// sent all that follows from it.
func (h *history) compare(first *actor) {
	h.t.Helper()
	for _, a := range append([]*actor{first}, h.actors...) {
		if !a.online {
			if a.device != nil && len(a.device.take()) > 0 {
				h.t.Fatalf("%s was told something while it is not connected", a.id)
			}
			continue
		}
		if a.device != nil {
			for _, ev := range a.device.take() {
				a.seen = append(a.seen, modelDelivery{
					message: &modelMessage{topic: ev.Message.Topic, payload: string(ev.Message.Payload)},
					qos:     ev.QoS, retain: ev.Retain, token: ev.Token,
				})
			}
		} else {
			a.peer.send(&mqtt.Pingreq{})
			answer[*mqtt.Pingresp](h, a)
		}
		s := h.model.sessions[a.id]
		var got, want []string
		for _, d := range a.seen {
			got = append(got, d.text(a))
		}
		for _, d := range s.out {
			want = append(want, d.text(a))
		}
		seen, out := a.seen, s.out
		a.seen, s.out = nil, nil
		if !slices.Equal(got, want) {
			h.t.Fatalf("%s was sent\n%q, want\n%q", a.id, got, want)
		}
		for i := range out {
			h.compareTokens(a, out[i].self, seen[i].token)
		}
	}
	h.compareCounters()
}

// compareTokens notes by which token a device knows a delivery, which never changes.
func (h *history) compareTokens(a *actor, d *modelDelivery, token broker.Token) {
	switch {
	case a.device == nil || d == nil: // or it is one with QoS 0
	case !h.model.stored && token != broker.Token(d.id), d.token != 0 && d.token != token, token == 0:
		h.t.Fatalf("%s knows %+v by the token %d", a.id, *d, token)
	case h.model.stored:
		d.token = token
	}
}

// text is what of a delivery such a client gets to see.
func (d *modelDelivery) text(a *actor) string {
	if d.released {
		return fmt.Sprintf("PUBREL %d", d.id)
	}
	again, id, ids := d.again, d.id, slices.Sorted(slices.Values(d.ids))
	if a.version != mqtt.V5 {
		ids = nil
	}
	if a.device != nil {
		again, id = false, 0
	}
	return fmt.Sprintf("%s %q, QoS %d, retain %v, again %v, id %d, subscriptions %d",
		d.message.topic, d.message.payload, d.qos, d.retain, again, id, ids)
}

func (h *history) compareCounters() {
	h.t.Helper()
	st, m := h.broker.Stats(), h.model
	queued, subscriptions := 0, 0
	for _, s := range m.sessions {
		queued += len(s.queue)
		subscriptions += len(s.subs)
	}
	dropped := make(map[string]uint64)
	for why, n := range st.Dropped {
		if n > 0 {
			dropped[why] = n
		}
	}
	if st.Received != m.received || st.Sent != m.sent || !reflect.DeepEqual(dropped, m.dropped) {
		h.t.Fatalf("counted %d received, %d sent, %v dropped, want %d, %d, %v",
			st.Received, st.Sent, dropped, m.received, m.sent, m.dropped)
	}
	if st.QueuedMessages != queued || st.Sessions != len(m.sessions) || st.Subscriptions != subscriptions || st.RetainedMessages != len(m.retained) {
		h.t.Fatalf("counted %+v, want %d queued, %d sessions, %d subscriptions, %d retained",
			st, queued, len(m.sessions), subscriptions, len(m.retained))
	}
}
