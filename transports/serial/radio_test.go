package serial

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// nodeNumber is the address of a node of these tests.
func nodeNumber(n int) transports.Addr { return nodeAddr(0x0013A200_40000000 + uint64(n)) }

// openRadio opens a link with a module.
func openRadio(t *testing.T, set func(*Options)) (*Link, *module, <-chan transports.Datagram) {
	t.Helper()
	o := optionsFor("fake", framingXBee)
	if set != nil {
		set(&o)
	}
	m := newModule(t, o)
	l, got := openFake(t, o, m.port)
	return l, m, got
}

// settled waits until nothing is queued or in hand.
func settled(t *testing.T, l *Link) Stats {
	t.Helper()
	eventually(t, "nothing is left to do", func() bool {
		s := l.Stats()
		return s.Queued == 0 && s.Outstanding == 0
	})
	synctest.Wait()
	return l.Stats()
}

// accounted says that every packet sent is delivered or lost for a reason.
func accounted(t *testing.T, s Stats) {
	t.Helper()
	if s.Sent != s.Delivered+s.Drops["transmit_failed"]+s.Drops["no_status"] || s.Nodes != 0 {
		t.Errorf("not accounted for: %+v", s)
	}
	var failed uint64
	for _, n := range s.TransmitFailed {
		failed += n
	}
	if failed != s.Drops["transmit_failed"] {
		t.Errorf("failures by reason are %v", s.TransmitFailed)
	}
}

// TestTurns: every node has its packets in order, one at a time, and no node two while
// another waits.
func TestTurns(t *testing.T) {
	for _, mode := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			l, m, _ := openRadio(t, func(o *Options) { o.APIMode, o.Window = mode, 3 })
			const nodes, packets = 20, 10
			for n := range nodes { // one node's all at once
				for i := range uint32(packets) {
					send(t, l, nodeNumber(n), publish(i, 30))
				}
			}
			accounted(t, settled(t, l))
			sent := m.transmissions()
			if len(sent) != nodes*packets || m.most != 3 {
				t.Errorf("%d transmissions, %d in hand at most", len(sent), m.most)
			}
			next := map[transports.Addr]uint32{}
			last := map[transports.Addr]int{}
			for i, s := range sent {
				if n := numberOf(s.data); n != next[s.to] {
					t.Fatalf("packet %d for %v comes as number %d", n, s.to, next[s.to])
				}
				// Those in hand together may finish in any order; towards the end some are through.
				if before, ok := last[s.to]; ok && i-before < nodes-2*m.most && i < nodes*(packets-1) {
					t.Errorf("%v has transmissions %d and %d", s.to, before, i)
				}
				next[s.to]++
				last[s.to] = i
			}
		})
	}
}

// TestSilentNodes: nodes of which the module never tells keep no place from those that
// answer, but once, while nothing is known of them.
func TestSilentNodes(t *testing.T) {
	for _, window := range []int{2, 4} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, m, _ := openRadio(t, func(o *Options) {
					o.Window = window
					o.Queue = 1 << 20
					o.StatusTimeout = 5 * time.Second
				})
				silent := func(a transports.Addr) bool { return a.Node()[7] >= 100 }
				m.status = func(s transmission) (xbee.Delivery, time.Duration, bool) {
					return 0, 20 * time.Millisecond, !silent(s.to)
				}
				for n := range 10 {
					for range 5 {
						send(t, l, nodeNumber(100+n), publish(0, 30))
					}
				}
				<-time.After(time.Minute) // each has failed
				const packets = 200
				start := time.Now()
				for i := range uint32(packets) {
					send(t, l, nodeNumber(1), publish(i, 30))
					<-time.After(25 * time.Millisecond)
				}
				var last time.Time
				n := 0
				for _, s := range m.transmissions() {
					if s.to == nodeNumber(1) {
						last = s.at
						n++
					}
				}
				took := last.Sub(start)
				if n != packets || took > packets*35*time.Millisecond {
					t.Errorf("%d of %d packets for a node that answers in %v", n, packets, took)
				}
				<-time.After(10 * time.Minute)
				s := settled(t, l)
				accounted(t, s)
				if s.Drops["no_status"] != 50 {
					t.Errorf("%d without status, want 50", s.Drops["no_status"])
				}
			})
		})
	}
}

