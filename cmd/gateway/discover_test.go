package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/gateway/dnssd"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

// loopbackName is the interface that these tests search on.
func loopbackName(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	t.Fatal("no loopback interface")
	return ""
}

// freeUDPPort is a port that nobody has at the moment.
func freeUDPPort(t *testing.T) uint16 {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// groupGateway is a gateway that is heard on a group: it answers SEARCHGW with packets, to
// the group or to who asked.
func groupGateway(t *testing.T, listen, group string, answer func(l *udp.Link, d transports.Datagram)) *udp.Link {
	t.Helper()
	o := udp.DefaultOptions()
	o.Listen = listen
	if group != "" {
		o.Groups, o.GroupInterfaces = []string{group}, []string{loopbackName(t)}
	}
	l, err := udp.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- l.Serve(context.Background(), func(batch []transports.Datagram) {
			for _, d := range batch {
				if p, err := mqttsn.Decode(d.Data); err == nil && p.Type() == mqttsn.TypeSearchGW {
					answer(l, d)
				}
			}
		})
	}()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

func toGroup(packets ...mqttsn.Packet) func(*udp.Link, transports.Datagram) {
	return func(l *udp.Link, d transports.Datagram) {
		for _, p := range packets {
			_ = l.Broadcast(d.Local, 1, p.Append(nil))
		}
	}
}

func toSender(p mqttsn.Packet) func(*udp.Link, transports.Datagram) {
	return func(l *udp.Link, d transports.Datagram) {
		d.Data = p.Append(nil)
		_, _ = l.Send([]transports.Datagram{d})
	}
}

// TestDiscover: gateways are found by what they say to the group, whether the group's port
// is theirs or not, and by what they say to this program alone.
func TestDiscover(t *testing.T) {
	lo := loopbackName(t)
	for _, c := range []struct {
		name, listen string
		answer       func(*udp.Link, transports.Datagram)
		want         string
	}{
		{"group", "127.0.0.1:0", toGroup(mqttsn.GWInfo{GatewayID: 3}), "GWINFO"},
		{"group at its port", "", toGroup(mqttsn.GWInfo{GatewayID: 3}), "GWINFO"},
		{"sender", "127.0.0.1:0", toSender(mqttsn.GWInfo{GatewayID: 3}), "GWINFO"},
		{"advertise", "127.0.0.1:0", toGroup(mqttsn.Advertise{GatewayID: 3, Duration: 900}), "ADVERTISE every 15m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := freeUDPPort(t)
			group := fmt.Sprintf("225.1.1.1:%d", port)
			listen := c.listen
			if listen == "" {
				listen = fmt.Sprintf(":%d", port)
			}
			l := groupGateway(t, listen, group, c.answer)
			out, log, err := tool(t, discoverCommand(), "", "--group", group, "--interface", lo, "--dnssd=false", "--timeout", "30s", "-C", "1")
			if err != nil || log != "" {
				t.Fatalf("%v, stderr %q", err, log)
			}
			fields := strings.Fields(strings.TrimSpace(out))
			if len(fields) < 5 || fields[0] != "gateway" || fields[1] != "3" || fields[3] != lo || strings.Join(fields[4:], " ") != c.want {
				t.Fatalf("%q", out)
			}
			if at, err := netip.ParseAddrPort(fields[2]); err != nil || at.Port() != l.Addr().Port() {
				t.Errorf("address %s, the gateway listens at %v", fields[2], l.Addr())
			}
		})
	}
}

// TestDiscoverHere: a gateway without groups is found on this machine, though nobody else
// could find it.
func TestDiscoverHere(t *testing.T) {
	port := freeUDPPort(t)
	groupGateway(t, fmt.Sprintf("127.0.0.1:%d", port), "", toSender(mqttsn.GWInfo{GatewayID: 9}))
	out, _, err := tool(t, discoverCommand(), "", "--group", fmt.Sprintf("225.1.1.1:%d", port), "--dnssd=false", "--timeout", "30s", "-C", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var s sighting
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s.ID != 9 || s.Address != fmt.Sprintf("127.0.0.1:%d", port) || !s.GWInfo {
		t.Errorf("%+v", s)
	}
}

// TestDiscoverBesideAStranger: the group's port is held by a program that does not share.
func TestDiscoverBesideAStranger(t *testing.T) {
	stranger, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := stranger.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = stranger.WriteToUDPAddrPort(mqttsn.GWInfo{GatewayID: 4}.Append(nil), from)
		}
	}()
	port := stranger.LocalAddr().(*net.UDPAddr).Port
	out, log, err := tool(t, discoverCommand(), "", "--group", fmt.Sprintf("225.1.1.1:%d", port), "--dnssd=false", "--timeout", "30s", "-C", "1")
	if err != nil || !strings.HasPrefix(out, "gateway 4") {
		t.Errorf("%v, %q", err, out)
	}
	if !strings.Contains(log, "only answers to this program alone are heard") || !strings.Contains(log, fmt.Sprint(port)) {
		t.Errorf("stderr %q", log)
	}
}

func TestDiscoverHost(t *testing.T) {
	l := groupGateway(t, "127.0.0.1:0", "", toSender(mqttsn.GWInfo{GatewayID: 5}))
	out, log, err := tool(t, discoverCommand(), "", "--host", l.Addr().String())
	if want := fmt.Sprintf("gateway 5  %v  %s  GWINFO\n", l.Addr(), loopbackName(t)); err != nil || log != "" || out != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, _, err = tool(t, discoverCommand(), "", "--host", silent.LocalAddr().String(), "--timeout", "100ms")
	if err == nil || !strings.Contains(err.Error(), "no answer from "+silent.LocalAddr().String()) || exitStatus(err) != 1 {
		t.Error(err)
	}
}

