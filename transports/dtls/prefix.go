package dtls

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// prefixOf is the network by which addresses are counted: IPv4 /24, IPv6 /48.
func prefixOf(addr netip.Addr) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	p, _ := addr.WithZone("").Prefix(bits) // it fails for impossible lengths only
	return p
}

// prefixSlots bounds what is remembered about networks, however many there are.
const prefixSlots = 4096

// helloRate bounds how many hellos per second are answered to one network. Two networks
// that share a slot push each other out of it, which gives each of them more, never less:
// who sends from many networks cannot take the answers of another. One goroutine uses it.
type helloRate struct {
	rate  float64
	seed  maphash.Seed
	slots []prefixSlot
}

type prefixSlot struct {
	prefix netip.Prefix
	tokens float64
	at     time.Time
}

func newHelloRate(perSecond int) *helloRate {
	return &helloRate{rate: float64(perSecond), seed: maphash.MakeSeed(), slots: make([]prefixSlot, prefixSlots)}
}

// take reports whether one more hello from addr may be answered. A network may have the
// answers of two seconds at once.
func (r *helloRate) take(now time.Time, addr netip.Addr) bool {
	prefix := prefixOf(addr)
	s := &r.slots[maphash.Comparable(r.seed, prefix)%prefixSlots]
	if s.prefix != prefix {
		*s = prefixSlot{prefix: prefix, tokens: 2 * r.rate, at: now}
	}
	s.tokens = min(2*r.rate, s.tokens+r.rate*now.Sub(s.at).Seconds())
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}
