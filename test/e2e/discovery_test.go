package e2e

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// Group D of the checklist: discovery. The multicast group of a test is Paho's, at a port
// of its own and on the loopback interface.
var discovering = overMedia(table{
	"D02": everyMedium(does(func(r *rig) { advertised(r, r.device("cli-1")) }, advertiseOften)),
	"D04": everyMedium(does(silentWithoutBroker, brokerDown, advertiseOften)),
	"D08": {
		string(overRaw):  absent(oneOnALine),
		string(overSLIP): absent(oneOnALine),
		string(overCOBS): absent(oneOnALine),
		string(overXBee): does(searchByRadio),
	},
}, searches, announcements)

const oneOnALine = "there is one device on a line, so it asks nobody but the gateway"

func TestDiscovery(t *testing.T) { run(t, discovering...) }

const gwInfo = "03 02 01" // the GwId is 1 by default, and a gateway adds no address

var searches = table{
	"D01": both(func(r *rig) {
		d := r.device("cli-1")
		d.ask("03 01 01", gwInfo)
		if after := d.got.Sub(d.sent); after > time.Second+slack {
			r.Errorf("GWINFO after %v", after)
		}
		d.silent(moment)
	}),
	"D03": both(func(r *rig) { // who asks is answered, and nobody else
		d, other := r.device("cli-1"), r.device("cli-2")
		for _, radius := range []string{"00", "01", "FF"} {
			d.ask("03 01 "+radius, gwInfo)
		}
		other.silent(moment)
		d.silent(moment)
	}),
	"D05": both(func(r *rig) {
		d, stranger := r.client(cleanSession), r.device("stranger")
		for _, frame := range []string{"02 01", "04 01 01 00"} {
			stranger.tell(frame)
			d.tell(frame)
			d.alive()
		}
		stranger.silent(moment)
	}),
	"D06": both(func(r *rig) { // other gateways (A40)
		d, stranger := r.client(cleanSession), r.device("stranger")
		for _, frame := range []string{"05 00 02 03 84", "03 02 02", "09 02 02 0A 00 00 05 27 10"} {
			stranger.tell(frame)
			d.tell(frame)
			d.alive()
		}
		stranger.silent(moment)
	}),
	"D07": both(func(r *rig) { // from a connected client, and from a sleeper, who goes on as it was
		d := asleep(r, cleanSession)
		r.queue(1)
		d.ask("03 01 01", gwInfo)
		d.silent(moment)
		d.tell(d.wakeFrame())
		d.drain(0, 1)
		d.connect(cleanSession, minute)
		d.ask("03 01 01", gwInfo)
		d.subscribe("s/temp", 1)
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
		d.alive()
	}),
	"D08": both(func(r *rig) { // the answer goes as far as the question, and not beyond what is configured
		d, group := r.groupDevice("cli-1")
		for _, ask := range []struct {
			radius string
			hops   int
		}{{"01", 1}, {"02", 2}, {"00", 3}, {"09", 3}} {
			d.ask("03 01 "+ask.radius, gwInfo)
			if hops := group.hops(); hops != ask.hops {
				r.Errorf("GWINFO to a SEARCHGW of radius %s with %d hops, want %d", ask.radius, hops, ask.hops)
			}
		}
	}, inGroup),
}

var announcements = table{
	"D02": both(func(r *rig) {
		d, _ := r.groupDevice("cli-1")
		advertised(r, d)
	}, inGroup, advertiseOften),
	"D04": {
		embedded: absent("the embedded broker is there as long as the gateway is"),
		upstream: does(func(r *rig) {
			d, group := r.groupDevice("cli-1")
			d.tell("03 01 01")
			d.silent(moment)
			silentWithoutBroker(r)
			d.expect("05 00 01 00 02")
			if group.from() != netip.MustParseAddrPort(r.gateway.udp) {
				r.Errorf("ADVERTISE comes from %v, and the gateway is at %s", group.from(), r.gateway.udp)
			}
		}, inGroup, brokerDown, advertiseOften),
	},
}

const advertisePeriod = 2 * time.Second

func advertiseOften(p *plan) { p.keys["gateway.advertise"] = advertisePeriod.String() }

// advertised has a device see some ADVERTISEs, which tell their true period.
func advertised(r *rig, d *device) {
	const periods = 3
	d.expect("05 00 01 00 02")
	first := d.got
	for range periods {
		d.expect("05 00 01 00 02")
	}
	if took := d.got.Sub(first); took < (periods-1)*advertisePeriod || took > periods*advertisePeriod+slack {
		r.Errorf("%d ADVERTISEs of %v took %v", periods, advertisePeriod, took)
	}
}

