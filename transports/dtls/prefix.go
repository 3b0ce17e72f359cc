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

// rateSlots bounds what is remembered of networks, and of identities, however many there are.
const rateSlots = 4096

// rate bounds how often per second something happens for one key, such as hellos that are
// answered to one network; twice as often at once. Two keys that share a slot push each other
// out of it, which gives each of them more, never less: who comes with many keys cannot take
// what is another's. One goroutine at a time uses it.
type rate[K comparable] struct {
	perSecond float64
	seed      maphash.Seed
	slots     []rateSlot[K]
}

type rateSlot[K comparable] struct {
	key    K
	tokens float64
	at     time.Time
}

func newRate[K comparable](perSecond int) *rate[K] {
	return &rate[K]{perSecond: float64(perSecond), seed: maphash.MakeSeed(), slots: make([]rateSlot[K], rateSlots)}
}

// slot is that of a key, up to date.
func (r *rate[K]) slot(now time.Time, key K) *rateSlot[K] {
	s := &r.slots[maphash.Comparable(r.seed, key)%rateSlots]
	if s.key != key || s.at.IsZero() {
		*s = rateSlot[K]{key: key, tokens: 2 * r.perSecond, at: now}
	}
	s.tokens = min(2*r.perSecond, s.tokens+r.perSecond*now.Sub(s.at).Seconds())
	s.at = now
	return s
}

// left reports whether it may happen once more.
func (r *rate[K]) left(now time.Time, key K) bool { return r.slot(now, key).tokens >= 1 }

// take is left, and notes that it happens.
func (r *rate[K]) take(now time.Time, key K) bool {
	s := r.slot(now, key)
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}
