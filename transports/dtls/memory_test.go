package dtls

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/transports"
)

// air is a network in memory, which also runs in fake time. It loses what lose says.
type air struct {
	mu   sync.Mutex
	ends map[netip.AddrPort]*end
	lose func(b []byte, from netip.AddrPort) bool
}

type flying struct {
	data []byte
	from netip.AddrPort
}

// end is a socket in the air: a net.PacketConn for clients, a socket for links.
type end struct {
	air  *air
	addr netip.AddrPort
	in   chan flying

	mu      sync.Mutex
	expired chan struct{} // closed when a read deadline has passed
	closed  chan struct{}
}

func newAir() *air { return &air{ends: map[netip.AddrPort]*end{}} }

func (a *air) open(addr string) *end {
	e := &end{air: a, addr: netip.MustParseAddrPort(addr), in: make(chan flying, 4096), expired: make(chan struct{}), closed: make(chan struct{})}
	a.put(e)
	return e
}

// put makes e the one at its address.
func (a *air) put(e *end) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ends[e.addr] = e
}

func (a *air) carry(b []byte, from, to netip.AddrPort) {
	a.mu.Lock()
	e := a.ends[to]
	if a.lose != nil && a.lose(b, from) {
		e = nil
	}
	a.mu.Unlock()
	if e != nil {
		select {
		case e.in <- flying{bytes.Clone(b), from}:
		default:
		}
	}
}

func (e *end) take(b []byte) (int, netip.AddrPort, error) {
	e.mu.Lock()
	expired := e.expired
	e.mu.Unlock()
	select {
	case <-e.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	case <-expired:
		return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
	case f := <-e.in:
		return copy(b, f.data), f.from, nil
	}
}

func (e *end) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := e.take(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (e *end) WriteTo(b []byte, to net.Addr) (int, error) {
	e.air.carry(b, e.addr, to.(*net.UDPAddr).AddrPort())
	return len(b), nil
}

func (e *end) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return nil
}

func (e *end) LocalAddr() net.Addr           { return net.UDPAddrFromAddrPort(e.addr) }
func (e *end) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }
func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.IsZero() {
		e.expired = make(chan struct{})
	} else {
		close(e.expired)
	}
	return nil
}
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// airSocket is an end as the link below. fail, if set, may refuse to send.
type airSocket struct {
	*end
	fail func() error
}

func (s airSocket) Name() string { return "air " + s.addr.String() }
func (s airSocket) MTU() int     { return MaxDatagram }

func (s airSocket) Serve(ctx context.Context, recv func([]transports.Datagram)) error {
	defer context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(longAgo) })()
	b := make([]byte, MaxDatagram)
	for {
		n, from, err := s.take(b)
		if err != nil {
			return nil
		}
		recv([]transports.Datagram{{Addr: transports.IPAddr(from, 0), Data: b[:n]}})
	}
}

func (s airSocket) Send(batch []transports.Datagram) (sent int, err error) {
	for _, d := range batch {
		if s.fail != nil {
			if err := s.fail(); err != nil {
				return sent, err
			}
		}
		to, _, _ := d.Addr.AddrPort()
		s.air.carry(d.Data, s.addr, to)
		sent++
	}
	return sent, nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// airLink opens a link in the air.
func airLink(t testing.TB, a *air, o Options, fail func() error) *Link {
	t.Helper()
	l, err := over(airSocket{a.open("192.0.2.1:8883"), fail}, o, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// airEcho opens a link in the air that sends back what it receives.
func airEcho(t testing.TB, a *air, o Options) *Link {
	t.Helper()
	l := airLink(t, a, o, nil)
	serve(t, l, func(batch []transports.Datagram) { _, _ = l.Send(batch) })
	return l
}
