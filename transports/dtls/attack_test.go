package dtls

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/transports"
)

// TestHalfOpen: 100,000 clients say hello, half of them also return their cookie, and that is
// all that they say. At most 300 goroutines and 8 MiB come of it, and at the deadline nothing
// is left.
func TestHalfOpen(t *testing.T) {
	const strangers = 100_000
	a := newAir()
	o := pskOptions(t)
	o.MaxHandshakesPerPrefix = DefaultOptions().MaxHandshakesPerPrefix
	o.HandshakeTimeout = 2 * time.Second
	l := airLink(t, a, o, nil)
	d := newDemux(l)
	receive := func(b []byte, from netip.AddrPort) {
		d.receive([]transports.Datagram{{Addr: transports.IPAddr(from, 0), Data: b}})
	}
	before, most := loadNow(), load{}
	for i := range strangers {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i%60000+1))
		hello := rawHello(byte(i), 0, 0, nil)
		receive(hello, from)
		if i%2 == 0 {
			r, _, _ := readRecord(hello)
			h, fault := readHello(r)
			if fault != helloGood {
				t.Fatal(fault)
			}
			receive(rawHello(byte(i), 1, 1, slices.Clone(d.cookies.bake(time.Now(), from, h))), from)
		}
		if i%20_000 == 10_000 {
			now := loadNow()
			most = load{max(most.goroutines, now.goroutines), max(most.heap, now.heap)}
		}
	}
	t.Logf("before %v, at most %v", before, most)
	check(t, before, most)
	s := l.Stats()
	if s.CookiesSent != strangers || s.CookiesBad != 0 || s.Drops.HandshakeLimit+s.Drops.PrefixLimit+s.Failed.Timeout+uint64(s.Handshaking) != strangers/2 {
		t.Errorf("%+v", s)
	}
	until(t, "all being gone", func() bool { return l.Stats().Handshaking == 0 })
	until(t, "their goroutines being gone", func() bool { return loadNow().goroutines <= before.goroutines })
	t.Logf("after it %v", loadNow())
}

// TestReplays: 100,000 records of a client's are caught, and sent again, as they are and from
// another address. None is accepted, and nothing goes to that address.
func TestReplays(t *testing.T) {
	const records, part = 100_000, 250
	a := newAir()
	l := airLink(t, a, pskOptions(t), nil)
	var accepted atomic.Int64
	serve(t, l, func(batch []transports.Datagram) {
		accepted.Add(int64(len(batch)))
		_, _ = l.Send(batch[:1])
	})
	e := a.open("198.51.100.1:1")
	c, err := connectOver(t, e, l.Addr(), withID(withKey("sensor-1", testKey))...)
	if err != nil {
		t.Fatal(err)
	}
	var caught [][]byte
	thief := a.open("203.0.113.1:1")
	a.mu.Lock()
	a.lose = func(b []byte, from netip.AddrPort) bool {
		if from == e.addr {
			caught = append(caught, slices.Clone(b))
		}
		return false
	}
	a.mu.Unlock()
	sent := 0
	say := func() {
		tell(t, c, fmt.Sprintf("message %d", sent))
		sent++
	}
	for sent < records {
		for range part {
			say()
		}
		until(t, "the messages", func() bool { return accepted.Load() == int64(sent) })
	}
	for _, from := range []netip.AddrPort{e.addr, thief.addr} {
		a.mu.Lock()
		all := caught[:records:records]
		a.mu.Unlock()
		for again := range slices.Chunk(all, part) {
			for _, b := range again {
				a.ends[l.Addr()].in <- flying{b, from}
			}
			say() // what came before it has been looked at when it is there
			until(t, "the message", func() bool { return accepted.Load() >= int64(sent) })
		}
	}
	if n := accepted.Load() - int64(sent); n != 0 {
		t.Errorf("%d of %d accepted", n, 2*records)
	}
	if s := l.Stats(); s.Moved != 0 || len(thief.in) != 0 || s.Drops.Backlog != 0 {
		t.Errorf("%d datagrams to the thief, %+v", len(thief.in), s)
	}
}

// TestIdentityTiming: a handshake that fails takes as long for an identity that is there as
// for one that is not, with one key and while keys are replaced. The medians are logged; what
// is asserted is only that they are not far apart, as other programs are on the machine.
func TestIdentityTiming(t *testing.T) {
	const each = 2500
	for name, o := range map[string]Options{"one key": pskOptions(t), "two keys": twoKeys(t)} {
		o.MaxFailuresPerPrefix = 1e6
		a := newAir()
		l := airLink(t, a, o, nil)
		serve(t, l, func([]transports.Datagram) {})
		a.lose = func(b []byte, from netip.AddrPort) bool {
			if from != l.Addr() && b[0] != typeAlert {
				for rest := b; len(rest) > 0; {
					r, after, ok := readRecord(rest)
					if !ok {
						break
					}
					if rest = after; r.epoch > 0 { // a second proof at once, so that nobody waits
						a.ends[l.Addr()].in <- flying{b, from}
						a.ends[l.Addr()].in <- flying{r.raw, from}
						return true
					}
				}
			}
			return false
		}
		took := map[string][]time.Duration{}
		for i := range 2 * each {
			identity := []string{"sensor-1", "sensor-x"}[i%2]
			start := time.Now()
			e := a.open(fmt.Sprintf("10.0.%d.%d:1", i>>8&255, i&255))
			c, err := connectOver(t, e, l.Addr(), withKey(identity, []byte("none of its keys"))...)
			took[identity] = append(took[identity], time.Since(start))
			if err == nil {
				t.Fatal("a wrong key is accepted")
			}
			_ = c.Close()
			_ = e.Close()
		}
		var medians []time.Duration
		for _, identity := range []string{"sensor-1", "sensor-x"} {
			slices.Sort(took[identity])
			medians = append(medians, took[identity][each/2])
		}
		ratio := float64(medians[1]) / float64(medians[0])
		t.Logf("%s: known %v, unknown %v, %+.1f %%", name, medians[0], medians[1], 100*(ratio-1))
		if ratio > 1.5 || ratio < 1/1.5 {
			t.Errorf("%s: an unknown identity takes %.2f times as long as a known one", name, ratio)
		}
		if s := l.Stats(); s.Failed != (Failures{WrongKey: each, UnknownIdentity: each}) {
			t.Errorf("%+v", s.Failed)
		}
	}
}
