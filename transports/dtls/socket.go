package dtls

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// socket moves datagrams. receive is called from one goroutine, the rest from any.
type socket interface {
	// receive waits for a datagram. One longer than b is cut, and n is then len(b).
	receive(b []byte) (n int, from path, err error)
	// send sends one, or fails with transports.ErrBusy if the system has no room for it.
	// It does not block.
	send(b []byte, to path) error
	// receiveBuffer is the size that the system granted.
	receiveBuffer() int
	// overflows is how many datagrams found the receive buffer full.
	overflows() uint64
	// interrupt makes receive fail, now and from then on.
	interrupt()
	close() error
}

// path is how a peer is reached. It is comparable. As a net.Addr it goes through the
// library, by pointer, which tells it from another by that pointer.
type path struct {
	peer netip.AddrPort
	// local is our address that the peer speaks to, from which answers have to leave: its
	// NAT lets no others through. The zero Addr leaves the choice to the system.
	local netip.Addr
	// zone is the interface of a link-local peer.
	zone int
}

// Network is "udp".
func (p *path) Network() string { return "udp" }

// String is the peer's address.
func (p *path) String() string { return p.peer.String() }

// listenUDP opens the socket of a link. Its errors say what to do.
func listenUDP(listen string) (*net.UDPConn, error) {
	addr, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return nil, fmt.Errorf("listeners: %q cannot be resolved: %w", listen, err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		advice := "check the address"
		switch {
		case errors.Is(err, errInUse):
			advice = "another program has this UDP port, perhaps another gateway; stop it or choose another port with --dtls"
		case errors.Is(err, errForbidden):
			advice = "this user may not have that port; choose one above 1023 with --dtls, or grant the right to low ports"
		case errors.Is(err, errNotAvailable):
			advice = "no interface of this machine has that address; choose another with --dtls"
		}
		return nil, fmt.Errorf("listeners: cannot listen at UDP %q: %w (%s)", listen, cause(err), advice)
	}
	return conn, nil
}

// cause is the innermost error: package net would repeat the address.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// noAddress is that of a connection that is found by its connection id alone.
var noAddress netip.AddrPort
