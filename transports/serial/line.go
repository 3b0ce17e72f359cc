package serial

import (
	"bytes"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
)

// line is a medium with one peer, who hears all that is written.
type line struct {
	framing  framing.Framing
	max      int // octets that may wait
	overhead int // of the framing, per packet
	queue    fifo
}

// peer is the address of the other end of a line.
var peer = transports.NumberAddr(1)

func newLine(o Options) *line {
	switch o.Framing {
	case framingSLIP:
		return &line{framing: framing.SLIP(o.CRC), max: o.queue(), overhead: 4}
	case framingCOBS:
		return &line{framing: framing.COBS(o.CRC), max: o.queue(), overhead: 4}
	default:
		return &line{framing: framing.Raw(), max: o.queue()}
	}
}

func (l *line) put(to transports.Addr, data []byte) reason {
	if to != peer {
		return unknownPeer
	}
	return l.broadcast(0, data)
}

func (l *line) broadcast(_ uint8, data []byte) reason {
	charge := len(data) + l.overhead
	if l.queue.octets+charge > l.max {
		return queueFull
	}
	l.queue.push(packet{data: bytes.Clone(data), charge: charge})
	return taken
}

func (l *line) take(_ time.Time, b []byte, budget int) (grown []byte, n int) {
	for limit := len(b) + budget; len(l.queue.packets) > 0 && len(b) < limit; n++ {
		b = l.framing.Append(b, l.queue.pop().data)
	}
	return b, n
}

func (l *line) due() time.Time { return time.Time{} }

func (l *line) receive(packet []byte) (transports.Datagram, bool) {
	return transports.Datagram{Addr: peer, Data: packet}, true
}

func (l *line) lose(int) int {
	n := len(l.queue.packets)
	l.queue = fifo{}
	return n
}

func (l *line) fill(s *Stats) { s.Queued = l.queue.octets }
