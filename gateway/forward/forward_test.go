package forward

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/memory"
)

func ip(s string, zone uint32) transports.Addr {
	return transports.IPAddr(netip.MustParseAddrPort(s), zone)
}

var (
	serialPeer = transports.NumberAddr(1)
	xbee64     = transports.NodeAddr([]byte{0x00, 0x13, 0xA2, 0x00, 0x40, 0x0A, 0x01, 0x27})
	xbee16     = transports.NodeAddr([]byte{0x12, 0x34})
	ip4        = ip("192.0.2.9:4660", 0)
	ip6        = ip("[2001:db8::9]:4660", 0)
	ip6Local   = ip("[fe80::9]:4660", 2)
)

// TestNodeIDs: the gateway and its store keep these ids, so they do not change; and a
// forwarder that was restarted knows them, those of IP devices as soon as they send.
func TestNodeIDs(t *testing.T) {
	for _, c := range []struct {
		name string
		addr transports.Addr
		id   string
	}{
		{"serial line", serialPeer, "01"},
		{"XBee", xbee64, "00 13 A2 00 40 0A 01 27"},
		{"XBee, 16 bits", xbee16, "12 34"},
		{"IPv4", ip4, "C0 00 02 09 12 34"},
		{"IPv6", ip6, "20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 09 12 34"},
		{"IPv6 with a zone", ip6Local, "FE 80 00 00 00 00 00 00 00 00 00 00 00 00 00 09 12 34 00 00 00 02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header := hex.EncodeToString([]byte{byte(3 + len(octets(t, c.id))), 0xFE, 0x00})
				w := newWorld(t)
				w.start()
				d := w.device(c.addr)
				d.send("02 16")
				w.expectAtGateway(header + c.id + "0216")
				w.answer(header + c.id + "0217")
				d.expect("02 17")
				w.expectDrops()
				w.end()

				w = newWorld(t) // as after a restart
				w.start()
				d = w.device(c.addr)
				var dropped []reason
				if isIP(c.addr) {
					w.answer(header + c.id + "0217")
					d.expect()
					dropped = append(dropped, gatewayUnknownNode)
					d.send("02 16")
					w.expectAtGateway(header + c.id + "0216")
				}
				w.answer(header + c.id + "0217")
				d.expect("02 17")
				w.expectDrops(dropped...)
			})
		})
	}
}

func TestSeveralLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, plain, plain)
		w.start()
		first, second := w.device(xbee64), w.deviceOn("1", serialPeer)
		first.send("02 16")
		second.send("02 16")
		w.expectAtGateway("0C FE 00 00 00 13 A2 00 40 0A 01 27 02 16", "05 FE 00 01 01 02 16")
		w.answer("05 FE 00 01 01 02 17")
		w.answer("0C FE 00 00 00 13 A2 00 40 0A 01 27 03 18 00")
		first.expect("03 18 00")
		second.expect("02 17")

		w.answer("05 FE 00 02 01 02 17") // there is no third link
		w.answer("04 FE 00 01 02 17")    // only a link, no address
		w.expectDrops(gatewayUnknownNode, gatewayUnknownNode)
	})
}

// TestPacketsPassUnchanged: what a packet means is not the forwarder's business.
func TestPacketsPassUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		long := "01 01 04 0C 00 00 01 00 00" + strings.Repeat("78", 260-9) // the 3-octet Length
		for _, packet := range []string{
			"0B 04 04 01 00 3C 63 6C 69 2D 31",
			"03 01 01",          // SEARCHGW
			"01 00 04 16",       // the 3-octet Length where 1 would do
			"02 03", "03 FF 00", // reserved types
			"02 05", // not a whole CONNACK
			long,
		} {
			d.send(packet)
			w.expectAtGateway("04 FE 00 01" + packet)
			w.answer("04 FE 00 01" + packet)
			d.expect(packet)
		}
		w.answer("04 FE FC 01 02 17") // reserved bits of Ctrl
		d.expect("02 17")
		w.expectDrops()
		if st := w.forwarder.Stats(); st.ToGateway != 7 || st.ToDevices != 8 || st.Sockets != 1 || !st.Up {
			t.Errorf("%+v", st)
		}
	})
}

func TestBadPacketsOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.forwarder.options.MTU = 100
		w.start()
		d := w.device(serialPeer)
		for _, bad := range []string{
			"", "02", "00 16", "03 16", "02 16 00", "01 00 03 16", "03 FE 00", "04 FE 00 2A", // the last is a frame without a packet
		} {
			d.send(bad)
		}
		d.send("04 FE 00 2A 02 16")
		d.send("05 00 01 00 3C") // ADVERTISE
		d.send("03 02 01")       // GWINFO
		d.send("61 0C" + strings.Repeat("00", 0x5F))
		w.expectAtGateway()
		w.expectDrops(deviceMalformed, deviceMalformed, deviceMalformed, deviceMalformed, deviceMalformed, deviceMalformed,
			deviceNested, deviceNested, deviceNested, deviceOtherGateway, deviceOtherGateway, deviceTooLarge)
		d.send("60 0C" + strings.Repeat("00", 0x5E)) // with its frame as long as mtu
		if got := w.gotAt("192.0.2.1:1883"); len(got) != 1 {
			t.Errorf("got %v", got)
		}

		// Neither comes from a real link.
		self := transports.Datagram{Addr: serialPeer, Local: serialPeer, Data: octets(t, "02 16")}
		nowhere := transports.Datagram{Data: octets(t, "02 16")}
		for want, d := range map[reason]transports.Datagram{deviceOtherGateway: self, deviceNoAddress: nowhere} {
			if why, ok := w.forwarder.fromDevice(w.forwarder.ports[0], &d); ok || why != want {
				t.Errorf("%v: %v %t", d, why, ok)
			}
		}
	})
}

func TestBadPacketsOfTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		for _, bad := range []string{
			"02 FE", "03 FE 00 02 16", "04 FE 00 01", "09 FE 00 01 02 16", "04 FE 00 01 05 16", "04 FE 00 01 02", "01 00 08 FE 00 01 02 16", "02 1F",
		} {
			w.answer(bad)
		}
		w.answer("04 FE 00 01 04 FE 00 01 02 16") // nested
		w.answer("02 17")                         // plain
		w.answer("05 00 01 00 3C")                // ADVERTISE, and no link that can broadcast
		for _, node := range []string{
			"01 02 03",                             // no address has three octets
			"C0 00 02 09 00 00",                    // port 0
			"E1 01 01 01 07 5B",                    // a group
			"FFFFFFFF 07 5B",                       // everybody
			"00 00 00 00 07 5B",                    // nobody
			"00000000000000000000FFFFC0000209075B", // IPv4 in disguise
		} {
			id := octets(t, node)
			w.answer(hex.EncodeToString(append([]byte{byte(3 + len(id)), 0xFE, 0x00}, id...)) + "02 17")
		}
		w.answer("04 FE 00 01 01 02 59 0C" + strings.Repeat("00", 0x255)) // 601 octets, and the link carries 600
		d.expect()
		w.expectDrops(gatewayMalformed, gatewayMalformed, gatewayMalformed, gatewayMalformed, gatewayMalformed, gatewayMalformed,
			gatewayMalformed, gatewayMalformed, gatewayNested, gatewayPlain, gatewayPlain,
			gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode, gatewayUnknownNode,
			gatewayTooLarge)
		w.answer("04 FE 00 01 02 17")
		d.expect("02 17")
	})
}

// radio is a link that can broadcast.
type radio struct {
	*memory.Link
	mu    sync.Mutex
	fails error
	sent  []string
}

func (r *radio) Broadcast(near transports.Addr, radius uint8, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails != nil {
		return r.fails
	}
	r.sent = append(r.sent, near.String()+" "+string(rune('0'+radius))+" "+hex.EncodeToString(data))
	return nil
}

func (r *radio) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Join(r.sent, "|") != strings.Join(want, "|") {
		t.Errorf("broadcast %q, want %q", r.sent, want)
	}
	r.sent = nil
}

func TestBroadcasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zigbee, lan := &radio{}, &radio{}
		use := func(r *radio) func(*memory.Link) transports.Link {
			return func(l *memory.Link) transports.Link { r.Link = l; return r }
		}
		w := newWorld(t, use(zigbee), use(lan), plain)
		w.start()
		node, host, line := w.deviceOn("0", xbee16), w.deviceOn("1", ip4), w.deviceOn("2", serialPeer)

		host.send("02 16")
		w.expectAtGateway("0A FE 00 01 C0 00 02 09 12 34 02 16")

		// To all on the node's link, as far as Ctrl says.
		w.answer("06 FE 02 00 12 34 03 02 01")
		zigbee.expect(t, "- 2 030201")
		w.answer("06 FE 03 00 12 34 05 00 01 03 84")
		zigbee.expect(t, "- 3 0500010384")
		node.expect()
		lan.expect(t)

		// On IP, who asked may be in no group.
		w.answer("0A FE 01 01 C0 00 02 09 12 34 03 02 01")
		lan.expect(t, "- 1 030201")
		host.expect("03 02 01")
		zigbee.expect(t)

		// A link that cannot broadcast.
		w.answer("05 FE 01 02 01 03 02 01")
		line.expect("03 02 01")

		// Radius 0 is for one.
		w.answer("06 FE 00 00 12 34 03 02 01")
		node.expect("03 02 01")
		zigbee.expect(t)

		// Not for anybody behind a forwarder in particular.
		w.answer("05 00 01 03 84")
		zigbee.expect(t, "- 0 0500010384")
		lan.expect(t, "- 0 0500010384")
		w.answer("03 02 01")
		zigbee.expect(t, "- 0 030201")
		lan.expect(t, "- 0 030201")
		node.expect()
		host.expect()
		line.expect()

		w.expectDrops()
		if st := w.forwarder.Stats(); st.Broadcasts != 7 {
			t.Errorf("%+v", st)
		}
		zigbee.fails, lan.fails = transports.ErrBusy, errors.New("unplugged")
		w.answer("05 00 01 03 84")
		w.answer("06 FE 01 00 12 34 01 02 59 00" + strings.Repeat("00", 0x255))
		w.expectDrops(linkBusy, linkFailed, gatewayTooLarge)
	})
}

func TestLinkRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		link := w.field.Link("0")
		link.SetBusy(true)
		w.answer("04 FE 00 01 02 17")
		link.SetBusy(false)
		w.expectDrops(linkBusy)
		w.forwarder.send(&port{link: failing{link}}, serialPeer, octets(t, "02 17"))
		w.expectDrops(linkBusy, linkFailed)
	})
}

// failing is a link that sends nothing.
type failing struct{ *memory.Link }

func (failing) Send([]transports.Datagram) (int, error) { return 0, errors.New("unplugged") }

// TestLinkFails: without its links a forwarder has no use.
func TestLinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, plain, func(l *memory.Link) transports.Link { return lost{l} })
		if err := w.forwarder.Run(t.Context()); err == nil || err.Error() != "memory 1: lost for good" {
			t.Errorf("got %v", err)
		}
		if err := w.field.Link("0").Close(); err != nil {
			t.Error(err)
		}
		_ = w.network.Close()
	})
}

type lost struct{ *memory.Link }

func (l lost) Serve(_ context.Context, _ func([]transports.Datagram)) error {
	return errors.New("lost for good")
}

func TestAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, plain, plain)
		w.start()
		w.expectLogged(1, "level=INFO", `msg="forwarding: mqtt-sn memory 0, memory 1 to the gateway at udp gateway.example:1883"`)
		w.expectLogged(1)
		w.end()
		w.expectLogged(1, "level=INFO", `msg="stopped forwarding" to_gateway=0 to_devices=0 broadcasts=0`)
		w.expectLogged(2)
	})
}

func TestNew(t *testing.T) {
	l := memory.NewNetwork(memory.Options{}).Link("x")
	log := slog.New(slog.DiscardHandler)
	o := DefaultOptions()
	if _, err := New(o, []transports.Link{l}, log); err == nil || !strings.HasPrefix(err.Error(), "to: ") {
		t.Errorf("without To: %v", err)
	}
	o.To = "192.0.2.1:1883"
	if _, err := New(o, nil, log); err == nil || !strings.Contains(err.Error(), "no link") {
		t.Errorf("without links: %v", err)
	}
	if _, err := New(o, make([]transports.Link, 257), log); err == nil || !strings.Contains(err.Error(), "256 at most") {
		t.Errorf("with too many links: %v", err)
	}
	if _, err := New(o, make([]transports.Link, 256), log); err != nil {
		t.Error(err)
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{"": true}
	for r := range reasons {
		if name := r.String(); seen[name] {
			t.Errorf("reason %d has the name %q", r, name)
		} else {
			seen[name] = true
		}
	}
}
