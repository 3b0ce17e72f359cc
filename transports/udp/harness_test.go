package udp

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; nothing waits that long unless it fails.
const patience = 30 * time.Second

type opener = opening

// sockets are the ways to move datagrams that this platform can run.
var sockets = map[string]opener{
	"platform": newSocket,
	"portable": func(c *net.UDPConn, o Options, d *counters) (socket, error) { return newPortableSocket(c, o, d), nil },
}

// onEach runs a test over every socket.
func onEach(t *testing.T, test func(t *testing.T, open opener)) {
	for name, open := range sockets {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// loopbacks are the loopback hosts of this machine; IPv6 may be switched off.
func loopbacks() []string {
	hosts := []string{"127.0.0.1"}
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err == nil {
		_ = c.Close()
		hosts = append(hosts, "::1")
	}
	return hosts
}

func testOptions(host string) Options {
	o := DefaultOptions()
	o.Listen = net.JoinHostPort(host, "0")
	return o
}

func openLink(t testing.TB, o Options, open opener) *Link {
	t.Helper()
	l, err := listen(o, open, interfaces, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// serve runs Serve until the end of the test.
func serve(t testing.TB, l *Link, recv func([]transports.Datagram)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, recv) }()
	t.Cleanup(func() {
		cancel()
		if err := wait(t, done); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// collect serves l and passes copies of what arrives.
func collect(t testing.TB, l *Link) <-chan transports.Datagram {
	t.Helper()
	got := make(chan transports.Datagram, 1<<16)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			d.Data = bytes.Clone(d.Data)
			got <- d
		}
	})
	return got
}

// echo serves l and sends back what arrives, from where it arrived.
func echo(t testing.TB, l *Link) {
	t.Helper()
	serve(t, l, func(batch []transports.Datagram) {
		if sent, err := l.Send(batch); sent != len(batch) {
			t.Errorf("Send took %d of %d: %v", sent, len(batch), err)
		}
	})
}

func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// dial connects a client's socket: it takes answers from the address it asked only.
func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func write(t testing.TB, c *net.UDPConn, data []byte) {
	t.Helper()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, maxMTU+1)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func localAddrOf(c *net.UDPConn) transports.Addr {
	a := c.LocalAddr().(*net.UDPAddr)
	return transports.IPAddr(a.AddrPort(), zoneIndex(a.Zone))
}
