package embedded

import (
	"net"
	"net/netip"
	"time"
)

// bucket is a token bucket: so many in a second on average, and a burst at once. The zero
// bucket is full.
type bucket struct {
	full time.Duration // the instant at which it is full again
}

// take takes n tokens, whether or not they are there, and returns how long to wait until
// none is owed.
func (k *bucket) take(now time.Duration, n, rate, burst int) (wait time.Duration) {
	each := time.Second / time.Duration(rate)
	k.full = max(k.full, now) + time.Duration(n)*each
	return max(k.full-now-time.Duration(burst)*each, 0)
}

// allow takes one token if it is there.
func (k *bucket) allow(now time.Duration, rate, burst int) bool {
	next := *k
	if next.take(now, 1, rate, burst) > 0 {
		return false
	}
	*k = next
	return true
}

// maxAddresses is how many addresses a connection rate is kept of, some 100 octets each.
const maxAddresses = 4096

// addressRates are the buckets of the addresses that connected lately.
type addressRates map[netip.Addr]bucket

// allow takes a token of an address if it is there.
func (r addressRates) allow(ip netip.Addr, now time.Duration, rate int) bool {
	k, known := r[ip]
	if !known && len(r) >= maxAddresses {
		r.evict()
	}
	ok := k.allow(now, rate, 2*rate)
	r[ip] = k
	return ok
}

// evict forgets one of a few addresses picked at random, the one that has used least: to
// fill the table helps nobody who is in it to be forgotten.
func (r addressRates) evict() {
	const picked = 8
	var least netip.Addr
	n := 0
	for ip, k := range r {
		if n == 0 || k.full < r[least].full {
			least = ip
		}
		if n++; n == picked {
			break
		}
	}
	delete(r, least)
}

// addressOf is the address that a connection counts for: of IPv6 the network, since a
// host has all of a /64. It is invalid for a unix socket.
func addressOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if !ip.Is6() {
		return ip
	}
	network, _ := ip.WithZone("").Prefix(64)
	return network.Addr()
}
