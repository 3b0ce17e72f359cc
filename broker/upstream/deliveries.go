package upstream

import (
	"slices"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// delivery is a QoS 1 or 2 message that the gateway was given.
type delivery struct {
	token broker.Token
	id    uint16
	qos   byte
	taken bool        // by the gateway, which is to acknowledge it
	acked bool        // by the gateway
	code  broker.Code // what it acknowledged it with
	anew  bool        // to be delivered again when the broker sends it again
	// With a store: the number that the token is part of, the message while it can still be
	// kept, and where that is durable which the acknowledgement promises.
	number  uint64
	message *broker.Message
	mark    store.Mark
}

// deliveries is the broker-to-client half of a client's session. It outlives
// connections, and is handed on from one Connect of a Conn to the next.
type deliveries struct {
	// open came over the present connection, in that order, which is also the order of
	// the acknowledgements [MQTT-4.6.0-2] [MQTT-4.6.0-3].
	open []delivery
	// old came over an earlier connection. The broker will send them again; those that
	// the gateway has acknowledged meanwhile will then be acknowledged at once.
	old []delivery
	// unreleased holds the identifiers of QoS 2 messages that were acknowledged with
	// PUBREC, until PUBREL comes.
	unreleased []uint16
	// token of the latest message. A packet identifier would not do: the broker may use
	// it for another message while the gateway still holds the first.
	token broker.Token
	backlog

	// With a store. What is kept is in the order of numbers.
	numbers    *numbers
	kept       []kept
	keptOctets int
	promises   []promise
	usedUp     time.Time // since when the broker's receive maximum is; zero if it is not
	shelving   bool      // the gateway has not acknowledged anything since that was too long
}

// maxHeld bounds each of the lists. Our receive maximum does not: on a new connection the
// broker counts from zero, and may send that many new messages besides those whose
// exchange is half done (Mosquitto 2.0.11 does). It is far above what that amounts to.
const maxHeld = 4096

// rewind makes ready for the next connection.
func (d *deliveries) rewind() {
	d.old = append(d.old, d.open...)
	d.open, d.promises, d.usedUp = nil, nil, time.Time{}
	for len(d.old) > maxHeld {
		d.drop(0)
	}
}

// drop forgets the i-th of old: the broker has dropped it, as by expiry.
func (d *deliveries) drop(i int) {
	if e := d.old[i]; e.taken && !e.acked {
		d.unanswered--
	}
	d.old = slices.Delete(d.old, i, i+1)
}

// part makes ready for the next Connect of the gateway: what it has not acknowledged
// will be delivered to it again, with the same token.
func (d *deliveries) part() {
	d.rewind()
	for i := range d.old {
		d.old[i].anew, d.old[i].taken = !d.old[i].acked, false
	}
	for i := range d.kept {
		d.kept[i].taken = false
	}
	d.backlog = backlog{}
}

// forget forgets all that the broker has forgotten. What is in the backlog is left: the
// gateway gets it, and need not acknowledge it to anybody.
func (d *deliveries) forget() {
	d.open, d.old, d.unreleased, d.unanswered = nil, nil, nil, 0
	for _, k := range d.kept {
		if k.taken {
			d.unanswered++
		}
	}
}

// arrive takes in a message that has come, and says whether it is to be delivered.
func (d *deliveries) arrive(id uint16, qos byte, dup bool) (token broker.Token, deliver bool) {
	same := func(e delivery) bool { return e.id == id }
	if slices.ContainsFunc(d.open, same) {
		return 0, false
	}
	if i := slices.Index(d.unreleased, id); i >= 0 {
		if dup && qos == 2 {
			// It was acknowledged, and that was lost or is on the way [MQTT-4.3.3-10].
			d.open = append(d.open, delivery{id: id, qos: qos, acked: true})
			return 0, false
		}
		d.unreleased = slices.Delete(d.unreleased, i, i+1) // as below
	}
	if i := slices.IndexFunc(d.old, same); i >= 0 {
		if dup {
			e := d.old[i]
			d.old = slices.Delete(d.old, i, i+1)
			anew := e.anew && !e.acked
			e.anew = false
			d.open = append(d.open, e)
			return e.token, anew
		}
		// Without DUP it is another message [MQTT-3.3.1-2]: the broker has dropped the one
		// that had the identifier, as Mosquitto does with what has expired meanwhile.
		d.drop(i)
	}
	e := delivery{id: id, qos: qos}
	if d.numbers != nil {
		e.number = d.numbers.next()
		d.token = tokenOf(e.number)
	} else {
		d.token++
	}
	e.token = d.token
	d.open = append(d.open, e)
	return e.token, true
}

// ack notes that the gateway has acknowledged a message. A token of a session that the
// broker has lost is nobody's any more.
func (d *deliveries) ack(token broker.Token, code broker.Code, mark store.Mark) {
	for _, list := range [][]delivery{d.open, d.old} {
		for i := range list {
			if list[i].token == token && !list[i].acked {
				list[i].acked, list[i].code, list[i].mark, list[i].message = true, code, mark, nil
				if list[i].taken {
					d.unanswered--
				}
				return
			}
		}
	}
}

// next takes out the first message of this connection if it is acknowledged, and that is
// durable: its turn has come to be acknowledged to the broker.
func (d *deliveries) next(durable func(store.Mark) bool) (e delivery, ok bool) {
	if len(d.open) == 0 || !d.open[0].acked || !durable(d.open[0].mark) {
		return e, false
	}
	e = d.open[0]
	d.open = slices.Delete(d.open, 0, 1)
	if e.qos == 2 && !e.code.Failed() && !slices.Contains(d.unreleased, e.id) {
		d.unreleased = append(d.unreleased, e.id)
	}
	return e, true
}

// release takes a PUBREL, and says whether we knew the identifier.
func (d *deliveries) release(id uint16) bool {
	i := slices.Index(d.unreleased, id)
	if i >= 0 {
		d.unreleased = slices.Delete(d.unreleased, i, i+1)
	}
	return i >= 0
}

// full reports whether the broker has sent more than can be right, or can be kept.
func (d *deliveries) full() bool {
	return len(d.open) >= maxHeld || len(d.unreleased) >= maxHeld || d.octets >= maxBacklog
}
