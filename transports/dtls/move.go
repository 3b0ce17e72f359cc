package dtls

import (
	"bytes"
	"errors"
	"net/netip"
)

// The client of a connection with an id may send from another address at any time. A valid
// record that is newer than all others moves the connection there (RFC 9146, 6). It shows
// that the client has sent it, not that the client is there: on its way somebody may have
// taken it and sent it on with another's address, at which all that the client is sent
// would then be aimed. So, as in QUIC (RFC 9000, 8.1 and 9.3):
//
//   - A move within the network (prefixOf) that was believed last is believed at once. It
//     is what a NAT does that gives a sleeper another port, and the sleeper, which may have
//     sent one PINGREQ and be listening for its messages, gets them all.
//   - Another network gets at most three times the octets that have come from it, counting
//     only datagrams that held a valid record newer than all others. What exceeds that
//     waits, in order, up to maxHeld, and is sent as more comes from there.
//   - It is believed after the third such datagram. Of those that come together, with
//     neither an answer of ours nor a second between them, one counts: who has caught a
//     few records gains nothing by sending them on at once. A client that gets no answer
//     repeats its message, and so gets all of its messages without knowing of this.
//
// That does not prevent everything, since the library has no way to ask the new address
// itself (the return routability check of RFC 9853). Who can catch the client's records,
// hold each of them back for good and go on sending them with another's address, is
// believed at the third; and an address in the client's own network is at once. Both get
// no more than what is sent to the client anyway, and only until one newer record comes
// from the client itself.

const (
	// perOctet is how many octets a network that is not believed gets for one of its.
	perOctet = 3
	// enoughProofs are the datagrams after which a network is believed.
	enoughProofs = 3
	// maxHeld bounds the messages that wait for a network to be believed, in octets, each
	// with perMessage added.
	maxHeld = 32 << 10
)

// trust says to which networks a connection may send, and how much.
type trust struct {
	believed netip.Prefix
	doubtful netip.Prefix // where the client is now if not in believed; zero otherwise
	credit   int          // octets that may still go to doubtful
	proofs   int
	answered bool  // something has gone to doubtful since the last proof
	proven   int64 // when that came, in seconds
}

// came notes that a datagram of that size with a valid record, newer than all others, has
// come from that network.
func (t *trust) came(from netip.Prefix, octets int, now int64) {
	switch {
	case from == t.believed:
		t.doubtful = netip.Prefix{}
		return
	case from != t.doubtful:
		t.doubtful, t.credit, t.proofs = from, 0, 0
		fallthrough
	case t.answered, now-t.proven > 1: // by whole seconds: more than one has passed
		t.proofs++
		t.answered, t.proven = false, now
	}
	t.credit += perOctet * octets
	if t.proofs >= enoughProofs {
		t.believed, t.doubtful = from, netip.Prefix{}
	}
}

// spend reports whether that many octets may go to that network, which it notes.
func (t *trust) spend(to netip.Prefix, octets int) bool {
	if to == t.believed {
		return true
	}
	if to != t.doubtful || t.credit < octets {
		return false
	}
	t.credit -= octets
	t.answered = true
	return true
}

// send encrypts and sends a message, or keeps it until it may go to where the client is
// now. transports.ErrBusy says that the socket is full, errUnproven that too much is kept.
func (c *conn) send(data []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if len(c.held) == 0 {
		err := c.write(data)
		if !errors.Is(err, errUnproven) {
			return err
		}
	}
	size := len(data) + perMessage
	if c.heldOctets+size > maxHeld {
		return errUnproven
	}
	c.held = append(c.held, bytes.Clone(data))
	c.heldOctets += size
	return nil
}

// sendHeld sends the messages that have been kept, as far as that is allowed now.
func (c *conn) sendHeld() {
	c.sending.Lock()
	defer c.sending.Unlock()
	for len(c.held) > 0 {
		switch err := c.write(c.held[0]); {
		case err == nil:
		case errors.Is(err, errUnproven):
			return
		case errors.Is(err, errGone):
			c.link.counters.drop.unsendable.Add(1)
		default:
			c.link.counters.drop.busy.Add(1)
		}
		c.heldOctets -= len(c.held[0]) + perMessage
		c.held[0] = nil
		c.held = c.held[1:]
	}
	c.held = nil
}

// dropHeld counts what has been kept in vain, at the end of the connection.
func (c *conn) dropHeld() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.link.counters.drop.unproven.Add(uint64(len(c.held)))
	c.held, c.heldOctets = nil, 0
}
