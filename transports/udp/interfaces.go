package udp

import (
	"net"
	"net/netip"
	"slices"
)

// nic is a network interface with its addresses, which have no zones.
type nic struct {
	net.Interface
	addrs []netip.Addr
}

// interfaces lists the network interfaces of this machine.
func interfaces() ([]nic, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	nics := make([]nic, 0, len(all))
	for _, ifi := range all {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		n := nic{Interface: ifi}
		for _, a := range addrs {
			if prefix, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(prefix.IP); ok {
					n.addrs = append(n.addrs, ip.Unmap())
				}
			}
		}
		nics = append(nics, n)
	}
	return nics, nil
}

// speaks reports whether the interface has an address of that IP version.
func (n *nic) speaks(ip4 bool) bool {
	return slices.ContainsFunc(n.addrs, func(a netip.Addr) bool { return a.Is4() == ip4 })
}