// TestOneSilentNode: the very first packets for others pass it.
func TestOneSilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m, _ := openRadio(t, nil)
		m.status = func(s transmission) (xbee.Delivery, time.Duration, bool) {
			return 0, 20 * time.Millisecond, s.to != nodeNumber(0)
		}
		start := time.Now()
		for i := range uint32(10) {
			for n := range 10 {
				send(t, l, nodeNumber(n), publish(i, 30))
			}
		}
		eventually(t, "the others have theirs", func() bool { return l.Stats().Delivered == 90 })
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the others waited %v", took)
		}
		<-time.After(2 * time.Minute)
		accounted(t, settled(t, l))
	})
}

// TestFailures are counted by their reason and not repeated; where the address may be
// stale the network looks for the node anew.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m, got := openRadio(t, nil)
		next := xbee.Delivered
		m.status = func(transmission) (xbee.Delivery, time.Duration, bool) { return next, time.Millisecond, true }
		to16 := func(want uint16) {
			t.Helper()
			send(t, l, nodeNumber(1), publish(0, 30))
			settled(t, l)
			sent := m.transmissions()
			if f := sent[len(sent)-1].frame.(*xbee.Transmit); f.To16 != want {
				t.Errorf("sent to %04X, want %04X", f.To16, want)
			}
		}
		hear := func(addr16 uint16) {
			t.Helper()
			m.say(2, xbee.Receive{From: 0x0013A200_40000001, From16: addr16, Options: 1, Data: []byte("hello")})
			if d := wait(t, got); d.Addr != nodeNumber(1) || string(d.Data) != "hello" || d.Multicast {
				t.Errorf("received %+v", d)
			}
		}
		to16(xbee.Unknown16)
		hear(0x1234)
		to16(0x1234)
		hear(0x5678)
		to16(0x5678)
		next = xbee.NoMACAck
		to16(0x5678) // the address is good
		for _, stale := range []xbee.Delivery{xbee.NoNetworkAck, xbee.AddressNotFound, xbee.RouteNotFound} {
			hear(0x5678)
			next = stale
			to16(0x5678)
			to16(xbee.Unknown16)
		}
		next = xbee.Delivery(0xEE)
		to16(xbee.Unknown16)
		s := settled(t, l)
		accounted(t, s)
		for name, want := range map[string]uint64{
			"no MAC acknowledgement": 1, "no network acknowledgement": 2, "address not found": 2, "route not found": 2, "delivery status 0xEE": 1,
		} {
			if s.TransmitFailed[name] != want {
				t.Errorf("%s: %d, want %d", name, s.TransmitFailed[name], want)
			}
		}
		if s.Sent != 11 || s.Delivered != 3 {
			t.Errorf("%d sent, %d delivered", s.Sent, s.Delivered)
		}
	})
}

