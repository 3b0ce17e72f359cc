package forward

import (
	"sync"

	"mqttsn-gateway/mqttsn"
)

// queue holds the datagrams that wait to be sent to the gateway. The links' readers put
// them in and never wait; one writer takes all there are at a time, so that two areas of
// memory serve for all traffic.
type queue struct {
	limit int           // octets
	wake  chan struct{} // has an element when there may be something to take

	mu     sync.Mutex // guards what follows
	opened bool
	data   []byte
	ends   []int // of each datagram in data
}

func newQueue(limit int) queue { return queue{limit: limit, wake: make(chan struct{}, 1)} }

// put adds packet in a frame with that node id. ok is false if it has no place; why says
// the reason.
func (q *queue) put(nodeID, packet []byte) (why reason, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.opened:
		return gatewayAway, false
	case len(q.data)+frameHeader+len(nodeID)+len(packet) > q.limit:
		return queueFull, false
	}
	q.data = mqttsn.Encapsulated{NodeID: nodeID, Packet: packet}.Append(q.data)
	q.ends = append(q.ends, len(q.data))
	q.rouse()
	return 0, true
}

// rouse wakes the writer.
func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// frameHeader is what a frame adds to a node id and a packet, in octets [SN-5.5].
const frameHeader = 3

// take is what waits; b is what take returned before, or the zero burst.
func (q *queue) take(b burst) burst {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.data, q.data = q.data, b.data[:0]
	b.ends, q.ends = q.ends, b.ends[:0]
	return b
}

// open lets packets in. Some may wait already.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened = true
	q.rouse()
}

// close lets none in until it is opened again, and forgets those that wait: devices send
// again what matters. It returns how many they were.
func (q *queue) close() (forgotten int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	forgotten = len(q.ends)
	q.opened, q.data, q.ends = false, q.data[:0], q.ends[:0]
	return forgotten
}

// burst is some datagrams, one after the other.
type burst struct {
	data []byte
	ends []int
}

// datagram is the one with that index.
func (b burst) datagram(i int) []byte {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.data[start:b.ends[i]]
}
