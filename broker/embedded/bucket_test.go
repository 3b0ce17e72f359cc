package embedded

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	var k bucket
	now := time.Hour
	for i := range 20 { // the burst
		if !k.allow(now, 10, 20) {
			t.Fatalf("token %d is not there", i)
		}
	}
	if k.allow(now, 10, 20) || k.allow(now+99*time.Millisecond, 10, 20) {
		t.Error("more than the burst")
	}
	if !k.allow(now+100*time.Millisecond, 10, 20) || k.allow(now+199*time.Millisecond, 10, 20) {
		t.Error("not one token each 100 ms")
	}
	now += time.Hour // never more than the burst
	if wait := k.take(now, 20, 10, 20); wait != 0 {
		t.Errorf("wait %v", wait)
	}
	if wait := k.take(now, 5, 10, 20); wait != 500*time.Millisecond {
		t.Errorf("wait %v", wait)
	}
	var fastest bucket
	if wait := fastest.take(0, 2_000_000, 1_000_000, 1_000_000); wait != time.Second {
		t.Errorf("wait %v", wait)
	}
}

// The table of addresses is bounded, and a flood of addresses does not free the one that
// has used up its tokens, but for a small chance.
func TestAddressRatesAreBounded(t *testing.T) {
	r := make(addressRates)
	greedy := netip.MustParseAddr("192.0.2.1")
	for range 4 {
		r.allow(greedy, 0, 2)
	}
	for i := range 3 * maxAddresses {
		if !r.allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 0, 2) {
			t.Fatalf("address %d is refused", i)
		}
	}
	if len(r) != maxAddresses {
		t.Errorf("%d addresses", len(r))
	}
	if _, known := r[greedy]; known && r.allow(greedy, 0, 2) {
		t.Error("its tokens are there again")
	}
}

// from is a connection from some address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func tcp(addr string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)) }

func TestAddressOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::",
		"[fe80::1%eth0]:1":         "fe80::",
	} {
		if got := addressOf(from{addr: tcp(addr)}); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts for %v, want %s", addr, got, want)
		}
	}
	if got := addressOf(from{addr: &net.UnixAddr{Net: "unix", Name: "@"}}); got.IsValid() {
		t.Errorf("a unix socket counts for %v", got)
	}
}
