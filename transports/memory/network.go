// Package memory is a network in memory, for tests: links for a gateway on one side, any
// number of clients on the other, and between them loss, duplication, reordering, delay
// and partitions, decided from a seed.
//
//	network := memory.NewNetwork(memory.Options{Seed: 1, Up: memory.Faults{Loss: 0.3}})
//	link := network.Link("radio")          // a transports.Link for the gateway
//	conn, err := network.Dial("radio")     // a net.Conn for a client
//
// It keeps time by package time and parks on channels and conditions only, so in a
// testing/synctest bubble hours pass in microseconds. The faults decided for a seed are
// the same from run to run if the datagrams of each direction are sent in the same
// order; Pipe is the part that decides, for tests that want no goroutine at all.
package memory

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"mqttsn-gateway/transports"
)

// Options are the properties of a network. The zero Options are a perfect one.
type Options struct {
	// Seed makes the fault decisions. Print it when a test fails.
	Seed uint64
	// Up are the faults on the way from clients to links, Down those on the way back.
	Up, Down Faults
	// MTU is the largest datagram that the network carries, in octets; 0 means 1400.
	MTU int
	// Queue is the number of datagrams that wait for one receiver at most; further ones
	// are lost as Overflow. 0 means 4096.
	Queue int
}

// Errors of sending.
var (
	errTooLarge   = errors.New("memory: datagram is longer than the MTU")
	errWrongLocal = errors.New("memory: Local is not this link's address")
)

// Network joins links and clients. Its methods may be called from any goroutine.
type Network struct {
	mu        sync.Mutex // guards all state of the network, its links and endpoints
	o         Options
	up, down  *direction
	links     map[string]*Link
	addresses map[string]transports.Addr // of links, by name: they outlive Close
	endpoints map[transports.Addr]*Endpoint
	numbers   uint64 // addresses given to endpoints
	cut       bool
	closed    bool
	timer     *time.Timer
}

// direction is one way through the network: a pipe, and what is lost at its ends.
type direction struct {
	*Pipe[datagram]
	lost Counters
}

// datagram is under way between the link of that name and the peer at that address.
type datagram struct {
	link string
	peer transports.Addr
	data []byte
}

// NewNetwork makes a network without links and clients.
func NewNetwork(o Options) *Network {
	if o.MTU == 0 {
		o.MTU = 1400
	}
	if o.Queue == 0 {
		o.Queue = 4096
	}
	return &Network{
		o:         o,
		up:        &direction{Pipe: NewPipe[datagram](o.Up, 2*o.Seed)},
		down:      &direction{Pipe: NewPipe[datagram](o.Down, 2*o.Seed+1)},
		links:     map[string]*Link{},
		addresses: map[string]transports.Addr{},
		endpoints: map[transports.Addr]*Endpoint{},
	}
}

// Close closes every link and endpoint; what is under way is gone.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.timer != nil {
		n.timer.Stop()
	}
	for _, l := range n.links {
		l.close()
	}
	for _, e := range n.endpoints {
		e.close()
	}
	return nil
}

// SetFaults changes the faults for what is sent from now on. The zero Faults end a
// test's bad weather: everything must arrive thereafter.
func (n *Network) SetFaults(up, down Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up.SetFaults(up)
	n.down.SetFaults(down)
}

// SetPartition cuts the network in two, or mends it: during a partition everything that
// is sent is lost. What is under way still arrives.
func (n *Network) SetPartition(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

// Counters says what became of all datagrams so far, by direction.
func (n *Network) Counters() (up, down Counters) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up.total(), n.down.total()
}

// total joins the counters of the pipe with those of its ends.
func (d *direction) total() Counters {
	c := d.Counters()
	c.Sent += d.lost.Partitioned + d.lost.Oversize
	c.Partitioned, c.Oversize = d.lost.Partitioned, d.lost.Oversize
	c.Unreachable, c.Overflow = d.lost.Unreachable, d.lost.Overflow
	c.Delivered -= c.Unreachable + c.Overflow
	return c
}

// send takes a datagram in; the network's lock is held.
func (n *Network) send(way *direction, d datagram) error {
	switch e := n.endpoints[d.peer]; {
	case len(d.data) > n.o.MTU:
		way.lost.Oversize++
		return errTooLarge
	case n.cut, e != nil && e.cut:
		way.lost.Partitioned++
	default:
		d.data = append([]byte{}, d.data...)
		now := time.Now()
		way.Put(now, d)
		n.pump(now)
	}
	return nil
}

// pump delivers what has arrived and sets the timer for what comes next; the network's
// lock is held.
func (n *Network) pump(now time.Time) {
	if n.closed {
		return
	}
	for d, ok := n.up.Take(now); ok; d, ok = n.up.Take(now) {
		if l := n.links[d.link]; l == nil {
			n.up.lost.Unreachable++
		} else if !l.receive(d) {
			n.up.lost.Overflow++
		}
	}
	for d, ok := n.down.Take(now); ok; d, ok = n.down.Take(now) {
		if e := n.endpoints[d.peer]; e == nil || e.link != d.link {
			n.down.lost.Unreachable++
		} else if !e.receive(d) {
			n.down.lost.Overflow++
		}
	}
	next, ok := n.up.Due()
	if at, some := n.down.Due(); some && (!ok || at.Before(next)) {
		next, ok = at, true
	}
	switch {
	case !ok:
	case n.timer == nil:
		n.timer = time.AfterFunc(next.Sub(now), n.arrive)
	default:
		n.timer.Reset(next.Sub(now))
	}
}

func (n *Network) arrive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pump(time.Now())
}

// Link returns the link of that name, a new one if there is none or it was closed. A
// new one has the address of the old: a restarted gateway is found where it was.
func (n *Network) Link(name string) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[name]; l != nil {
		return l
	}
	if _, known := n.addresses[name]; !known {
		n.addresses[name] = transports.NumberAddr(1<<32 + uint64(len(n.addresses)))
	}
	l := &Link{network: n, name: name, addr: n.addresses[name]}
	l.arrived.L = &n.mu
	if n.closed {
		l.closed = true
		return l
	}
	n.links[name] = l
	return l
}

// Dial makes a client that speaks to the link of that name, at an address of its own:
// number 1, 2 and so on. The link need not exist yet.
func (n *Network) Dial(link string) (*Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dial(link, n.number())
}

// DialFrom is Dial at a given address, which must be free.
func (n *Network) DialFrom(link string, addr transports.Addr) (*Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dial(link, addr)
}

func (n *Network) dial(link string, addr transports.Addr) (*Endpoint, error) {
	if n.closed {
		return nil, errors.New("memory: network is closed")
	}
	if err := n.free(addr); err != nil {
		return nil, err
	}
	e := &Endpoint{network: n, link: link, addr: addr}
	e.arrived.L = &n.mu
	n.endpoints[addr] = e
	return e, nil
}

func (n *Network) free(addr transports.Addr) error {
	if addr.IsZero() || n.endpoints[addr] != nil {
		return fmt.Errorf("memory: address %v cannot be had", addr)
	}
	return nil
}

// number is an address that nobody has had before.
func (n *Network) number() transports.Addr {
	for {
		n.numbers++
		if a := transports.NumberAddr(n.numbers); n.endpoints[a] == nil {
			return a
		}
	}
}
