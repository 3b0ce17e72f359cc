package dtls

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"mqttsn-gateway/transports"
)

// Bounds of what may wait for one connection, in octets of datagrams. They also bound what
// the library can be made to keep.
const (
	maxHandshakeOctets = 64 << 10 // in a whole handshake: certificates, and repetitions
	maxBacklog         = 64 << 10 // at a time
)

// conn is one connection, from its hello with a valid cookie on. It is also the
// net.PacketConn under its association.
//
// Goroutines: run is one. The library has two more: its reader calls ReadFrom, and its
// state machine and whoever sends call WriteTo.
type conn struct {
	link       *Link
	assoc      association
	origin     path // where its hello came from
	cookie     [cookieSize]byte
	id         connectionID    // in the link's table if the client takes connection ids
	ctx        context.Context // of the handshake
	cancel     context.CancelFunc
	proof      proof
	resumption *resumption // nil: the client can take up no session

	name string          // what the client has proven; set before the link tells of the connection
	addr transports.Addr // the same

	// Guarded by the link's mutex.
	stage         stage
	at            netip.AddrPort // under which the link's tables have it; zero: none
	prefix        netip.Prefix
	takes         bool  // takes a connection id
	before, after *conn // others of the same identity, or nil

	seen  atomic.Int64 // when something valid came last, by link.clock
	ended atomic.Int32 // an ending: why it is closed

	sending    sync.Mutex // one message at a time: busy and refused are its outcome; guards held
	busy       atomic.Bool
	refused    atomic.Bool
	held       [][]byte // messages that wait for the client's new network to be believed
	heldOctets int

	// Of the library's reader alone.
	current *path // where the client is
	inHand  int   // octets of the datagram that the library has last been given

	mu          sync.Mutex // guards what follows
	more        sync.Cond  // something of it has changed for ReadFrom
	queue       []packet
	queued      int      // octets in queue
	fed         int      // octets until heard
	proofs      [][]byte // the client's first encrypted records, until it is established
	established bool
	heard       bool // a message has come: the client knows that the handshake is over
	closed      bool
	expired     bool
	// processing: the library has a datagram in hand. What it decrypts from it waits in
	// pending until it is done, for only then is a new address in force for the answer.
	processing bool
	pending    [][]byte
	trust      trust
}

// stage is where a connection is in its life.
type stage int

const (
	handshaking stage = iota
	established
	gone
)

// ending is why a connection is closed.
type ending = int32

const (
	endedByPeer ending = iota
	endedIdle
	endedReplaced
	endedEvicted
	endedYielded
	endedRemoved
	endedCrowded
	endedByClose
)

// packet is a datagram on its way to the library.
type packet struct {
	data []byte
	from path
}

// newConn prepares the connection that h, whose cookie is valid, asks for.
func (l *Link) newConn(h hello, datagram []byte, from path) (*conn, error) {
	c := &conn{link: l, origin: from, current: &from, at: from.peer, prefix: prefixOf(from.peer.Addr())}
	c.trust.believed = c.prefix
	c.more.L = &c.mu
	copy(c.cookie[:], h.cookie())
	c.id = newConnectionID()
	c.proof.offset = max(h.seq, 1) - 1
	first := h.withoutCookie(nil)
	c.queue = []packet{{first, from}, {bytes.Clone(datagram), from}}
	c.fed = len(datagram)
	c.queued = len(first) + len(datagram)
	c.seen.Store(l.clock())
	assoc, err := newAssociation(c, c.current, l.associationOptions(c, offersKey(h.suites()), h.takesID()))
	if err != nil {
		return nil, err
	}
	c.assoc = assoc
	c.ctx, c.cancel = context.WithTimeout(context.Background(), l.options.HandshakeTimeout)
	return c, nil
}

// run is the life of the connection.
func (c *conn) run() {
	err := c.assoc.handshake(c.ctx)
	c.cancel()
	if err == nil {
		err = c.link.establish(c)
	}
	if err == nil {
		c.read()
		c.link.closed(c)
	} else {
		c.link.failed(c, err)
	}
	_ = c.assoc.close()
	c.dropHeld()
	c.link.forget(c)
}

// read hands on messages until the end of the connection.
func (c *conn) read() {
	b := make([]byte, c.link.MTU())
	for {
		n, err := c.assoc.read(b)
		switch {
		case errors.Is(err, errSkip):
			c.link.counters.drop.oversize.Add(1)
		case err != nil:
			c.deliverPending()
			return
		default:
			c.accept(b[:n])
		}
	}
}

// accept takes a message that has been decrypted.
func (c *conn) accept(data []byte) {
	c.seen.Store(c.link.clock())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	switch {
	case len(data) == 0:
	case c.processing:
		c.pending = append(c.pending, bytes.Clone(data))
	default:
		c.deliver(data)
	}
}

func (c *conn) deliver(data []byte) {
	if !c.link.inbox.put(c.addr, data) {
		c.link.counters.drop.queue.Add(1)
	}
}

// deliverPending delivers what waits for the library to be done with its datagram. The
// last one, in which the client says goodbye, it may never be done with.
func (c *conn) deliverPending() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processing = false
	for _, data := range c.pending {
		c.deliver(data)
	}
	c.pending = nil
}

// push hands a datagram to the library, which may or may not accept it. It does not wait.
func (c *conn) push(data []byte, from path) {
	drop := &c.link.counters.drop
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.heard {
		c.fed += len(data)
	}
	switch over := c.fed > maxHandshakeOctets; {
	case over && !c.established:
		drop.backlog.Add(1)
		return
	case over || c.heard:
		if data = pastEpoch0(data); data == nil {
			drop.unencrypted.Add(1)
			return
		}
	}
	if c.closed || c.queued+len(data) > maxBacklog {
		drop.backlog.Add(1)
		return
	}
	if !c.established {
		c.keepProofs(data)
	}
	c.queue = append(c.queue, packet{bytes.Clone(data), from})
	c.queued += len(data)
	c.more.Broadcast()
}

// write encrypts and sends a message at once; errUnproven says that it was not sent since
// so much may not go to where the client is now.
func (c *conn) write(data []byte) error {
	c.busy.Store(false)
	c.refused.Store(false)
	if err := c.assoc.write(data); err != nil {
		return errGone
	}
	switch {
	case c.refused.Load():
		return errUnproven
	case c.busy.Load():
		return transports.ErrBusy
	}
	return nil
}

// end closes the connection for that reason, if it has none yet.
func (c *conn) end(why ending) {
	c.ended.CompareAndSwap(endedByPeer, why)
	_ = c.assoc.close()
}
