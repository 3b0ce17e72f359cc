package memory

import (
	"net"
	"os"
	"sync"
	"time"

	"mqttsn-gateway/transports"
)

// Endpoint is a client's side of a network: a net.Conn whose Read and Write each move
// one datagram. It takes datagrams from its own link only.
type Endpoint struct {
	network *Network
	link    string

	// The network's lock guards these.
	addr     transports.Addr
	arrived  sync.Cond
	queue    [][]byte
	cut      bool
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

var _ net.Conn = (*Endpoint)(nil)

// Addr is the address at which the link sees this client now.
func (e *Endpoint) Addr() transports.Addr {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	return e.addr
}

// Roam moves the client to an address that nobody has had, as when a NAT forgets it.
// What is under way to the old one is lost.
func (e *Endpoint) Roam() {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.move(e.network.number())
}

// MoveTo is Roam to a given address, which must be free; another client may have had it.
func (e *Endpoint) MoveTo(addr transports.Addr) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if err := e.network.free(addr); err != nil {
		return err
	}
	e.move(addr)
	return nil
}

func (e *Endpoint) move(addr transports.Addr) {
	if e.closed {
		return
	}
	delete(e.network.endpoints, e.addr)
	e.addr = addr
	e.network.endpoints[addr] = e
}

// SetPartition takes this client out of reach, or back: what is sent meanwhile to it or
// by it is lost.
func (e *Endpoint) SetPartition(cut bool) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.cut = cut
}

// receive queues a datagram; false if there is no room. The network's lock is held.
func (e *Endpoint) receive(d datagram) bool {
	if len(e.queue) >= e.network.o.Queue {
		return false
	}
	e.queue = append(e.queue, append([]byte{}, d.data...))
	e.arrived.Broadcast()
	return true
}

// Read waits for one datagram. What does not fit into b is lost, as on a UDP socket.
func (e *Endpoint) Read(b []byte) (int, error) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case !e.deadline.IsZero() && !time.Now().Before(e.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(e.queue) > 0:
			n := copy(b, e.queue[0])
			e.queue = append(e.queue[:0], e.queue[1:]...)
			return n, nil
		}
		e.arrived.Wait()
	}
}

// Write sends one datagram and never waits. That the network loses it is no error.
func (e *Endpoint) Write(b []byte) (int, error) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.closed {
		return 0, net.ErrClosed
	}
	if err := e.network.send(e.network.up, datagram{link: e.link, peer: e.addr, data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends Read and gives the address up.
func (e *Endpoint) Close() error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.close()
	return nil
}

func (e *Endpoint) close() {
	if e.closed {
		return
	}
	e.closed = true
	e.queue = nil
	if e.timer != nil {
		e.timer.Stop()
	}
	delete(e.network.endpoints, e.addr)
	e.arrived.Broadcast()
}

// SetReadDeadline ends a Read that has not had a datagram by then, the one under way too.
func (e *Endpoint) SetReadDeadline(t time.Time) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.deadline = t
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if !t.IsZero() {
		e.timer = time.AfterFunc(time.Until(t), e.wake)
	}
	e.arrived.Broadcast()
	return nil
}

func (e *Endpoint) wake() {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.arrived.Broadcast()
}

// SetWriteDeadline does nothing: Write does not wait.
func (e *Endpoint) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (e *Endpoint) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }

// LocalAddr is Addr as a net.Addr.
func (e *Endpoint) LocalAddr() net.Addr { return netAddr(e.Addr().String()) }

// RemoteAddr is the name of the link.
func (e *Endpoint) RemoteAddr() net.Addr { return netAddr(e.link) }

// netAddr is an address for printing.
type netAddr string

func (netAddr) Network() string  { return "memory" }
func (a netAddr) String() string { return string(a) }
