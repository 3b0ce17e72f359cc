package serial

import (
	"sync/atomic"
	"time"

	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// Stats is the state of a link and what it has counted since it was opened.
type Stats struct {
	// Up says that the port is open; UpFor is for how long it has been.
	Up    bool
	UpFor time.Duration
	// Reopened is how often the port was opened again after it was lost.
	Reopened uint64
	// Received and Sent are datagrams, ReceivedOctets and SentOctets what went over the
	// line with them, framing and noise included.
	Received, Sent, ReceivedOctets, SentOctets uint64
	// Delivered is how many packets an XBee module has reported to have reached their node.
	Delivered uint64
	// Drops are lost datagrams and frames by their reason; every reason is there.
	//
	//	queue_full       not sent: queue octets were waiting
	//	node_queue_full  not sent: all that node_queue allows was waiting for this node, or
	//	                 it had not got its last packet and another node needed the room
	//	oversize         not sent: longer than max_payload, or empty
	//	unknown_peer     not sent: an address that this line has not
	//	line_down        not sent: the port was not open, or was lost while it waited
	//	transmit_failed  sent, but the XBee module could not deliver it: see TransmitFailed
	//	no_status        sent, but the XBee module never said what became of it
	//	checksum         received with a wrong checksum
	//	malformed        received, but no frame that makes sense
	//	too_long         received, but longer than any frame may be
	//	unused           received, but a frame that carries no datagram and is not used
	Drops map[string]uint64
	// Noise is how many octets came outside any frame.
	Noise uint64
	// TransmitFailed are the packets that an XBee module could not deliver, by its reason.
	TransmitFailed map[string]uint64
	// Modem is how many modem status frames an XBee module has sent: it was reset, has
	// joined a network or left it.
	Modem uint64
	// Queued is how many octets wait, Outstanding how many packets an XBee module has in
	// hand, Nodes how many nodes something waits for or is in hand for.
	Queued, Outstanding, Nodes int
	// Signal is how strong the last packet was that an 802.15.4 module received, in dBm;
	// 0 if it is not known.
	Signal int8
}

// counts are the counters of a link. They may be read at any time.
type counts struct {
	dropped                                    [reasons]atomic.Uint64
	received, sent, receivedOctets, sentOctets atomic.Uint64
	delivered, noise, reopened, modem          atomic.Uint64
	failed                                     [256]atomic.Uint64 // transmissions, by delivery status
	signal                                     atomic.Int32
}

// decoded counts the errors that a decoder has found since it had those of before.
func (c *counts) decoded(before, now framing.Errors) {
	c.dropped[checksum].Add(now.Checksum - before.Checksum)
	c.dropped[malformed].Add(now.Malformed - before.Malformed)
	c.dropped[tooLong].Add(now.TooLong - before.TooLong)
	c.noise.Add(now.Noise - before.Noise)
}

// Stats returns the state of the link. It may be called from any goroutine.
func (l *Link) Stats() Stats {
	c := &l.counts
	s := Stats{
		Reopened:       c.reopened.Load(),
		Received:       c.received.Load(),
		Sent:           c.sent.Load(),
		ReceivedOctets: c.receivedOctets.Load(),
		SentOctets:     c.sentOctets.Load(),
		Delivered:      c.delivered.Load(),
		Noise:          c.noise.Load(),
		Modem:          c.modem.Load(),
		Signal:         int8(c.signal.Load()),
		Drops:          make(map[string]uint64, reasons),
		TransmitFailed: map[string]uint64{},
	}
	for r := taken + 1; r < reasons; r++ {
		s.Drops[reasonNames[r]] = c.dropped[r].Load()
	}
	for status := range c.failed {
		if n := c.failed[status].Load(); n > 0 {
			s.TransmitFailed[xbee.Delivery(status).String()] += n
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.medium.fill(&s)
	if l.up {
		s.Up, s.UpFor = true, time.Since(l.since)
	}
	return s
}