// silentWithoutBroker: a gateway that has no broker does not announce itself, and does not
// answer (A31). It does both as soon as it has one.
func silentWithoutBroker(r *rig) {
	d := r.device("cli-1")
	d.tell("03 01 01")
	d.silent(advertisePeriod * 3 / 2)
	r.mosquitto = startMosquittoAt(r.T, r.plan, r.gateway.mqtt)
	for found := false; !found; {
		d.tell("03 01 01")
		b := d.read(moment)
		found = b != nil && match(gwInfo, nil, b) == nil
	}
	if r.medium != overUDP {
		for !d.next("05 00 01 00 02") {
			d.expect(gwInfo)
		}
	}
}

// inGroup has the gateway use a multicast group, up to three hops away.
func inGroup(p *plan) { p.inGroup = true }

// freeGroup is a multicast group that no other test uses.
func freeGroup(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("225.1.1.1", port)
}

// groupArgs are the flags for a group.
func groupArgs(group string) []string {
	return []string{
		"--set", "udp.0.groups=[" + group + "]", "--set", "udp.0.group_interfaces=[" + loopback + "]", "--set", "udp.0.group_hops=3",
	}
}

// loopback is the interface of 127.0.0.1.
var loopback = func() string {
	all, _ := net.Interfaces()
	i := slices.IndexFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if i < 0 {
		return "lo"
	}
	return all[i].Name
}()

// groupConn is a device that sends to a multicast group and hears what others send to it.
type groupConn struct {
	net.PacketConn
	group  *net.UDPAddr
	heard  *ipv4.PacketConn
	speaks *net.UDPConn
	// what came last.
	lastHops int
	lastFrom netip.AddrPort
}

// groupDevice is a device in the gateway's group.
func (r *rig) groupDevice(id string) (*device, *groupConn) {
	r.Helper()
	var g *groupConn
	d := newDeviceOn(r.T, func() net.Conn {
		g = joinGroup(r.T, r.plan.group)
		return g
	}, id)
	return d, g
}

func joinGroup(t testing.TB, addr string) *groupConn {
	t.Helper()
	group, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	lo, err := net.InterfaceByName(loopback)
	if err != nil {
		t.Fatal(err)
	}
	hears, err := net.ListenMulticastUDP("udp4", lo, group)
	if err != nil {
		t.Fatal(err)
	}
	speaks, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = speaks.Close() })
	out, in := ipv4.NewPacketConn(speaks), ipv4.NewPacketConn(hears)
	for _, err := range []error{out.SetMulticastInterface(lo), out.SetMulticastLoopback(true), in.SetControlMessage(ipv4.FlagTTL, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &groupConn{PacketConn: hears, group: group, heard: in, speaks: speaks}
}

func (g *groupConn) hops() int            { return g.lastHops }
func (g *groupConn) from() netip.AddrPort { return g.lastFrom }
func (g *groupConn) RemoteAddr() net.Addr { return g.group }
func (g *groupConn) LocalAddr() net.Addr  { return g.speaks.LocalAddr() }
func (g *groupConn) me() netip.AddrPort   { return g.speaks.LocalAddr().(*net.UDPAddr).AddrPort() }
func (g *groupConn) Write(b []byte) (int, error) {
	return g.speaks.WriteTo(b, g.group)
}

// Read leaves out what the device itself has sent.
func (g *groupConn) Read(b []byte) (int, error) {
	for {
		n, control, from, err := g.heard.ReadFrom(b)
		if err != nil {
			return 0, err
		}
		addr := from.(*net.UDPAddr).AddrPort()
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		if addr == g.me() {
			continue
		}
		g.lastFrom = addr
		if control != nil {
			g.lastHops = control.TTL
		}
		return n, nil
	}
}

// searchByRadio is D08 for a radio network: the answer is a broadcast of the same radius,
// which every node hears.
func searchByRadio(r *rig) {
	network := r.network.(*radio)
	d, other := r.device("cli-1"), r.device("cli-2")
	searcher := d.conn.(*node)
	for i, radius := range []byte{1, 2, 0} {
		if err := searcher.transmit([]byte{3, 1, radius}, receivedAll); err != nil {
			r.Fatal(err)
		}
		d.expect(gwInfo)
		other.expect(gwInfo)
		network.mu.Lock()
		got := slices.Clone(network.broadcasts)
		network.mu.Unlock()
		if len(got) != i+1 || got[i] != radius {
			r.Errorf("broadcasts of the radii %d, the last SEARCHGW had %d", got, radius)
		}
	}
}