// TestReceived is what becomes of each frame that a module sends.
func TestReceived(t *testing.T) {
	data := []byte{2, 0x16}
	type want struct {
		addr      transports.Addr
		multicast bool
		signal    int8
	}
	id := uint64(0x0013A200_40000001)
	for _, test := range []struct {
		frame xbee.Frame
		want  want
	}{
		{xbee.Receive{From: id, From16: 7, Options: 0x01, Data: data}, want{addr: nodeNumber(1)}},
		{xbee.Receive{From: id, From16: 7, Options: 0x42, Data: data}, want{addr: nodeNumber(1), multicast: true}},
		{xbee.Receive{From: unknown64, From16: 0x0A0B, Data: data}, want{addr: shortAddr(0x0A0B)}},
		{xbee.ExplicitReceive{From: id, FromEndpoint: 0xE8, ToEndpoint: 0xE8, Options: 2, Data: data}, want{addr: nodeNumber(1), multicast: true}},
		{xbee.Receive64{From: id, RSSI: 0x28, Data: data}, want{addr: nodeNumber(1), signal: -40}},
		{xbee.Receive64{From: id, RSSI: 0x5F, Options: 2, Data: data}, want{addr: nodeNumber(1), multicast: true, signal: -95}},
		{xbee.Receive16{From: 0x0102, RSSI: 0xFF, Options: 4, Data: data}, want{addr: shortAddr(0x0102), multicast: true, signal: -128}},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, m, got := openRadio(t, nil)
			m.say(2, test.frame)
			d := wait(t, got)
			if (want{d.Addr, d.Multicast, d.Signal}) != test.want || !bytes.Equal(d.Data, data) {
				t.Errorf("%+v: received %+v", test.frame, d)
			}
			if s := l.Stats(); s.Signal != test.want.signal || s.Received != 1 {
				t.Errorf("%+v: %+v", test.frame, s)
			}
		})
	}
}

// TestNotReceived: other frames carry no datagram and do no harm.
func TestNotReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m, got := openRadio(t, nil)
		for _, f := range []xbee.Frame{
			xbee.ExplicitReceive{From: 1, Data: []byte{1}}, // endpoint 0: the network's own
			xbee.Unknown{Type: 0x92, Data: []byte{1, 2, 3}},
			xbee.ATResponse{ID: 1, Name: [2]byte{'N', 'P'}},
			xbee.Status802{ID: 0},
			xbee.TransmitStatus{ID: 77},
			xbee.TransmitStatus{ID: 0}, // the last that says which frames the module uses
			xbee.ModemStatus{Status: 2},
			xbee.NodeIdentification{From: 1, From16: 2, Node: 0x0013A200_40000001, Node16: 0x7777, Name: []byte("sensor")},
			xbee.Unknown{Type: xbee.TypeReceive, Data: []byte{1}}, // too short
		} {
			m.say(2, f)
		}
		send(t, l, nodeNumber(1), publish(0, 30))
		eventually(t, "all is read", func() bool { return l.Stats().Drops["malformed"] == 1 })
		s := settled(t, l)
		if len(got) != 0 || s.Received != 0 || s.Drops["unused"] != 3 || s.Modem != 1 {
			t.Errorf("%d received: %+v", len(got), s)
		}
		send(t, l, nodeNumber(1), publish(0, 30))
		settled(t, l)
		sent := m.transmissions()
		if f := sent[len(sent)-1].frame.(*xbee.Transmit); f.To16 != 0x7777 {
			t.Errorf("sent to %04X", f.To16)
		}
	})
}

// TestFirmware: the module is spoken to as it speaks.
func TestFirmware(t *testing.T) {
	zigbee := xbee.Receive{From: 0x0013A200_40000001, From16: 9, Data: []byte{2, 0x16}}
	old := xbee.Receive64{From: 0x0013A200_40000001, Data: []byte{2, 0x16}}
	for _, test := range []struct {
		firmware string
		heard    xbee.Frame
		to       transports.Addr
		want     string
	}{
		{firmwareAuto, nil, nodeNumber(1), "*xbee.Transmit"},
		{firmwareAuto, zigbee, nodeNumber(1), "*xbee.Transmit"},
		{firmwareAuto, old, nodeNumber(1), "*xbee.Transmit64"},
		{firmwareAuto, old, shortAddr(5), "*xbee.Transmit16"},
		{firmwareZigBee, old, nodeNumber(1), "*xbee.Transmit"},
		{firmwareZigBee, nil, shortAddr(5), "*xbee.Transmit"},
		{firmware802, nil, nodeNumber(1), "*xbee.Transmit64"},
		{firmware802, zigbee, shortAddr(5), "*xbee.Transmit16"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, m, got := openRadio(t, func(o *Options) { o.XBeeFirmware = test.firmware })
			if test.heard != nil {
				m.say(2, test.heard)
				wait(t, got)
			}
			data := publish(1, 20)
			send(t, l, test.to, data)
			accounted(t, settled(t, l))
			s := m.transmissions()[0]
			if got := fmt.Sprintf("%T", s.frame); got != test.want || s.to != test.to || !bytes.Equal(s.data, data) {
				t.Errorf("%+v: sent %s %+v", test, got, s.frame)
			}
		})
	}
}

func TestBroadcasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m, got := openRadio(t, nil)
		advertise := []byte{5, 0, 1, 0x03, 0x84}
		if err := l.Broadcast(transports.Addr{}, 2, advertise); err != nil {
			t.Fatal(err)
		}
		settled(t, l)
		f, ok := m.transmissions()[0].frame.(*xbee.Transmit)
		if !ok || f.To != xbee.Broadcast || f.To16 != xbee.Unknown16 || f.Radius != 2 || f.Options != 0 || !bytes.Equal(f.Data, advertise) {
			t.Errorf("%+v", f)
		}
		m.say(2, xbee.Receive64{From: 1, Data: []byte{2, 0x16}})
		wait(t, got)
		if err := l.Broadcast(transports.Addr{}, 2, advertise); err != nil {
			t.Fatal(err)
		}
		settled(t, l)
		if f, ok := m.transmissions()[1].frame.(*xbee.Transmit16); !ok || f.To != xbee.Broadcast16 || !bytes.Equal(f.Data, advertise) {
			t.Errorf("%+v", m.transmissions()[1].frame)
		}
		accounted(t, l.Stats())
	})
}

// TestRadioRefusals: a node that does not take its packets fills its own queue, all
// together the line's.
func TestRadioRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m, _ := openRadio(t, func(o *Options) { o.NodeQueue, o.Queue = 512, 2048 })
		m.status = func(transmission) (xbee.Delivery, time.Duration, bool) { return 0, 0, false }
		for n := range 6 {
			for {
				_, err := l.Send([]transports.Datagram{{Addr: nodeNumber(n), Data: publish(0, 46)}})
				if err == nil {
					continue
				}
				if !errors.Is(err, transports.ErrBusy) {
					t.Fatal(err)
				}
				break
			}
			synctest.Wait()
		}
		if _, err := l.Send([]transports.Datagram{{Addr: nodeNumber(1), Data: make([]byte, 81)}}); !errors.Is(err, errOversize) {
			t.Errorf("too long: %v", err)
		}
		if _, err := l.Send([]transports.Datagram{{Addr: peer, Data: make([]byte, 8)}}); !errors.Is(err, errUnknownPeer) {
			t.Errorf("no node: %v", err)
		}
		s := l.Stats()
		if s.Queued > 2048 || s.Queued < 2048-64 || s.Outstanding != 4 || s.Nodes < 4 {
			t.Errorf("%+v", s)
		}
		if s.Drops["node_queue_full"] == 0 || s.Drops["queue_full"] == 0 || s.Drops["oversize"] != 1 || s.Drops["unknown_peer"] != 1 {
			t.Errorf("%v", s.Drops)
		}
		m.reset(2)
		eventually(t, "the next are sent", func() bool { return l.Stats().Drops["no_status"] == 4 && l.Stats().Outstanding == 4 })
		close(m.port.gone)
		eventually(t, "the link is down", func() bool { return !l.Stats().Up && l.Stats().Nodes == 0 })
		s = l.Stats()
		if s.Queued != 0 || s.Outstanding != 0 || s.Drops["line_down"] == 0 || s.Drops["no_status"] != s.Sent {
			t.Errorf("%+v", s)
		}
	})
}

