package transports

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestIPAddrRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ip, _ := netip.AddrFromSlice(rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 4, 4), rapid.SliceOfN(rapid.Byte(), 16, 16)).Draw(t, "ip"))
		want := netip.AddrPortFrom(ip.Unmap(), rapid.Uint16().Draw(t, "port"))
		zone := rapid.Uint32().Draw(t, "zone")
		a := IPAddr(netip.AddrPortFrom(ip, want.Port()), zone)
		got, gotZone, ok := a.AddrPort()
		if !ok || got != want || gotZone != zone {
			t.Fatalf("got %v zone %d %v, want %v zone %d", got, gotZone, ok, want, zone)
		}
		if a.IsZero() || a.Number() != 0 || a.Node() != nil {
			t.Fatalf("%v passes for another kind", a)
		}
	})
}

func TestNodeAddrRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "id")
		a := NodeAddr(id)
		if !bytes.Equal(a.Node(), id[:min(len(id), 8)]) {
			t.Fatalf("got %x, want the first 8 octets of %x", a.Node(), id)
		}
		if _, _, ok := a.AddrPort(); ok || a.Number() != 0 || a.IsZero() {
			t.Fatalf("%v passes for another kind", a)
		}
	})
}

func TestNumberAddrRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		a := NumberAddr(n)
		if a.Number() != n {
			t.Fatalf("got %d, want %d", a.Number(), n)
		}
		if _, _, ok := a.AddrPort(); ok || a.Node() != nil || a.IsZero() {
			t.Fatalf("%v passes for another kind", a)
		}
	})
}

// TestAddrEquality: what differs in any way is another client; what is merely written
// in another way is not.
func TestAddrEquality(t *testing.T) {
	ip := func(s string, zone uint32) Addr { return IPAddr(netip.MustParseAddrPort(s), zone) }
	if ip("192.0.2.1:1883", 0) != ip("[::ffff:192.0.2.1]:1883", 0) {
		t.Error("an IPv4 address and its mapped form differ")
	}
	if ip("[fe80::1%lo]:1883", 1) != ip("[fe80::1]:1883", 1) {
		t.Error("the zone counts by index alone")
	}
	distinct := []Addr{
		{}, ip("192.0.2.1:1883", 0), ip("192.0.2.1:1884", 0), ip("192.0.2.2:1883", 0),
		ip("[fe80::1]:1883", 1), ip("[fe80::1]:1883", 2), ip("0.0.0.0:0", 0), ip("[::]:0", 0),
		NodeAddr(nil), NodeAddr([]byte{0}), NodeAddr([]byte{0, 0}), NodeAddr([]byte{1}),
		NumberAddr(0), NumberAddr(1), NumberAddr(1 << 56),
	}
	for i, a := range distinct {
		for j, b := range distinct {
			if (a == b) != (i == j) {
				t.Errorf("%d %v and %d %v", i, a, j, b)
			}
		}
	}
}

func TestAddrString(t *testing.T) {
	for want, a := range map[string]Addr{
		"-":                {},
		"192.0.2.1:1883":   IPAddr(netip.MustParseAddrPort("[::ffff:192.0.2.1]:1883"), 0),
		"[2001:db8::1]:1":  IPAddr(netip.MustParseAddrPort("[2001:db8::1]:1"), 0),
		"[fe80::1%2]:1883": IPAddr(netip.MustParseAddrPort("[fe80::1]:1883"), 2),
		"0013a200400a0127": NodeAddr([]byte{0x00, 0x13, 0xa2, 0x00, 0x40, 0x0a, 0x01, 0x27}),
		"07":               NodeAddr([]byte{7}),
		"#7":               NumberAddr(7),
	} {
		if got := a.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPeerCostsNothing(t *testing.T) {
	table := map[Peer]int{}
	ap := netip.MustParseAddrPort("[2001:db8::1]:1883")
	if n := testing.AllocsPerRun(100, func() {
		p := Peer{Link: 1, Addr: IPAddr(ap, 0)}
		table[p]++
		_, _, _ = p.Addr.AddrPort()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
