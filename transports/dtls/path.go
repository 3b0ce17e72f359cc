package dtls

import (
	"net/netip"

	"mqttsn-gateway/transports"
)

// path is how a peer is reached through the link below. As a net.Addr it goes through the
// library, by pointer, which tells it from another by that pointer.
type path struct {
	peer        netip.AddrPort
	addr, local transports.Addr // as in Datagram; peer is the same as addr
}

// pathOf is the way back to the sender of a datagram; ok is false if it has no IP address.
func pathOf(d *transports.Datagram) (p path, ok bool) {
	peer, _, ok := d.Addr.AddrPort()
	return path{peer, d.Addr, d.Local}, ok
}

// Network is "udp".
func (p *path) Network() string { return "udp" }

// String is the peer's address.
func (p *path) String() string { return p.peer.String() }

// transmit sends a datagram through the link below. It does not block.
func (l *Link) transmit(b []byte, to path) error {
	_, err := l.below.Send([]transports.Datagram{{Addr: to.addr, Local: to.local, Data: b}})
	return err
}

// noAddress is that of a connection that is found by its connection id alone.
var noAddress netip.AddrPort
