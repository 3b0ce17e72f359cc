package forward

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

// patience bounds every wait of these tests; nothing waits that long unless it fails.
const patience = 30 * time.Second

// loopbacks are the loopback hosts of this machine; IPv6 may be switched off.
func loopbacks() []string {
	hosts := []string{"127.0.0.1"}
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err == nil {
		_ = c.Close()
		hosts = append(hosts, "::1")
	}
	return hosts
}

func listen(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// running runs a forwarder with UDP links until the end of the test; prepare may be nil.
func running(t testing.TB, o Options, log *slog.Logger, prepare func(*Forwarder)) (*Forwarder, []*udp.Link) {
	t.Helper()
	var devices []*udp.Link
	var links []transports.Link
	for _, host := range loopbacks() {
		uo := udp.DefaultOptions()
		uo.Listen = net.JoinHostPort(host, "0")
		l, err := udp.Listen(uo)
		if err != nil {
			t.Fatal(err)
		}
		devices, links = append(devices, l), append(links, l)
	}
	f, err := New(o, links, log)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run has not returned")
		}
	})
	for deadline := time.Now().Add(patience); f.Stats().Sockets == 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no socket to the gateway")
		}
	}
	return f, devices
}

func (q *queue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.opened
}

func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a PINGREQ through the forwarder to gateway and its answer back.
func ask(t *testing.T, device, gateway *net.UDPConn) (from netip.AddrPort) {
	t.Helper()
	b := make([]byte, 100)
	if _, err := device.Write(mqttsn.Pingreq{}.Append(nil)); err != nil {
		t.Fatal(err)
	}
	n, from, err := gateway.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mqttsn.Decode(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	e := *p.(*mqttsn.Encapsulated)
	e.Packet = mqttsn.Pingresp{}.Append(nil)
	if _, err := gateway.WriteToUDPAddrPort(e.Append(nil), from); err != nil {
		t.Fatal(err)
	}
	if n, err = device.Read(b); err != nil || string(b[:n]) != "\x02\x17" {
		t.Fatalf("got % X, %v", b[:n], err)
	}
	return from
}

// TestOverUDP: with real sockets, on each IP version, through a restart of the gateway.
func TestOverUDP(t *testing.T) {
	for _, host := range loopbacks() {
		t.Run(host, func(t *testing.T) {
			gateway := listen(t, net.JoinHostPort(host, "0"))
			address := gateway.LocalAddr().String()
			o := DefaultOptions()
			o.To, o.Local = address, net.JoinHostPort(host, "0")
			log := &journal{}
			f, links := running(t, o, log.logger(slog.LevelInfo), nil)
			var devices []*net.UDPConn
			for _, l := range links {
				devices = append(devices, dial(t, l.Addr()), dial(t, l.Addr()))
			}
			before := ask(t, devices[0], gateway)

			// Nobody listens there.
			_ = gateway.Close()
			for deadline := time.Now().Add(patience); f.Stats().Unreachable == 0; <-time.After(time.Millisecond) {
				if _, err := devices[0].Write(mqttsn.Pingreq{}.Append(nil)); err != nil {
					t.Fatal(err)
				}
				if time.Now().After(deadline) {
					t.Fatal("the system does not say that nobody listens")
				}
			}
			gateway = listen(t, address)
			for _, d := range devices {
				if now := ask(t, d, gateway); now != before {
					t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
				}
			}
			if log.count("cannot be reached") != 1 || log.count("answers again") != 1 {
				t.Errorf("logged:\n%s", log.text.String())
			}

			// Nobody else speaks for the gateway.
			stranger := listen(t, net.JoinHostPort(host, "0"))
			if _, err := stranger.WriteToUDPAddrPort(octets(t, "02 17"), before); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				ask(t, devices[0], gateway)
			}
			if n := f.droppedAll(); n != 0 {
				t.Errorf("%+v", f.Stats())
			}
		})
	}
}

// TestFreshUDPSocket: a lost socket comes back at the same port.
func TestFreshUDPSocket(t *testing.T) {
	gateway := listen(t, "127.0.0.1:0")
	o := DefaultOptions()
	o.To = gateway.LocalAddr().String()
	sockets := make(chan net.Conn, 10)
	f, links := running(t, o, slog.New(slog.DiscardHandler), func(f *Forwarder) {
		f.uplink.open = func(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
			c, err := openSocket(ctx, local, remote)
			if err == nil {
				sockets <- c
			}
			return c, err
		}
	})
	d := dial(t, links[0].Addr())
	before := ask(t, d, gateway)
	_ = (<-sockets).Close()
	<-sockets
	for deadline := time.Now().Add(patience); !f.uplink.queue.isOpen(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the fresh socket is not used")
		}
	}
	if now := ask(t, d, gateway); now != before {
		t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
	}
	// Which another program may have taken in between.
	if _, err := openSocket(t.Context(), netip.AddrPortFrom(netip.Addr{}, before.Port()), netip.MustParseAddrPort(o.To)); !isBindError(err) {
		t.Errorf("a port was given twice: %v", err)
	}
}

// TestBadDatagramsOverUDP: the empty one ends nothing.
func TestBadDatagramsOverUDP(t *testing.T) {
	gateway := listen(t, "127.0.0.1:0")
	o := DefaultOptions()
	o.To = gateway.LocalAddr().String()
	f, links := running(t, o, slog.New(slog.DiscardHandler), nil)
	d := dial(t, links[0].Addr())
	forwarder := ask(t, d, gateway)
	for _, bad := range []string{"", "02 17"} {
		if _, err := gateway.WriteToUDPAddrPort(octets(t, bad), forwarder); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, d, gateway)
	if st := f.Stats(); st.Dropped["gateway_malformed"] != 1 || st.Dropped["gateway_plain"] != 1 || f.droppedAll() != 2 {
		t.Errorf("%+v", st)
	}
}

func TestResolveHost(t *testing.T) {
	for host, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "localhost": "127.0.0.1"} {
		got, err := resolveHost(t.Context(), host)
		if err != nil || len(got) == 0 || got[0].String() != want {
			t.Errorf("%s: %v, %v", host, got, err)
		}
	}
	if got, err := resolveHost(t.Context(), "no.such.host.invalid"); err == nil {
		t.Errorf("got %v", got)
	}
}