// TestKnownNodesAreBounded: whoever sends with ever new addresses fills a table, not memory.
func TestKnownNodesAreBounded(t *testing.T) {
	r := newRadio(optionsFor("fake", framingXBee), &counts{}, discard)
	for n := range maxKnown + 1000 {
		r.receive(xbee.Receive{From: uint64(n), From16: uint16(n) | 1, Data: []byte{1}}.Append(nil))
	}
	if len(r.known) != maxKnown {
		t.Errorf("%d nodes", len(r.known))
	}
	if got := r.known.addr16(nodeAddr(maxKnown + 998)); got != (maxKnown+998)|1 {
		t.Errorf("the last one heard has %04X", got)
	}
}

// FuzzRadio feeds a radio what a broken module may send while packets go out: it neither
// panics nor loses count.
func FuzzRadio(f *testing.F) {
	f.Add([]byte{7, 0x8B, 1, 0xFF, 0xFE, 0, 0, 0, 3, 0x89, 1, 0})
	f.Add([]byte{2, 0x8A, 0, 3, 0x81, 1, 2})
	f.Add(append([]byte{15}, xbee.Receive{From: 1, Data: []byte("abc")}.Append(nil)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		o := optionsFor("fake", framingXBee)
		o.Queue, o.NodeQueue = 512, 256
		r := newRadio(o, &counts{}, discard)
		now := time.Unix(1, 0)
		for step := 0; len(script) > 0; step++ {
			n := min(int(script[0]), len(script)-1)
			d, ok := r.receive(script[1 : 1+n])
			if ok && len(d.Addr.Node()) != 8 && len(d.Addr.Node()) != 2 {
				t.Fatalf("received %+v", d)
			}
			script = script[1+n:]
			r.put(nodeNumber(step%7), publish(1, 20))
			if ok {
				r.put(d.Addr, d.Data)
			}
			now = now.Add(time.Duration(n) * 100 * time.Millisecond)
			r.take(now, nil, 100)
			check(t, r)
		}
		r.lose(0)
		check(t, r)
	})
}

func check(t *testing.T, r *radio) {
	t.Helper()
	hand, doubtful, octets, packets := 0, 0, 0, 0
	for id, n := range r.hand {
		if n == nil {
			continue
		}
		if id == 0 || int(n.id) != id || r.nodes[n.addr] != n || slices.Contains(r.ready, n) {
			t.Fatalf("in hand as %d: %+v", id, n)
		}
		if hand++; n.doubt {
			doubtful++
		}
	}
	for _, n := range r.nodes {
		octets += n.queue.octets
		packets += len(n.queue.packets)
		if n.id == 0 && (len(n.queue.packets) == 0 || !slices.Contains(r.ready, n)) {
			t.Fatalf("forgotten: %+v", n)
		}
	}
	if hand != r.outstanding || hand > r.window || doubtful != r.doubtful || octets != r.waiting || octets > r.max || packets != r.packets {
		t.Fatalf("%d in hand, %d in doubt, %d octets, %d packets: %+v", hand, doubtful, octets, packets, r)
	}
}

// TestModesOverTheWire: all octets pass in both modes.
func TestModesOverTheWire(t *testing.T) {
	for mode := 1; mode <= 2; mode++ {
		synctest.Test(t, func(t *testing.T) {
			l, m, got := openRadio(t, func(o *Options) { o.APIMode = mode })
			for i := range 256 { // every octet, escaped where it has to be
				data := bytes.Repeat([]byte{byte(i)}, 20)
				send(t, l, nodeNumber(i), data)
				m.port.in <- framing.XBee(mode).Append(nil, xbee.Receive{From: uint64(i), Data: data}.Append(nil))
				if d := wait(t, got); !bytes.Equal(d.Data, data) {
					t.Fatalf("received % x", d.Data)
				}
				settled(t, l)
				if sent := m.transmissions(); !bytes.Equal(sent[i].data, data) {
					t.Fatalf("sent % x", sent[i].data)
				}
			}
		})
	}
}
