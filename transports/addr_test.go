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

// anyAddr draws an address of any kind.
var anyAddr = rapid.Custom(func(t *rapid.T) Addr {
	octets := func(name string, sizes ...int) []byte {
		n := rapid.SampledFrom(sizes).Draw(t, name+" size")
		return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
	}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		ip, _ := netip.AddrFromSlice(octets("ip", 4, 16))
		zone := rapid.SampledFrom([]uint32{0, 1, 1 << 31}).Draw(t, "zone")
		return IPAddr(netip.AddrPortFrom(ip, rapid.Uint16().Draw(t, "port")), zone)
	case 1:
		return NodeAddr(octets("node", 0, 1, 2, 3, 4, 5, 6, 7, 8))
	default:
		return NumberAddr(rapid.Uint64().Draw(t, "number"))
	}
})

func TestAddrOctetsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := anyAddr.Draw(t, "address")
		octets := a.AppendOctets([]byte("before"))
		if got, ok := AddrFromOctets(octets[len("before"):]); !ok || got != a {
			t.Fatalf("%v became % x, and that %v %t", a, octets, got, ok)
		}
	})
}

// TestAddrOctets: others keep these octets, so they do not change.
func TestAddrOctets(t *testing.T) {
	ip := func(s string, zone uint32) Addr { return IPAddr(netip.MustParseAddrPort(s), zone) }
	for want, a := range map[string]Addr{
		"":                         {},
		"\xc0\x00\x02\x01\x07\x5b": ip("192.0.2.1:1883", 0),
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x07\x5b":                 ip("[2001:db8::1]:1883", 0),
		"\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x07\x5b\x00\x00\x00\x02": ip("[fe80::1]:1883", 2),
		"\x00\x13\xa2\x00\x40\x0a\x01\x27":                                                         NodeAddr([]byte{0x00, 0x13, 0xa2, 0x00, 0x40, 0x0a, 0x01, 0x27}),
		"\x12\x34":                                                                                 NodeAddr([]byte{0x12, 0x34}),
		"\x02\x03\x01\x02\x03\x00\x00\x00\x00\x00":                                                 NodeAddr([]byte{1, 2, 3}),
		"\x01": NumberAddr(1),
		"\xff": NumberAddr(255),
		"\x03\x00\x00\x00\x00\x00\x00\x01\x00\x00": NumberAddr(256),
	} {
		if got := string(a.AppendOctets(nil)); got != want {
			t.Errorf("%v: got % x, want % x", a, got, want)
		}
	}
}

func TestAddrOctetsForeign(t *testing.T) {
	for _, octets := range []string{
		"",
		"\x01\x02\x03",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01\x07\x5b", // IPv4 in the longer form
		"\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x07\x5b\x00\x00\x00\x00",
		"\x02\x02\x12\x34\x00\x00\x00\x00\x00\x00", // has a shorter form
		"\x02\x03\x01\x02\x03\x04\x00\x00\x00\x00", // an octet too many
		"\x02\xff\x01\x02\x03\x04\x05\x06\x07\x08",
		"\x03\x00\x00\x00\x00\x00\x00\x00\x07\x00", // has a shorter form
		"\x03\x00\x00\x00\x00\x00\x00\x01\x00\x01",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		if a, ok := AddrFromOctets([]byte(octets)); ok || !a.IsZero() {
			t.Errorf("% x passes for %v", octets, a)
		}
	}
}

func FuzzAddrFromOctets(f *testing.F) {
	for _, a := range []Addr{IPAddr(netip.MustParseAddrPort("[fe80::1]:1883"), 2), NodeAddr([]byte{1, 2, 3}), NumberAddr(7)} {
		f.Add(a.AppendOctets(nil))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		a, ok := AddrFromOctets(octets)
		if ok && !bytes.Equal(a.AppendOctets(nil), octets) {
			t.Errorf("% x passes for %v", octets, a)
		}
		if ok == a.IsZero() {
			t.Errorf("% x: %v %t", octets, a, ok)
		}
	})
}
