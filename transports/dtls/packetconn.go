package dtls

import (
	"errors"
	"net"
	"os"
	"time"

	"mqttsn-gateway/transports"
)

// What follows is the net.PacketConn that the library has of a connection.

// ReadFrom gives the library its next datagram, and takes the occasion to look at what it
// has made of the last one.
func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	// Between the client's Finished and the end of the handshake the library needs nothing
	// more, and would throw away messages that come then.
	for (len(c.queue) == 0 || !c.established && c.proof.isVerified()) && !c.closed && !c.expired {
		c.more.Wait()
	}
	switch {
	case c.closed:
		return 0, nil, net.ErrClosed
	case c.expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
	p := c.queue[0]
	c.queue[0] = packet{}
	c.queued -= len(p.data)
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	c.processing = true
	if !c.established {
		c.proof.offer(p.data)
	}
	from := c.current
	if *from != p.from || c.trust.doubtful.IsValid() {
		// By this very pointer settle knows that the datagram was valid, and the newest.
		from = &path{p.from.peer, p.from.addr, p.from.local}
	}
	c.inHand = len(p.data)
	return copy(b, p.data), from, nil
}

// settle draws the conclusions from the last datagram: where the client is now, and
// whether it will ever prove who it is.
func (c *conn) settle() {
	now, ok := c.assoc.remote().(*path)
	fresh := ok && now != c.current
	if fresh {
		if now.peer != c.current.peer {
			c.link.move(c, now.peer)
		}
		c.current = now
	}
	c.mu.Lock()
	if fresh {
		c.trust.came(prefixOf(now.peer.Addr()), c.inHand, c.link.clock())
	}
	c.processing = false
	for _, data := range c.pending {
		c.deliver(data)
	}
	c.pending = nil
	if !c.established && c.proof.hopeless() {
		c.cancel()
	}
	c.mu.Unlock()
	if fresh {
		c.sendHeld()
	}
}

// WriteTo sends a datagram of the library's. It loses it if there is no room: the library
// would end a handshake for an error.
func (c *conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*path)
	if !ok {
		return 0, errors.New("dtls: no such address")
	}
	out := b
	if r, _, ok := readRecord(b); ok && r.epoch == 0 {
		var swallow bool
		if out, swallow = c.proof.outgoing(b); swallow {
			if err := c.assoc.expect(c.cookie[:]); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	c.mu.Lock()
	allowed := c.trust.spend(prefixOf(to.peer.Addr()), len(out))
	c.mu.Unlock()
	if !allowed {
		c.refused.Store(true)
		return len(b), nil
	}
	if err := c.link.transmit(out, *to); errors.Is(err, transports.ErrBusy) {
		c.busy.Store(true)
	}
	return len(b), nil
}

// Close ends ReadFrom.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.queue, c.queued = nil, 0
	c.more.Broadcast()
	c.mu.Unlock()
	return nil
}

// SetReadDeadline ends ReadFrom if t has passed: the library sets no others.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.expired = !t.IsZero()
	c.more.Broadcast()
	c.mu.Unlock()
	return nil
}

// SetWriteDeadline does nothing: WriteTo does not wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// LocalAddr is the link, by its name: the library only shows it.
func (c *conn) LocalAddr() net.Addr { return localAddr(c.link.name) }

type localAddr string

func (a localAddr) Network() string { return "udp" }
func (a localAddr) String() string  { return string(a) }
