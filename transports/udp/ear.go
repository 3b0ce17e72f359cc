package udp

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// ear is what listens to one group.
type ear struct {
	group netip.AddrPort
	conn  *net.UDPConn // nil if there is none
	// socket is conn's, nil if conn is the link's own.
	socket socket
	err    error // why there is no conn
}

// earBatch is how many datagrams an ear takes at once: searches are rare.
const earBatch = 8

var errNarrow = errors.New("an IPv6 group that ends at the local link is heard at the port of listen alone, and by a listener at every address")

// newEar opens a socket for a group. That it cannot be had is told by join.
func newEar(group netip.AddrPort, o Options, open opening, dropped *counters) *ear {
	e := &ear{group: group}
	if ip := group.Addr(); ip.IsLinkLocalMulticast() && ip.Is6() || ip.IsInterfaceLocalMulticast() {
		e.err = errNarrow // a socket at such an address hears one interface only
		return e
	}
	conn, err := listenGroup(group)
	if err != nil {
		e.err = groupError(group, err)
		return e
	}
	o.Batch, o.SendBuffer = min(o.Batch, earBatch), 0
	s, err := open(conn, o, dropped)
	if err != nil {
		_ = conn.Close()
		e.err = err
		return e
	}
	e.conn, e.socket = conn, s
	return e
}

func (e *ear) close() {
	if e.socket != nil {
		_ = e.conn.Close()
	}
}

// join makes the system hand on what is sent to the group through an interface.
func (e *ear) join(ifi *net.Interface) error {
	if e.conn == nil {
		return e.err
	}
	group := &net.UDPAddr{IP: e.group.Addr().AsSlice()}
	var err error
	if e.group.Addr().Is4() {
		err = ipv4.NewPacketConn(e.conn).JoinGroup(ifi, group)
	} else {
		err = ipv6.NewPacketConn(e.conn).JoinGroup(ifi, group)
	}
	if err != nil {
		return cause(err)
	}
	return nil
}

// leave ends a membership. The system has ended it already if the interface is gone, but
// may not have given back the room that it took.
func (e *ear) leave(index int) {
	if e.conn == nil {
		return
	}
	ifi, group := &net.Interface{Index: index}, &net.UDPAddr{IP: e.group.Addr().AsSlice()}
	if e.group.Addr().Is4() {
		_ = ipv4.NewPacketConn(e.conn).LeaveGroup(ifi, group)
	} else {
		_ = ipv6.NewPacketConn(e.conn).LeaveGroup(ifi, group)
	}
}
