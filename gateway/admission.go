package gateway

import (
	"sync"
	"time"

	"mqttsn-gateway/mqttsn"
)

// This file bounds what peers make the gateway do whose addresses anybody may have forged:
// how many sessions they begin, and which of those make room when there is none left; and what
// each client may publish.
//
// A CONNECT of a client that is known is always taken. That of a new one needs a token of its
// network and one of the gateway. Without it there is no answer: the client sends the CONNECT
// again after T_retry, where "congestion" would keep it away for minutes.

const (
	// prefixSlots is how many networks are told apart, of /24 in IPv4 and /48 in IPv6.
	prefixSlots = 4096
	// connectBurst and prefixBurst are how many new clients may come at once, all together and
	// from one network: a whole site behind one NAT or forwarder after a power cut.
	connectBurst, prefixBurst = 2000, 1000
	// publishBurst is for how long a client may publish at a higher rate than it is allowed:
	// so much of it is saved up.
	publishBurst = 2 * time.Second
)

// turnstile is a bucket that all links share.
type turnstile struct {
	mu sync.Mutex
	bucket
}

func (b *turnstile) take(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bucket.take(now)
}

// admits reports whether a new client may come from a peer now, and counts why not. Programs
// on this host always may.
func (s *shard) admits(in *intake, a *arrival) bool {
	peer := in.peer(a)
	if !in.forgeable(&peer) || a.Addr.IsLoopback() {
		return true
	}
	g, now := s.gateway, s.gateway.now()
	switch {
	case !in.prefixes.allow(now, a.Addr.Network()):
		s.counts.dropped[connectRatePerPrefix]++
	case !g.connects.take(now):
		s.counts.dropped[connectRate]++
	default:
		return true
	}
	s.counts.received[slot(mqttsn.TypeConnect)]++
	return false
}

// newcomers are the clients of a shard that have come from where an address may be forged, in
// the order in which they came. Those that say anything more after their CONNECT are taken out
// when somebody looks.
type newcomers struct {
	list []newcomer // from head on
	head int
}

type newcomer struct {
	client *client
	at     time.Time
}

// fewNewcomers is up to how many nobody looks whether they are any more.
const fewNewcomers = 1000

func (n *newcomers) add(c *client, now time.Time, clients int) {
	if rest := len(n.list) - n.head; len(n.list) == cap(n.list) && rest > fewNewcomers && rest > 2*clients || n.head > rest+fewNewcomers {
		kept := n.list[:0]
		for _, one := range n.list[n.head:] {
			if one.silent() {
				kept = append(kept, one)
			}
		}
		clear(n.list[len(kept):])
		n.list, n.head = kept, 0
	}
	n.list = append(n.list, newcomer{c, now})
}

// silent reports whether nothing has ever been heard of a client but CONNECT.
func (n *newcomer) silent() bool {
	return !n.client.gone && !n.client.known && n.client.session.Silent()
}

// oldest takes out the client that has said nothing for the longest time, but at least that
// long; nil if there is none.
func (n *newcomers) oldest(now time.Time, least time.Duration) *client {
	for ; n.head < len(n.list); n.head++ {
		one := n.list[n.head]
		if one.silent() && now.Sub(one.at) < least {
			return nil
		}
		n.list[n.head] = newcomer{}
		if one.silent() {
			n.head++
			return one.client
		}
	}
	n.list, n.head = n.list[:0], 0
	return nil
}

// makeRoom ends the session of a client that has sent CONNECT and never anything else, perhaps
// in somebody else's name, and of which the broker knew nothing. It reports whether there was
// one. The client is told, and its will is not published.
func (s *shard) makeRoom(now time.Time) bool {
	c := s.newcomers.oldest(now, s.gateway.options.Session.TRetry)
	if c == nil {
		return false
	}
	if c.session.Lasts() {
		c.leaveNothing()
	}
	c.session.Evict(now, &s.fx)
	s.apply(now, c)
	s.counts.dropped[evicted]++
	return true
}

// meter is a token bucket in 8 octets: the instant at which it will be full again.
type meter time.Duration

// take takes what is filled up again in a time of each, of a bucket that is filled in most.
func (m *meter) take(now, each, most time.Duration) bool {
	full := max(time.Duration(*m), now) + each
	if full > now+most {
		return false
	}
	*m = meter(full)
	return true
}

// mayPublish reports whether a client may publish a message of so many octets now, and counts
// why not. If not, there is no answer: with QoS 1 and 2 the client sends it again after T_retry.
func (s *shard) mayPublish(now time.Time, c *client, octets int) bool {
	g := s.gateway
	at := g.since(now)
	if c.messages.take(at, g.perMessage, publishBurst) && c.octets.take(at, time.Duration(octets)*g.perOctet, publishBurst) {
		return true
	}
	s.counts.dropped[publishRate]++
	return false
}
