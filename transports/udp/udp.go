// Package udp is the link to clients on UDP, over IPv4 and IPv6.
//
// On Linux datagrams are received and sent in batches, one system call each
// (batch_linux.go); elsewhere one at a time through package net (portable.go).
//
// A link that listens at every address of the machine tells in Datagram.Local at which
// of them a datagram arrived, and sends an answer that carries the same Local from
// there: a client behind a NAT, or one whose socket is connected, takes no other. A
// datagram sent to a group or a broadcast address is marked as Multicast and has the
// unspecified address and the index of the receiving interface as its Local; an answer
// then leaves through that interface from an address that the system chooses.
//
// With Options.Groups the link also listens and sends to multicast groups (groups.go). On
// Linux a group is joined and heard per interface; elsewhere, as package net goes: a
// listener at every address may hear IPv6 groups only, and is better given one address.
package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"mqttsn-gateway/transports"
)

// Link is a UDP socket, with others that listen to multicast groups. It implements
// transports.Link, transports.Broadcaster and transports.DropCounter.
type Link struct {
	conn    *net.UDPConn
	socket  socket
	addr    netip.AddrPort
	name    string
	mtu     int
	user    string
	dropped counters
	groups  *groups // nil without groups
}

// socket moves datagrams. receive is called from one goroutine, send from any.
type socket interface {
	// receive waits for datagrams and returns those that are fit to be handed on,
	// which may be none. They are valid until the next call.
	receive() ([]transports.Datagram, error)
	// send is Link.Send.
	send(batch []transports.Datagram) (sent int, err error)
	// sendGroup sends one datagram to a group through an interface. It never blocks.
	sendGroup(t target, hops int, data []byte) error
	// receiveBuffer and sendBuffer return the sizes that the system granted.
	receiveBuffer() int
	sendBuffer() int
	// overflows returns how many datagrams found the receive buffer full.
	overflows() uint64
}

// counters are the datagrams that a link dropped itself.
type counters struct {
	truncated, oversize, unsendable atomic.Uint64
}

// Drops says how many datagrams a link has dropped, and why.
type Drops struct {
	// Truncated were received, but longer than the MTU.
	Truncated uint64
	// Oversize were to be sent, but longer than the MTU or than what the system takes.
	Oversize uint64
	// Unsendable were to be sent, but the system had no way to that address or forbade it,
	// or an interface was busy while another took the same datagram to a group.
	Unsendable uint64
}

// opening makes a socket of a connection.
type opening func(*net.UDPConn, Options, *counters) (socket, error)

// Listen opens the link and joins its groups, at least one if there are any. Its errors
// name the option or say what to do.
func Listen(o Options) (*Link, error) {
	return listen(o, newSocket, interfaces, false)
}

// Search is Listen for a program that looks for gateways: it may send to groups that it
// cannot listen to, because another program has their port.
func Search(o Options) (*Link, error) {
	return listen(o, newSocket, interfaces, true)
}

func listen(o Options, open opening, list func() ([]nic, error), deaf bool) (*Link, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	addr, err := net.ResolveUDPAddr("udp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %q cannot be resolved: %w", o.Listen, err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if errors.Is(err, errInUse) && (len(addr.IP) == 0 || addr.IP.IsUnspecified()) {
		conn, err = listenAmidGroups(addr, err)
	}
	if err != nil {
		return nil, listenError(o.Listen, err)
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	l := &Link{
		conn: conn,
		addr: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
		mtu:  o.MTU,
		user: o.User,
	}
	l.name = "udp " + l.addr.String()
	if l.socket, err = open(conn, o, &l.dropped); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("udp %s: %w", o.Listen, err)
	}
	if err := l.openGroups(o, open, list, deaf); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// listenError says what to do about an address that cannot be had.
func listenError(listen string, err error) error {
	advice := "check the address"
	switch {
	case errors.Is(err, errInUse):
		advice = "another program has this UDP port, perhaps another gateway; stop it or choose another port with --udp"
	case errors.Is(err, errForbidden):
		advice = "this user may not have that port; choose one above 1023 with --udp, or grant the right to low ports"
	case errors.Is(err, errNotAvailable):
		advice = "no interface of this machine has that address; choose another with --udp"
	}
	return fmt.Errorf("listen: cannot listen at UDP %q: %w (%s)", listen, cause(err), advice)
}

// groupError says what to do about a group whose port cannot be had.
func groupError(group netip.AddrPort, err error) error {
	if !errors.Is(err, errInUse) {
		return cause(err)
	}
	return fmt.Errorf("UDP port %d is another program's (stop it, or run both as the same user): %w", group.Port(), cause(err))
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

// Name is "udp " and the address, such as "udp 127.0.0.1:1883".
func (l *Link) Name() string { return l.name }

// Addr is the address that the link listens at, with the port that it was given.
func (l *Link) Addr() netip.AddrPort { return l.addr }

// MTU is that of Options.
func (l *Link) MTU() int { return l.mtu }

// User is that of Options.
func (l *Link) User() string { return l.user }

// ReceiveBuffer is how many octets of receive buffer the system granted.
func (l *Link) ReceiveBuffer() int { return l.socket.receiveBuffer() }

// SendBuffer is how many octets of send buffer the system granted.
func (l *Link) SendBuffer() int { return l.socket.sendBuffer() }

// ReceiveDrops is how many datagrams were lost because the receive buffer was full; 0
// on platforms that do not tell.
func (l *Link) ReceiveDrops() uint64 {
	drops := l.socket.overflows()
	for _, e := range l.ears() {
		drops += e.socket.overflows()
	}
	return drops
}

// Drops is how many datagrams the link has dropped itself.
func (l *Link) Drops() Drops {
	return Drops{
		Truncated:  l.dropped.truncated.Load(),
		Oversize:   l.dropped.oversize.Load(),
		Unsendable: l.dropped.unsendable.Load(),
	}
}

// Close closes the socket; Serve then returns nil. It may be called from any goroutine
// and more than once.
func (l *Link) Close() error {
	for _, e := range l.ears() {
		e.close()
	}
	if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// ears are the sockets beside the link's own.
func (l *Link) ears() (ears []*ear) {
	if l.groups != nil {
		for _, e := range l.groups.ears {
			if e.socket != nil {
				ears = append(ears, e)
			}
		}
	}
	return ears
}

// Send sends the batch in order and returns how many datagrams the system took. One
// that cannot be sent does not keep back those after it: it is counted in Drops, and
// err is the reason of the first such. When the send buffer is full the rest is lost
// with transports.ErrBusy; after Close all is, with net.ErrClosed.
func (l *Link) Send(batch []transports.Datagram) (sent int, err error) {
	return l.socket.send(batch)
}
