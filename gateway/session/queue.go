package session

import "mqttsn-gateway/broker"

// delivery is a message on its way to the client.
type delivery struct {
	msg    *broker.Message
	token  broker.Token
	qos    byte
	retain bool
	owned  bool // the broker has it too, under token, until it is acknowledged
}

// size is what a delivery counts against the limit in octets.
func (d *delivery) size() int { return len(d.msg.Topic) + len(d.msg.Payload) }

// queue holds what waits for the client, oldest first.
type queue struct {
	items []delivery // from head on
	head  int32
	qos0  int32 // how many have QoS 0
	bytes int32 // sum of their sizes
	// mortal is how many may expire.
	mortal int32
}

// keepQueue is how large an empty queue may be to be kept.
const keepQueue = 16

func (q *queue) len() int { return len(q.items) - int(q.head) }

func (q *queue) push(d delivery) {
	if len(q.items) == cap(q.items) && int(q.head) > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, d)
	q.count(&d, 1)
}

func (q *queue) pop() (d delivery, ok bool) {
	if q.len() == 0 {
		return d, false
	}
	d, q.items[q.head] = q.items[q.head], delivery{}
	q.head++
	q.count(&d, -1)
	q.tidy()
	return d, true
}

// dropQoS0 removes the oldest message with QoS 0.
func (q *queue) dropQoS0() bool {
	if q.qos0 == 0 {
		return false
	}
	i := int(q.head)
	for q.items[i].qos > 0 {
		i++
	}
	d := q.items[i]
	copy(q.items[q.head+1:i+1], q.items[q.head:i])
	q.items[q.head] = delivery{}
	q.head++
	q.count(&d, -1)
	q.tidy()
	return true
}

// keep removes the messages for which f is false.
func (q *queue) keep(f func(*delivery) bool) {
	old := q.items[q.head:]
	*q = queue{}
	for i := range old {
		if f(&old[i]) {
			q.push(old[i])
		}
	}
}

func (q *queue) count(d *delivery, n int) {
	q.bytes += int32(n * d.size())
	if d.qos == 0 {
		q.qos0 += int32(n)
	}
	if !d.msg.Expires.IsZero() {
		q.mortal += int32(n)
	}
}

// tidy gives memory back when nothing waits.
func (q *queue) tidy() {
	if q.len() > 0 {
		return
	}
	q.items, q.head = q.items[:0], 0
	if cap(q.items) > keepQueue {
		q.items = nil
	}
}
