package forward

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// subnets knows the broadcast addresses of this machine's IPv4 networks.
type subnets struct {
	list       func() ([]net.Addr, error) // the addresses of this machine, with their prefixes
	looked     time.Time
	broadcasts []netip.Addr
}

// subnetsEvery is how often the system is asked for them.
const subnetsEvery = time.Minute

// broadcast reports whether ip reaches a whole network: its last address, or its first,
// which older systems take for that as well.
func (s *subnets) broadcast(ip netip.Addr) bool {
	if now := time.Now(); s.looked.IsZero() || now.Sub(s.looked) >= subnetsEvery {
		s.looked = now
		if addrs, err := s.list(); err == nil { // else the networks are those of before
			s.broadcasts = broadcastsOf(addrs)
		}
	}
	return slices.Contains(s.broadcasts, ip)
}

func broadcastsOf(addrs []net.Addr) (broadcasts []netip.Addr) {
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().Is4() || prefix.Bits() > 30 {
			continue // no network, or one without such addresses
		}
		first := prefix.Masked().Addr()
		last := first.As4()
		mask := net.CIDRMask(prefix.Bits(), 32)
		for i := range last {
			last[i] |= ^mask[i]
		}
		broadcasts = append(broadcasts, first, netip.AddrFrom4(last))
	}
	return broadcasts
}
