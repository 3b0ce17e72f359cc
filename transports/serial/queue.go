package serial

import (
	"time"

	"mqttsn-gateway/transports"
)

// medium is what is at the other end of the line: one peer, or a radio module and its
// nodes. It queues what is to be sent and reads what has come. The link's lock guards it.
type medium interface {
	// put queues a packet for a peer; broadcast queues one for all within radius hops.
	put(to transports.Addr, data []byte) reason
	broadcast(radius uint8, data []byte) reason
	// take appends to b, as they go over the line, queued packets that may be sent now,
	// until there are budget octets of them. n is how many packets these are.
	take(now time.Time, b []byte, budget int) (grown []byte, n int)
	// due is when take may have more to do although nothing has come and nothing been
	// put; zero if never.
	due() time.Time
	// receive reads a packet of the line; ok if it carries a datagram. Its Data is the packet's.
	receive(packet []byte) (d transports.Datagram, ok bool)
	// lose forgets all that is queued or in hand, as the line is gone, and returns how
	// many packets were queued. unwritten is how many that were taken were not written.
	lose(unwritten int) int
	// fill adds to s what there is to say of the queue.
	fill(s *Stats)
}

// fifo holds packets in order of their arrival.
type fifo struct {
	packets []packet
	octets  int // of all, as they are charged
}

// packet waits to be sent.
type packet struct {
	data   []byte
	radius uint8 // of a broadcast
	charge int
}

func (q *fifo) push(p packet) {
	q.packets = append(q.packets, p)
	q.octets += p.charge
}

func (q *fifo) pop() packet {
	p := q.packets[0]
	q.packets[0] = packet{}
	if q.packets = q.packets[1:]; len(q.packets) == 0 {
		q.packets = nil
	}
	q.octets -= p.charge
	return p
}

// unpush takes back the packet that was put last.
func (q *fifo) unpush() packet {
	last := len(q.packets) - 1
	p := q.packets[last]
	q.packets[last] = packet{}
	if q.packets = q.packets[:last]; last == 0 {
		q.packets = nil
	}
	q.octets -= p.charge
	return p
}
