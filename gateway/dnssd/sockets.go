package dnssd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Where multicast DNS takes place (RFC 6762, 3).
var (
	group4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	group6 = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: 5353}
)

// farthest is the TTL that shows a receiver that a datagram has crossed no router (RFC
// 6762, 11).
const farthest = 255

// nic is a network interface with its addresses, which have no zones.
type nic struct {
	net.Interface
	addrs []netip.Addr
}

// pick lists the interfaces to use: those that are named or, if none is, those that can
// multicast; and of a service at one address only those that have it.
func pick(named []string, at netip.Addr) ([]nic, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("the interfaces of this machine cannot be listed: %w", err)
	}
	var picked []nic
	for _, ifi := range all {
		n := nic{Interface: ifi}
		addrs, _ := ifi.Addrs() // an error means that it has gone meanwhile
		for _, a := range addrs {
			if prefix, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(prefix.IP); ok {
					n.addrs = append(n.addrs, ip.Unmap())
				}
			}
		}
		switch {
		case ifi.Flags&net.FlagUp == 0, len(n.addrs) == 0:
		case len(named) > 0 && !slices.Contains(named, ifi.Name):
		case len(named) == 0 && (ifi.Flags&net.FlagMulticast == 0 || ifi.Flags&net.FlagLoopback != 0):
		case !at.IsValid() || at.IsUnspecified():
			picked = append(picked, n)
		case slices.Contains(n.addrs, at.WithZone("")):
			n.addrs = []netip.Addr{at.WithZone("")}
			picked = append(picked, n)
		}
	}
	switch {
	case len(picked) > 0:
		return picked, nil
	case len(named) > 0:
		return nil, fmt.Errorf("none of the interfaces %s is up and has an address that is listened at", strings.Join(named, ", "))
	default:
		return nil, errors.New("no interface is up, can multicast and has an address that is listened at; loopback must be named")
	}
}

// pair is a socket for each IP version in use; either may be nil.
type pair struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn
}

// openPair opens sockets at the port of multicast DNS, beside those of other programs. IPv6
// is used where an interface has nothing else: every record travels over IPv4 as well, and
// the IPv6 group belongs to one interface each, so that a socket for several has to
// listen at every address and may take what is sent to other programs.
func openPair(nics []nic) (p pair, err error) {
	if slices.ContainsFunc(nics, nic.speaks4) {
		c, err := listenGroup(group4)
		if err != nil {
			return p, shareError(err)
		}
		p.v4 = ipv4.NewPacketConn(c)
		_ = p.v4.SetMulticastTTL(farthest)
		_ = p.v4.SetMulticastLoopback(true)
		_ = p.v4.SetControlMessage(ipv4.FlagInterface, true)
	}
	if slices.ContainsFunc(nics, func(n nic) bool { return !n.speaks4() }) {
		c, err := listenGroup(group6)
		if err != nil {
			p.close()
			return p, shareError(err)
		}
		p.v6 = ipv6.NewPacketConn(c)
		_ = p.v6.SetMulticastHopLimit(farthest)
		_ = p.v6.SetMulticastLoopback(true)
		_ = p.v6.SetControlMessage(ipv6.FlagInterface, true)
	}
	return p, nil
}

func shareError(err error) error {
	return fmt.Errorf("UDP port 5353 cannot be had: %w (another program has it and does not share; stop it)", err)
}

// speaks4 reports whether the interface has an IPv4 address.
func (n nic) speaks4() bool {
	return slices.ContainsFunc(n.addrs, netip.Addr.Is4)
}

// join makes the pair hear the group on the interfaces. An interface that cannot do so is
// left out.
func (p pair) join(nics []nic) {
	for _, n := range nics {
		if p.v4 != nil && n.speaks4() {
			_ = p.v4.JoinGroup(&n.Interface, group4)
		}
		if p.v6 != nil {
			_ = p.v6.JoinGroup(&n.Interface, group6)
		}
	}
}

// send sends to the group through an interface.
func (p pair) send(n *nic, b []byte) error {
	if p.v4 != nil && n.speaks4() {
		_, err := p.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: n.Index}, group4)
		return err
	}
	if p.v6 == nil {
		return nil
	}
	to := *group6
	to.Zone = n.Name
	_, err := p.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: n.Index}, &to)
	return err
}

// stopReading wakes those who read.
func (p pair) stopReading() {
	past := time.Unix(1, 0)
	if p.v4 != nil {
		_ = p.v4.SetReadDeadline(past)
	}
	if p.v6 != nil {
		_ = p.v6.SetReadDeadline(past)
	}
}

func (p pair) close() {
	if p.v4 != nil {
		_ = p.v4.Close()
	}
	if p.v6 != nil {
		_ = p.v6.Close()
	}
}
