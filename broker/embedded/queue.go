package embedded

import "mqttsn-gateway/broker"

// delivery is a QoS 1 or 2 message on its way to one client, or one of QoS 0 that is
// queued as well, see queue_qos0_messages.
type delivery struct {
	message *message
	rare    *rare  // for its subscription identifiers; nil for none
	number  uint64 // with a store: names it, and its low 32 bits are a device's token
	id      uint16 // packet identifier, and without a store a device's token; 0: none yet
	qos     byte
	record  byte // what the store knows of it, see pending
	sent    bool // it may have been sent before
	retain  bool // as the client gets to see it
	// released says that the client has a QoS 2 message (PUBREC came): PUBREL is to
	// be sent, or was, and only PUBCOMP is outstanding.
	released bool
}

// token names the delivery to a device.
func (d *delivery) token() broker.Token {
	if d.number != 0 {
		return broker.Token(d.number)
	}
	return broker.Token(d.id)
}

// queue holds the deliveries of one session, oldest first [MQTT-4.6.0-1]. The first sent
// ones are in flight on the present connection.
type queue struct {
	items []delivery // from head on
	head  int32
	sent  int32
	bytes int // sum of the sizes of the messages that are not in flight
	aloft int // and of those that are
}

// keepQueue is how large an empty queue may be to be kept.
const keepQueue = 8

func (q *queue) len() int { return len(q.items) - int(q.head) }

// at is the delivery number i; valid until the queue is changed.
func (q *queue) at(i int) *delivery { return &q.items[int(q.head)+i] }

func (q *queue) push(d delivery) {
	if len(q.items) == cap(q.items) && int(q.head) > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, d)
	q.bytes += d.message.size()
}

// fly notes that the next one is in flight.
func (q *queue) fly() {
	size := q.at(int(q.sent)).message.size()
	q.bytes -= size
	q.aloft += size
	q.sent++
}

// land notes that none is in flight any more.
func (q *queue) land() {
	q.bytes += q.aloft
	q.sent, q.aloft = 0, 0
}

// inFlight is the position of the delivery in flight with that id.
func (q *queue) inFlight(id uint16) (at int, ok bool) {
	for i := range int(q.sent) {
		if q.at(i).id == id {
			return i, true
		}
	}
	return 0, false
}

// withToken is the position of the delivery in flight to a device that has the token.
func (q *queue) withToken(token broker.Token) (at int, ok bool) {
	for i := range int(q.sent) {
		if q.at(i).token() == token {
			return i, true
		}
	}
	return 0, false
}

// find is the position of the delivery with that id, in flight or not.
func (q *queue) find(id uint16) (at int, ok bool) {
	for i := range q.len() {
		if q.at(i).id == id {
			return i, true
		}
	}
	return 0, false
}

// remove takes out the delivery number i.
func (q *queue) remove(i int) {
	size := q.at(i).message.size()
	if i < int(q.sent) {
		q.sent--
		q.aloft -= size
	} else {
		q.bytes -= size
	}
	// Acknowledgements come in order, so there is little in front of it to be moved.
	copy(q.items[int(q.head)+1:int(q.head)+i+1], q.items[q.head:int(q.head)+i])
	q.items[q.head] = delivery{}
	q.head++
	q.shrink()
}

// filter takes out those that are not in flight and that keep does not want.
func (q *queue) filter(keep func(*delivery) bool) {
	waiting := q.items[int(q.head)+int(q.sent):]
	left := waiting[:0]
	for i := range waiting {
		if d := &waiting[i]; keep(d) {
			left = append(left, *d)
		} else {
			q.bytes -= d.message.size()
		}
	}
	clear(waiting[len(left):])
	q.items = q.items[:len(q.items)-len(waiting)+len(left)]
	q.shrink()
}

// shrink gives back what an empty queue does not need.
func (q *queue) shrink() {
	if q.len() > 0 {
		return
	}
	q.items, q.head = q.items[:0], 0
	if cap(q.items) > keepQueue {
		q.items = nil
	}
}
