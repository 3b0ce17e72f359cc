package forward

import (
	"net/netip"

	"mqttsn-gateway/transports"
)

// Wireless Node Ids are opaque to the gateway, which answers with the one that it was
// given [SN-5.5]. Here they are the addresses themselves, so that an id is the same after
// a restart of the forwarder. They are, as transports.Addr.AppendOctets writes them,
//
//	 8 octets  the 64-bit address of an XBee
//	 2 octets  the 16-bit address of an XBee
//	 6 octets  IPv4 address and port
//	18 octets  IPv6 address and port
//	22 octets  link-local IPv6 address, port and interface index
//	 1 octet   01, the device at the other end of a serial line
//
// and with more than one link an octet before that: the number of the link, from 0, in
// the order in which the forwarder was given them.
//
// Radios and serial lines are sent what the gateway has for them even if they were never
// heard. An IP address could be anybody's, and a forwarder that believes all ids could be
// used against others: it sends only to those heard since it was started (heard.go). So
// a device with an IP address has to send something after a restart before it gets
// something, which a device that sleeps does anyway.

// maxLinks is how many links one octet numbers.
const maxLinks = 256

// maxOwnNodeID is the length of the longest id made here.
const maxOwnNodeID = 1 + 22

// appendNodeID appends the id of the device at addr on the link with that number.
func (f *Forwarder) appendNodeID(b []byte, link int, addr transports.Addr) []byte {
	if len(f.ports) > 1 {
		b = append(b, byte(link))
	}
	return addr.AppendOctets(b)
}

// node is the device with an id, and the link it is on; ok is false if no device has it,
// or it is one on IP that has not been heard.
func (f *Forwarder) node(id []byte) (p *port, addr transports.Addr, ok bool) {
	link := 0
	if len(f.ports) > 1 && len(id) > 0 {
		link, id = int(id[0]), id[1:]
	}
	if link >= len(f.ports) {
		return nil, transports.Addr{}, false
	}
	addr, ok = transports.AddrFromOctets(id)
	if !ok || !single(addr) {
		return nil, transports.Addr{}, false
	}
	p = f.ports[link]
	if ap, _, onIP := addr.AddrPort(); onIP {
		if _, ok = p.heard.local(addr); !ok || f.subnets.broadcast(ap.Addr()) {
			return nil, transports.Addr{}, false
		}
	}
	return p, addr, true
}

// single reports whether one device may have that address: groups are reached by a
// broadcast, if at all, and a forwarder that would send to any of them could be used
// against others.
func single(addr transports.Addr) bool {
	ap, _, isIP := addr.AddrPort()
	if !isIP {
		return true
	}
	ip := ap.Addr()
	return ap.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
