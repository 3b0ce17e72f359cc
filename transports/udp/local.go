package udp

import (
	"net"
	"net/netip"

	"mqttsn-gateway/transports"
)

// localAddr is the address at which conn listens, and whether that is more than one: every
// address, or a group's.
func localAddr(conn *net.UDPConn) (local transports.Addr, every bool) {
	a := conn.LocalAddr().(*net.UDPAddr)
	ap := a.AddrPort()
	if ap.Addr().IsUnspecified() || ap.Addr().IsMulticast() {
		return transports.Addr{}, true
	}
	return transports.IPAddr(ap, zoneIndex(a.Zone)), false
}

// zoneIndex is the interface index of a zone, 0 if there is no such interface.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

// localOf is the Datagram.Local of a datagram that was sent to dst and came in through
// the interface with that index: dst itself, or for a group the interface alone.
func localOf(dst netip.Addr, port uint16, index uint32) (local transports.Addr, group bool) {
	dst = dst.Unmap()
	switch {
	case dst.IsMulticast(), dst == broadcast:
		return groupLocal(dst.Is4(), port, index), true
	case dst.IsLinkLocalUnicast() && dst.Is6():
		return transports.IPAddr(netip.AddrPortFrom(dst, port), index), false
	default:
		return transports.IPAddr(netip.AddrPortFrom(dst, port), 0), false
	}
}

// groupLocal is the Datagram.Local of a datagram to a group or a broadcast address.
func groupLocal(ip4 bool, port uint16, index uint32) transports.Addr {
	ip := netip.IPv6Unspecified()
	if ip4 {
		ip = netip.IPv4Unspecified()
	}
	return transports.IPAddr(netip.AddrPortFrom(ip, port), index)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
