package gateway

import (
	"hash/maphash"
	"time"

	"mqttsn-gateway/transports"
)

// bucket is a token bucket: rate per second, at most burst at once. Its zero value,
// given a rate, starts full.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Duration
	started     bool
}

func (b *bucket) take(now time.Duration) bool {
	if !b.started {
		b.started, b.tokens, b.at = true, b.burst, now
	}
	b.tokens = min(b.burst, b.tokens+b.rate*(now-b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

const (
	// peerSlots bounds what is remembered about unknown peers, however many there are.
	peerSlots = 1024
	// peerBurst and peerRate are the answers one unknown peer gets at once and per second.
	peerBurst, peerRate = 3, 1
	// nodeBurst and nodeRate are those of all unknown nodes behind one forwarder.
	nodeBurst, nodeRate = 100, 20
	// searchRate is how many answers to SEARCHGW there are per second, all together.
	searchRate = 100
)

// limiter bounds what is done for peers that nothing is known of: all together by a
// bucket, and one by one in a table of fixed size. Two peers that share a slot push each
// other out of it, which gives a peer a little more, never more than the bucket allows.
type limiter struct {
	all   bucket
	each  bucket
	seed  maphash.Seed
	slots []peerSlot
}

type peerSlot struct {
	hash uint64
	bucket
}

// noBound is a rate for all peers together that is none.
const noBound = 1 << 30

// newLimiter allows all peers together rate per second, and each of them its own rate and
// burst.
func newLimiter(rate, each, burst int) limiter {
	return limiter{
		all:   bucket{rate: float64(rate), burst: float64(rate)},
		each:  bucket{rate: float64(each), burst: float64(burst)},
		seed:  maphash.MakeSeed(),
		slots: make([]peerSlot, peerSlots),
	}
}

// newPrefixLimiter is a limiter for more addresses, without a bound for all together.
func newPrefixLimiter(each, burst int) limiter {
	l := newLimiter(noBound, each, burst)
	l.slots = make([]peerSlot, prefixSlots)
	return l
}

// allow reports whether the peer at addr may have something now.
func (l *limiter) allow(now time.Duration, addr transports.Addr) bool {
	h := maphash.Comparable(l.seed, addr)
	s := &l.slots[h%uint64(len(l.slots))]
	if s.hash != h {
		*s = peerSlot{hash: h, bucket: l.each}
	}
	return s.take(now) && l.all.take(now)
}
