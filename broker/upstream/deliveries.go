package upstream

import (
	"slices"

	"mqttsn-gateway/broker"
)

// delivery is a QoS 1 or 2 message that the gateway was given.
type delivery struct {
	token broker.Token
	id    uint16
	qos   byte
	acked bool        // by the gateway
	code  broker.Code // what it acknowledged it with
	anew  bool        // to be delivered again when the broker sends it again
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
	// generation goes into the tokens. It changes when the broker may use the identifier
	// of a message that the gateway still holds for another message.
	generation uint16
}

// token of a message: its packet identifier, which the broker keeps for as long as the
// message is not acknowledged, under the generation.
func (d *deliveries) token(id uint16) broker.Token {
	return broker.Token(d.generation)<<16 | broker.Token(id)
}

// rewind makes ready for the next connection.
func (d *deliveries) rewind(receiveMaximum int) {
	d.old = append(d.old, d.open...)
	d.open = nil
	if n := len(d.old) - receiveMaximum; n > 0 {
		// More than the broker can have open: it has dropped some, as by expiry.
		d.old = slices.Delete(d.old, 0, n)
	}
}

// part makes ready for the next Connect of the gateway: what it has not acknowledged
// will be delivered to it again, with the same token.
func (d *deliveries) part(receiveMaximum int) {
	d.rewind(receiveMaximum)
	for i := range d.old {
		d.old[i].anew = !d.old[i].acked
	}
}

// forget forgets all: the broker has.
func (d *deliveries) forget() {
	d.rewind(maxID)
	if slices.ContainsFunc(d.old, func(e delivery) bool { return !e.acked }) {
		d.generation++
	}
	d.old, d.unreleased = nil, nil
}

// arrive takes in a message that has come, and says whether it is to be delivered.
func (d *deliveries) arrive(id uint16, qos byte, dup bool) (token broker.Token, deliver bool) {
	same := func(e delivery) bool { return e.id == id }
	if slices.ContainsFunc(d.open, same) {
		return 0, false
	}
	if qos == 2 && slices.Contains(d.unreleased, id) {
		// It was acknowledged and that was lost, or is on the way [MQTT-4.3.3-10].
		d.open = append(d.open, delivery{id: id, qos: qos, acked: true})
		return 0, false
	}
	if i := slices.IndexFunc(d.old, same); i >= 0 {
		e := d.old[i]
		d.old = slices.Delete(d.old, i, i+1)
		if dup {
			anew := e.anew && !e.acked
			e.anew = false
			d.open = append(d.open, e)
			return e.token, anew
		}
		if !e.acked {
			d.generation++ // the broker has dropped that one and used its identifier again
		}
	}
	token = d.token(id)
	d.open = append(d.open, delivery{token: token, id: id, qos: qos})
	return token, true
}

// ack notes that the gateway has acknowledged a message. A token of a session that the
// broker has lost is nobody's any more.
func (d *deliveries) ack(token broker.Token, code broker.Code) {
	for _, list := range [][]delivery{d.open, d.old} {
		for i := range list {
			if list[i].token == token && !list[i].acked {
				list[i].acked, list[i].code = true, code
				return
			}
		}
	}
}

// next takes out the first message of this connection if it is acknowledged: its turn
// has come to be acknowledged to the broker.
func (d *deliveries) next() (e delivery, ok bool) {
	if len(d.open) == 0 || !d.open[0].acked {
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

// held is how many messages the broker waits for, at least by our books.
func (d *deliveries) held() int { return len(d.open) + len(d.unreleased) }
