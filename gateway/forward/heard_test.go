package forward

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
)

// TestAnswersLeaveFromWhereTheyWereAsked, as memory's links refuse others; the devices
// heard last are remembered, and no more.
func TestAnswersLeaveFromWhereTheyWereAsked(t *testing.T) {
	var h heard
	expect := func(addr transports.Addr, want transports.Addr, known bool) {
		t.Helper()
		if got, ok := h.local(addr); got != want || ok != known {
			t.Errorf("%v: %v, %v", addr, got, ok)
		}
	}
	at := ip("192.0.2.1:1883", 0)
	expect(ip4, transports.Addr{}, false)
	h.note(ip4, transports.Addr{}) // a search, sent to a group
	expect(ip4, transports.Addr{}, true)
	h.note(ip4, ip6)
	h.note(ip4, at)
	expect(ip4, at, true)
	h.note(xbee64, transports.Addr{})
	expect(xbee64, transports.Addr{}, false)
	for i := range uint64(maxHeard) {
		h.note(transports.NumberAddr(i), serialPeer)
	}
	expect(ip4, at, true)
	h.note(ip4, transports.Addr{}) // is heard again, in a group
	for i := range uint64(maxHeard) {
		h.note(transports.NumberAddr(i), ip6)
	}
	expect(ip4, at, true)
	for i := range uint64(3 * maxHeard) {
		h.note(transports.NumberAddr(i), serialPeer)
	}
	expect(ip4, transports.Addr{}, false)
	if len(h.young)+len(h.old) > 2*maxHeard {
		t.Errorf("%d + %d devices are remembered", len(h.young), len(h.old))
	}
}

// TestOnlyDevicesThatWereHeard: who speaks for the gateway cannot make the forwarder send
// to any host, only to one that has sent, on the link where it has, from that port.
func TestOnlyDevicesThatWereHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, plain, plain)
		w.start()
		d, other := w.device(ip4), w.device(ip("192.0.2.9:4661", 0))
		unheard := w.deviceOn("1", ip6)
		d.send("02 16")
		w.expectAtGateway("0A FE 00 00 C0 00 02 09 12 34 02 16")
		w.answer("0A FE 00 01 C0 00 02 09 12 34 02 17") // on another link
		w.answer("0A FE 00 00 C0 00 02 09 12 35 02 17") // at another port
		w.answer("16 FE 00 01 20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 09 12 34 02 17")
		w.expectDrops(gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode)
		d.expect()
		other.expect()
		unheard.expect()
		<-time.After(36 * time.Hour) // it slept
		w.answer("0A FE 00 00 C0 00 02 09 12 34 02 17")
		d.expect("02 17")
		w.expectDrops(gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode)
	})
}

// TestReflection: with real sockets, a host that never spoke gets nothing.
func TestReflection(t *testing.T) {
	gateway := listen(t, "127.0.0.1:0")
	victim := listen(t, "127.0.0.1:0")
	o := DefaultOptions()
	o.To = gateway.LocalAddr().String()
	f, links := running(t, o, slog.New(slog.DiscardHandler), nil)
	d := dial(t, links[0].Addr())
	forwarder := ask(t, d, gateway)
	var id []byte
	if len(links) > 1 {
		id = append(id, 0)
	}
	id = ip(victim.LocalAddr().String(), 0).AppendOctets(id)
	frame := append([]byte{byte(3 + len(id)), 0xFE, 0}, id...)
	if _, err := gateway.WriteToUDPAddrPort(append(frame, 2, 0x17), forwarder); err != nil {
		t.Fatal(err)
	}
	ask(t, d, gateway) // after which the other is through
	if f.Stats().Dropped["gateway_unknown_node"] != 1 || f.Stats().ToDevices != 2 {
		t.Errorf("%+v", f.Stats())
	}
}

// TestSearchIsAnswered: who searches for gateways in a group is sent the answer.
func TestSearchIsAnswered(t *testing.T) {
	f := newSinks(t, 1)
	group := ip("225.1.1.1:1883", 0)
	f.fromDevices(f.ports[0], []transports.Datagram{{Addr: ip4, Local: group, Data: octets(t, "03 01 01"), Multicast: true}})
	f.fromGateway(octets(t, "09 FE 01 C0 00 02 09 12 34 03 02 01"))
	if sent := f.sink(0).sent; len(sent) != 1 || sent[0].Addr != ip4 || !sent[0].Local.IsZero() || f.droppedAll() != 0 {
		t.Errorf("%+v, %+v", sent, f.Stats())
	}
}

// TestSubnetBroadcasts: even from there, if the system lets such packets in, no device is
// taken to have sent.
func TestSubnetBroadcasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSinks(t, 1)
		var failure error
		network := "192.0.2.1/24"
		f.subnets.list = func() ([]net.Addr, error) {
			prefix := netip.MustParsePrefix(network)
			return []net.Addr{
				&net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)},
				&net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)},
				&net.IPNet{IP: net.IPv4(203, 0, 113, 7), Mask: net.CIDRMask(31, 32)},
				&net.UnixAddr{Name: "no network"},
			}, failure
		}
		expect := func(host string, want bool) {
			t.Helper()
			addr := ip(fmt.Sprintf("%s:1883", host), 0)
			f.ports[0].heard.note(addr, transports.Addr{})
			if _, _, ok := f.node(addr.AppendOctets(nil)); ok != want {
				t.Errorf("%s: %v", host, ok)
			}
		}
		expect("192.0.2.255", false)
		expect("192.0.2.0", false)
		expect("192.0.2.127", true)
		expect("198.51.100.255", true) // not here
		expect("203.0.113.7", true)
		expect("[2001:db8::]", true)
		expect("255.255.255.255", false)
		expect("224.0.0.1", false)

		network, failure = "192.0.2.1/25", errors.New("no list")
		<-time.After(subnetsEvery)
		expect("192.0.2.127", true)
		failure = nil
		<-time.After(subnetsEvery)
		expect("192.0.2.127", false)
		expect("192.0.2.255", true)
	})
}
