package dtls

import (
	"sync"

	"mqttsn-gateway/transports"
)

// inbox holds the messages that connections have received until Serve hands them on.
// Connections never wait for it: what does not fit is dropped.
type inbox struct {
	limit int // octets
	wake  chan struct{}

	mu      sync.Mutex // guards what follows
	octets  []byte
	waiting []message

	// What take has handed out last, to be used again.
	spare []byte
	batch []transports.Datagram
	taken []message
}

// message is one of the inbox's: it ends at that place of octets.
type message struct {
	addr transports.Addr
	end  int
}

// perMessage is what a message costs beside its own octets.
const perMessage = 128

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, wake: make(chan struct{}, 1)}
}

// put copies a message in; false means that there was no room.
func (q *inbox) put(addr transports.Addr, data []byte) bool {
	q.mu.Lock()
	if len(q.octets)+len(data)+perMessage*(len(q.waiting)+1) > q.limit {
		q.mu.Unlock()
		return false
	}
	q.octets = append(q.octets, data...)
	q.waiting = append(q.waiting, message{addr, len(q.octets)})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all that is waiting. It is valid until the next take; one goroutine calls it.
func (q *inbox) take() []transports.Datagram {
	q.mu.Lock()
	octets, waiting := q.octets, q.waiting
	q.octets, q.waiting = q.spare[:0], q.taken[:0]
	q.mu.Unlock()
	q.spare, q.taken = octets, waiting
	q.batch = q.batch[:0]
	start := 0
	for _, m := range waiting {
		q.batch = append(q.batch, transports.Datagram{Addr: m.addr, Data: octets[start:m.end:m.end]})
		start = m.end
	}
	return q.batch
}