func TestDiscoverByDNSSD(t *testing.T) {
	lo := loopbackName(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		dnssd.Serve(ctx, dnssd.Options{Name: "discover test", Interfaces: []string{lo}},
			dnssd.Service{Addr: netip.MustParseAddrPort("127.0.0.1:1999"), GatewayID: 6, DTLSPort: 8883},
			func() bool { return true }, slog.New(slog.DiscardHandler))
	}()
	defer func() { cancel(); <-done }()
	group := fmt.Sprintf("225.1.1.1:%d", freeUDPPort(t))
	out, _, err := tool(t, discoverCommand(), "", "--group", group, "--interface", lo, "--timeout", "30s", "-C", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var s sighting
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s != (sighting{ID: 6, Address: "127.0.0.1:1999", Name: "discover test", DTLSPort: 8883}) {
		t.Errorf("%+v", s)
	}
}

func TestDiscoverErrors(t *testing.T) {
	group := fmt.Sprintf("225.1.1.1:%d", freeUDPPort(t))
	for args, want := range map[string]string{
		"--group 192.0.2.1:1883":                        "--group: \"192.0.2.1:1883\" is not allowed",
		"--timeout 0s":                                  "--timeout is 0s",
		"--host 127.0.0.1 --group 225.1.1.1:1883":       "none of the others can be",
		"--host no.such.host.invalid --timeout 20s":     "--host no.such.host.invalid: ",
		"--interface none0 --dnssd=false":               "none of group_interfaces (none0) is up",
		"--dnssd=false --timeout 50ms --group " + group: "no gateway was heard in 50ms",
	} {
		_, _, err := tool(t, discoverCommand(), "", strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) || exitStatus(err) != 1 {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	_, log, err := tool(t, discoverCommand(), "", "--interface", "none0", "--timeout", "50ms")
	if err == nil || !strings.Contains(log, "searching by DNS-SD alone") || !strings.Contains(log, "not searching by DNS-SD") {
		t.Errorf("%v, stderr %q", err, log)
	}
}

// TestSightings: what is heard of one address is one gateway.
func TestSightings(t *testing.T) {
	f := &sightings{by: map[string]*sighting{}}
	from := transports.IPAddr(netip.MustParseAddrPort("192.0.2.1:1883"), 0)
	device := transports.IPAddr(netip.MustParseAddrPort("192.0.2.99:5000"), 0)
	f.receive([]transports.Datagram{
		{Addr: from, Data: mqttsn.Advertise{GatewayID: 1, Duration: 60}.Append(nil)},
		{Addr: from, Data: mqttsn.SearchGW{}.Append(nil)},
		{Addr: from, Data: []byte("rubbish")},
		{Addr: device, Data: mqttsn.GWInfo{GatewayID: 2, Address: []byte{192, 0, 2, 2, 0x07, 0x5B}}.Append(nil)},
		{Addr: device, Data: mqttsn.GWInfo{GatewayID: 3, Address: []byte{192, 0, 2, 3}}.Append(nil)},
		{Addr: device, Data: mqttsn.GWInfo{GatewayID: 4, Address: []byte{1}}.Append(nil)},
	})
	f.announced(dnssd.Gateway{Name: "a\x1b[2J", Addr: netip.MustParseAddrPort("192.0.2.1:1883"), ID: -1, DTLSPort: 8883})
	f.announced(dnssd.Gateway{Name: "b", Addr: netip.MustParseAddrPort("192.0.2.5:1883"), ID: -1})
	f.receive([]transports.Datagram{{Addr: from, Data: mqttsn.GWInfo{GatewayID: 1}.Append(nil)}})
	var b strings.Builder
	if err := printTable(&b, f.list()); err != nil {
		t.Fatal(err)
	}
	want := `gateway ?  192.0.2.5:1883  -  DNS-SD "b"
gateway 1  192.0.2.1:1883  -  GWINFO, ADVERTISE every 1m0s, DNS-SD "a\x1b[2J", DTLS on port 8883
gateway 2  192.0.2.2:1883  -  GWINFO from the client at 192.0.2.99:5000
gateway 3  192.0.2.3       -  GWINFO from the client at 192.0.2.99:5000
gateway 4  01              -  GWINFO from the client at 192.0.2.99:5000
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for i := range 2 * maxSightings {
		f.note(sighting{Address: fmt.Sprint(i)})
	}
	if len(f.by) != maxSightings {
		t.Errorf("%d kept", len(f.by))
	}
	if err := printJSON(io.Discard, f.list()); err != nil {
		t.Error(err)
	}
}

// TestDiscoverInterrupted: what was heard until then is printed.
func TestDiscoverInterrupted(t *testing.T) {
	port := freeUDPPort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answered := false
	groupGateway(t, fmt.Sprintf("127.0.0.1:%d", port), "", func(l *udp.Link, d transports.Datagram) {
		if answered { // the answer to the first search has been heard when a second comes
			cancel()
		}
		answered = true
		toSender(mqttsn.GWInfo{GatewayID: 8})(l, d)
	})
	var out strings.Builder
	cmd := discoverCommand()
	cmd.SetArgs([]string{"--group", fmt.Sprintf("225.1.1.1:%d", port), "--dnssd=false", "--timeout", "1h"})
	cmd.SetOut(&out)
	if err := cmd.ExecuteContext(ctx); err != nil || !strings.HasPrefix(out.String(), "gateway 8") {
		t.Errorf("%v, %q", err, out.String())
	}
}
