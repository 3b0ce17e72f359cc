package transports

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
)

// Addr is an address on one link. It is comparable, free of pointers and small, so
// that tables of 100,000 peers cost the garbage collector nothing. The zero Addr is
// no address. Only links build and read addresses; everyone else compares and prints.
//
// Layout: octet 0 is the kind; the rest depends on it.
//
//	kindIP     1-16 address in 16-octet form, 17-18 port, 19-22 zone index
//	kindNode   1 length, 2-9 radio address
//	kindNumber 1-8 number
type Addr [24]byte

const (
	kindNone   = 0
	kindIP     = 1
	kindNode   = 2
	kindNumber = 3
)

// IPAddr is the address of a host and port. An IPv4 address and its IPv6-mapped form
// give the same Addr. zone is the interface index of a link-local address, else 0.
func IPAddr(ap netip.AddrPort, zone uint32) Addr {
	var a Addr
	a[0] = kindIP
	ip := ap.Addr().As16()
	copy(a[1:17], ip[:])
	binary.BigEndian.PutUint16(a[17:19], ap.Port())
	binary.BigEndian.PutUint32(a[19:23], zone)
	return a
}

// NodeAddr is the address of a radio, such as the 64-bit address of an XBee: 1 to 8
// octets. Longer ones are cut.
func NodeAddr(id []byte) Addr {
	var a Addr
	a[0] = kindNode
	a[1] = byte(copy(a[2:10], id))
	return a
}

// NumberAddr is the address of a peer that a link merely counts: the other end of a
// serial line, a DTLS connection.
func NumberAddr(n uint64) Addr {
	var a Addr
	a[0] = kindNumber
	binary.BigEndian.PutUint64(a[1:9], n)
	return a
}

// AppendOctets appends the address in as few octets as tell it from every other one, for
// others to keep who do not share this process: [AddrFromOctets] makes it again of them.
// Their number tells the kind:
//
//	 6  an IPv4 address and a port
//	18  an IPv6 address and a port
//	22  an IPv6 address, a port and the zone index
//	 2  a 16-bit radio address
//	 8  a 64-bit radio address
//	 1  a number up to 255
//	10  other radio addresses and numbers: the first octets of the Addr itself
//
// Ports, indexes and numbers have their highest octet first. The zero Addr has no octets.
func (a Addr) AppendOctets(b []byte) []byte {
	switch a[0] {
	case kindNone:
		return b
	case kindIP:
		ap, zone, _ := a.AddrPort()
		switch {
		case zone != 0:
			return append(b, a[1:23]...)
		case ap.Addr().Is4():
			return append(b, a[13:19]...)
		default:
			return append(b, a[1:19]...)
		}
	case kindNode:
		if id := a.Node(); len(id) == 2 || len(id) == 8 {
			return append(b, id...)
		}
	case kindNumber:
		if n := a.Number(); n <= 0xFF {
			return append(b, byte(n))
		}
	}
	return append(b, a[:otherOctets]...)
}

// otherOctets is how much of an Addr a radio address or a number fills.
const otherOctets = 10

// AddrFromOctets is the address of which AppendOctets makes these octets; ok is false if
// there is none.
func AddrFromOctets(octets []byte) (a Addr, ok bool) {
	switch len(octets) {
	case 1:
		a = NumberAddr(uint64(octets[0]))
	case 2, 8:
		a = NodeAddr(octets)
	case 6:
		ap := netip.AddrPortFrom(netip.AddrFrom4([4]byte(octets)), binary.BigEndian.Uint16(octets[4:]))
		a = IPAddr(ap, 0)
	case 18, 22:
		a[0] = kindIP
		copy(a[1:], octets)
	case otherOctets:
		copy(a[:], octets)
		if a != NumberAddr(a.Number()) && (a[1] > 8 || a != NodeAddr(a.Node())) {
			return Addr{}, false
		}
	default:
		return Addr{}, false
	}
	var again [22]byte
	if !bytes.Equal(a.AppendOctets(again[:0]), octets) {
		return Addr{}, false // a longer form than the address needs: another peer in disguise
	}
	return a, true
}

// Host is the address without its port, for what is counted by host; itself if it has none.
func (a Addr) Host() Addr {
	if a[0] == kindIP {
		a[17], a[18] = 0, 0
	}
	return a
}

// Network is the network that an IP address is in, of /24 in IPv4 and /48 in IPv6, for what is
// counted by network; other addresses are their own.
func (a Addr) Network() Addr {
	if a[0] != kindIP {
		return a
	}
	n := 1 + 48/8
	if ap, _, _ := a.AddrPort(); ap.Addr().Is4() {
		n = 13 + 24/8
	}
	clear(a[n:])
	return a
}

// IsLoopback reports whether a is an IP address of this host that nobody else can use.
func (a Addr) IsLoopback() bool {
	ap, _, ok := a.AddrPort()
	return ok && ap.Addr().IsLoopback()
}

// IsIP reports whether a was made by IPAddr.
func (a Addr) IsIP() bool { return a[0] == kindIP }

// IsZero reports whether a is no address.
func (a Addr) IsZero() bool { return a == Addr{} }

// AddrPort returns host, port and zone index of an address made by IPAddr, IPv4
// addresses in their 4-octet form; ok is false for other kinds.
func (a Addr) AddrPort() (ap netip.AddrPort, zone uint32, ok bool) {
	if a[0] != kindIP {
		return netip.AddrPort{}, 0, false
	}
	ip := netip.AddrFrom16([16]byte(a[1:17])).Unmap()
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(a[17:19])), binary.BigEndian.Uint32(a[19:23]), true
}

// Number returns the number of an address made by NumberAddr; 0 for other kinds.
func (a Addr) Number() uint64 {
	if a[0] != kindNumber {
		return 0
	}
	return binary.BigEndian.Uint64(a[1:9])
}

// Node returns the octets of an address made by NodeAddr; nil for other kinds.
func (a Addr) Node() []byte {
	if a[0] != kindNode {
		return nil
	}
	return a[2 : 2+a[1]]
}

// String is the address for logs: "192.0.2.1:1883", "[fe80::1%2]:1883",
// "0013a200400a0127", "#7", "-" for none.
func (a Addr) String() string {
	switch a[0] {
	case kindIP:
		ap, zone, _ := a.AddrPort()
		if zone != 0 {
			ap = netip.AddrPortFrom(ap.Addr().WithZone(strconv.Itoa(int(zone))), ap.Port())
		}
		return ap.String()
	case kindNode:
		return hex.EncodeToString(a.Node())
	case kindNumber:
		return "#" + strconv.FormatUint(a.Number(), 10)
	default:
		return "-"
	}
}
