package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// forwarder is a host that carries packets of nodes behind it [SN-5.5], whatever port it
// sends from.
type forwarder struct {
	link transports.LinkID
	addr transports.Addr
}

func forwarderOf(peer *transports.Peer) forwarder { return forwarder{peer.Link, peer.Addr.Host()} }

// The words of Options.Forwarders that are no addresses.
const (
	forwardersAny      = "any"
	forwardersSerial   = "serial"
	forwardersIdentity = "identity:"
)

// forwarderList says which peers may be forwarders: Options.Forwarders, read.
type forwarderList struct {
	any, serial bool
	prefixes    []netip.Prefix
	identities  map[string]bool
}

func newForwarderList(entries []string) (forwarderList, error) {
	list := forwarderList{identities: make(map[string]bool)}
	for _, e := range entries {
		name, isIdentity := strings.CutPrefix(e, forwardersIdentity)
		switch {
		case e == forwardersAny:
			list.any = true
		case e == forwardersSerial:
			list.serial = true
		case isIdentity && name != "":
			list.identities[name] = true
		default:
			prefix, err := netip.ParsePrefix(e)
			if addr, addrErr := netip.ParseAddr(e); addrErr == nil {
				prefix, err = addr.Prefix(addr.BitLen())
			}
			if err != nil {
				return list, fmt.Errorf("forwarders: %q is not allowed: any, serial, identity:NAME, an IP address or a prefix such as 192.0.2.0/24", e)
			}
			list.prefixes = append(list.prefixes, prefix.Masked())
		}
	}
	return list, nil
}

// allows reports whether a peer may be a forwarder. One that has proven an identity is
// bound to it, and so has to be named: as a forwarder it speaks for others.
func (l *forwarderList) allows(addr transports.Addr, identity string) bool {
	if identity != "" {
		return l.identities[identity]
	}
	if l.any {
		return true
	}
	ap, _, ok := addr.AddrPort()
	if !ok {
		return l.serial
	}
	for _, p := range l.prefixes {
		if p.Contains(ap.Addr()) {
			return true
		}
	}
	return false
}

// unwrap takes a packet out of the frame of a forwarder. It reports whether there is one,
// and counts why not.
func (in *intake) unwrap(now time.Duration, a *arrival) bool {
	p, err := in.decoder.Decode(a.packet)
	if err != nil {
		in.counts.dropped[malformed]++
		return false
	}
	frame := p.(*mqttsn.Encapsulated)
	identity, ok := in.identity(a)
	why := forwarderRate
	switch {
	case !ok || !in.gateway.forwarders.allows(a.Addr, identity):
		why = forwarderRefused
		if in.complaints.take(now) {
			in.gateway.log.Warn("a forwarder is refused: gateway.forwarders does not list it", "link", in.link.Name(), "peer", in.where(a), "identity", identity)
		}
		fallthrough
	case !in.senders.allow(now, a.Addr.Host()):
		in.counts.received[slot(mqttsn.TypeEncapsulated)]++
		in.counts.dropped[why]++
		return false
	}
	a.packet, a.node = frame.Packet, frame.NodeID
	return true
}

// path is what a session has to know of the way to a peer.
func (in *intake) path(peer *transports.Peer) session.Path {
	frame := encapsulation(peer)
	p := session.Path{MTU: max(1, in.link.MTU()-frame), Rate: in.rate}
	if in.forgeable(peer) {
		p.Forgeable, p.Frame, p.Seed = true, frame, uint16(rand.Uint32())
	}
	return p
}

// forgeable reports whether anybody may have sent what seems to come from a peer: so it is
// with IP datagrams, unless the link has a proof of each address.
func (in *intake) forgeable(peer *transports.Peer) bool {
	return in.identifier == nil && peer.Addr.IsIP()
}

// encapsulation is how many octets the frame takes that a forwarder needs: Length,
// MsgType, Ctrl and the id [SN-5.5].
func encapsulation(peer *transports.Peer) int {
	if peer.Node == "" {
		return 0
	}
	return 3 + len(peer.Node)
}
