package upstream

import (
	"slices"

	"mqttsn-gateway/broker"
)

// backlog holds the QoS 1 and 2 messages that the broker has sent although the gateway
// has as many un-acknowledged as receive_maximum allows. A broker that keeps to it leaves
// none; Mosquitto 2.0.11, Debian 12's, sends a whole new window after every
// acknowledgement, and so all that waits for a sleeping client. They stay
// un-acknowledged here: the gateway would have to refuse what exceeds its own queue, and
// a refused message is lost.
type backlog struct {
	waiting []arrival
	octets  int // of topics and payloads in waiting
	// unanswered messages are those that the gateway has taken and not acknowledged.
	unanswered int
}

// maxBacklog is how many octets a backlog holds before the connection is ended, to come
// back after a while: the broker then sends again what is un-acknowledged.
const maxBacklog = 4 << 20

// arrival is a message as it is passed on, with its number if there is a store.
type arrival struct {
	broker.Event
	number uint64
}

func (b *backlog) add(ev broker.Event, number uint64) {
	b.waiting = append(b.waiting, arrival{ev, number})
	b.octets += size(ev.Message)
}

func size(m *broker.Message) int { return len(m.Topic) + len(m.Payload) }

// turn takes out the next message that the gateway may have, if it has fewer than limit
// un-acknowledged.
func (d *deliveries) turn(limit int) (ev broker.Event, ok bool) {
	if len(d.waiting) == 0 || d.unanswered >= limit {
		return ev, false
	}
	ev = d.waiting[0].Event
	d.waiting = slices.Delete(d.waiting, 0, 1)
	d.octets -= size(ev.Message)
	if len(d.waiting) == 0 {
		d.waiting = nil
	}
	for _, list := range [][]delivery{d.open, d.old} {
		for i := range list {
			if list[i].token == ev.Token && !list[i].acked {
				list[i].taken = true
				d.unanswered++
				return ev, true
			}
		}
	}
	return ev, true // the broker has lost its session: nobody asks for the acknowledgement
}
