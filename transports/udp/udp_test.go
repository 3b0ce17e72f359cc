package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"mqttsn-gateway/transports"
)

var _ interface {
	transports.Link
	transports.Broadcaster
	transports.DropCounter
} = (*Link)(nil)

func TestReceivedDatagram(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		for _, host := range loopbacks() {
			l := openLink(t, testOptions(host), open)
			got := collect(t, l)
			c := dial(t, l.Addr())
			write(t, c, []byte("hello"))
			d := wait(t, got)
			if d.Addr != localAddrOf(c) || d.Local != transports.IPAddr(l.Addr(), 0) || string(d.Data) != "hello" {
				t.Errorf("%s: got %v to %v: %q", host, d.Addr, d.Local, d.Data)
			}
		}
	})
}

// TestWildcard: one socket serves IPv4 and IPv6, and the sender of an IPv4 datagram
// looks the same as through an IPv4 socket.
func TestWildcard(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		for _, host := range []string{"", "0.0.0.0", "::"} {
			l := openLink(t, testOptions(host), open)
			got := collect(t, l)
			for _, asked := range loopbacks() {
				c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(asked), l.Addr().Port()))
				write(t, c, []byte("ping"))
				d := wait(t, got)
				if d.Addr != localAddrOf(c) {
					t.Errorf("%q, %s: from %v, want %v", host, asked, d.Addr, localAddrOf(c))
				}
				d.Data = []byte("pong")
				if sent, err := l.Send([]transports.Datagram{d}); sent != 1 || err != nil {
					t.Fatalf("%q, %s: Send: %d, %v", host, asked, sent, err)
				}
				if b := read(t, c); string(b) != "pong" {
					t.Errorf("%q, %s: %q", host, asked, b)
				}
			}
		}
	})
}

// TestLinkLocal reaches this machine at each of its link-local addresses, if it has any.
func TestLinkLocal(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, open opener) {
		l := openLink(t, testOptions(""), open)
		got := collect(t, l)
		for _, ifi := range interfaces {
			addrs, _ := ifi.Addrs()
			for _, a := range addrs {
				ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP)
				if !ok || !ip.Is6() || ip.Is4In6() || !ip.IsLinkLocalUnicast() || ifi.Flags&net.FlagUp == 0 {
					continue
				}
				c := dial(t, netip.AddrPortFrom(ip.WithZone(ifi.Name), l.Addr().Port()))
				write(t, c, []byte("ping"))
				d := wait(t, got)
				if _, zone, _ := d.Addr.AddrPort(); zone != uint32(ifi.Index) {
					t.Errorf("%s: came from zone %d, want %d", ifi.Name, zone, ifi.Index)
				}
				if sent, err := l.Send([]transports.Datagram{d}); sent != 1 {
					t.Fatalf("%s: Send: %v", ifi.Name, err)
				}
				if b := read(t, c); string(b) != "ping" {
					t.Errorf("%s: %q", ifi.Name, b)
				}
			}
		}
	})
}

func TestOrder(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		const n = 2000 // fits the receive buffer many times over
		l := openLink(t, testOptions("127.0.0.1"), open)
		echo(t, l)
		peer := openLink(t, testOptions("127.0.0.1"), open)
		got := collect(t, peer)
		batch := make([]transports.Datagram, n)
		for i := range batch {
			batch[i] = transports.Datagram{Addr: transports.IPAddr(l.Addr(), 0), Data: binary.BigEndian.AppendUint32(nil, uint32(i))}
		}
		for at := 0; at < n; at += 100 {
			for left := batch[at : at+100]; len(left) > 0; {
				sent, err := peer.Send(left)
				if err != nil && !errors.Is(err, transports.ErrBusy) {
					t.Fatal(err)
				}
				left = left[sent:]
			}
			for i := at; i < at+100; i++ {
				if d := wait(t, got); binary.BigEndian.Uint32(d.Data) != uint32(i) {
					t.Fatalf("datagram %d came at place %d", binary.BigEndian.Uint32(d.Data), i)
				}
			}
		}
	})
}

func TestEverySize(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		o := testOptions("127.0.0.1")
		o.MTU, o.Batch = maxMTU, 4
		l := openLink(t, o, open)
		echo(t, l)
		c := dial(t, l.Addr())
		rng := rand.New(rand.NewPCG(1, 2))
		for _, size := range []int{0, 1, 2, 3, 255, 256, 257, 1400, 1401, 1472, 1473, 9000, 65506, 65507, 0} {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			write(t, c, data)
			if got := read(t, c); !bytes.Equal(got, data) {
				t.Errorf("%d octets: %d came back, or others", size, len(got))
			}
		}
	})
}

// TestTooLong: a datagram above the MTU is dropped and counted, in either direction,
// and those around it are not.
func TestTooLong(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		o := testOptions("127.0.0.1")
		o.MTU = 100
		l := openLink(t, o, open)
		got := collect(t, l)
		c := dial(t, l.Addr())
		for _, size := range []int{100, 101, 1, 65507, 99} {
			write(t, c, make([]byte, size))
		}
		for _, size := range []int{100, 1, 99} {
			if d := wait(t, got); len(d.Data) != size {
				t.Errorf("got %d octets, want %d", len(d.Data), size)
			}
		}
		to := localAddrOf(c)
		sent, err := l.Send([]transports.Datagram{
			{Addr: to, Data: make([]byte, 100)}, {Addr: to, Data: make([]byte, 101)}, {Addr: to, Data: make([]byte, 2)},
		})
		if sent != 2 || !errors.Is(err, errTooLarge) {
			t.Errorf("Send: %d, %v", sent, err)
		}
		for _, size := range []int{100, 2} {
			if b := read(t, c); len(b) != size {
				t.Errorf("client got %d octets, want %d", len(b), size)
			}
		}
		if want := (Drops{Truncated: 2, Oversize: 1}); l.Drops() != want {
			t.Errorf("Drops: %+v, want %+v", l.Drops(), want)
		}
	})
}

// TestUnsendable: a receiver that cannot be reached costs the others nothing.
func TestUnsendable(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		l := openLink(t, testOptions("127.0.0.1"), open)
		collect(t, l)
		c := dial(t, l.Addr())
		closed := dial(t, l.Addr())
		gone := localAddrOf(closed)
		_ = closed.Close()
		to, data := localAddrOf(c), []byte("x")
		unreachable := []transports.Addr{
			{}, transports.NumberAddr(7), transports.NodeAddr([]byte{1, 2}),
			transports.IPAddr(netip.MustParseAddrPort("[::1]:1883"), 0),
			transports.IPAddr(netip.MustParseAddrPort("127.0.0.1:0"), 0),
		}
		var batch []transports.Datagram
		for _, bad := range unreachable {
			batch = append(batch, transports.Datagram{Addr: bad, Data: data}, transports.Datagram{Addr: gone, Data: data},
				transports.Datagram{Addr: to, Data: data})
		}
		for round := range 3 { // the refusals of one round have arrived when the next goes out
			sent, err := l.Send(batch)
			if sent != len(batch)-len(unreachable) || err == nil {
				t.Errorf("round %d: sent %d of %d: %v", round, sent, len(batch), err)
			}
			for range unreachable {
				read(t, c)
			}
		}
		if want := (Drops{Unsendable: uint64(3 * len(unreachable))}); l.Drops() != want {
			t.Errorf("Drops: %+v, want %+v", l.Drops(), want)
		}
	})
}

func TestServeEnds(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		for name, end := range map[string]func(l *Link, cancel func()){
			"ctx":   func(_ *Link, cancel func()) { cancel() },
			"Close": func(l *Link, _ func()) { _ = l.Close() },
			"both":  func(l *Link, cancel func()) { cancel(); _ = l.Close(); _ = l.Close() },
		} {
			l := openLink(t, testOptions("127.0.0.1"), open)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			arrived, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- l.Serve(ctx, func([]transports.Datagram) { close(arrived) }) }()
			write(t, dial(t, l.Addr()), []byte("x"))
			wait(t, arrived) // Serve is surely under way
			end(l, cancel)
			if err := wait(t, done); err != nil {
				t.Errorf("%s: Serve: %v", name, err)
			}
		}
	})
}

// TestSendOutlivesServe: farewells can be sent after reading has ended.
func TestSendOutlivesServe(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		l := openLink(t, testOptions("127.0.0.1"), open)
		c := dial(t, l.Addr())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Serve(ctx, func([]transports.Datagram) {}); err != nil {
			t.Fatal(err)
		}
		batch := []transports.Datagram{{Addr: localAddrOf(c), Data: []byte("bye")}}
		if sent, err := l.Send(batch); sent != 1 || err != nil {
			t.Fatalf("Send: %d, %v", sent, err)
		}
		read(t, c)
		_ = l.Close()
		if sent, err := l.Send(batch); sent != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close: %d, %v", sent, err)
		}
		l.ReceiveDrops() // must not panic
	})
}

// TestCloseRaces closes a link under load from all sides.
func TestCloseRaces(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		for range 20 {
			l, err := listen(testOptions(""), open, interfaces, false)
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			first := make(chan struct{})
			var once sync.Once
			all.Go(func() {
				if err := l.Serve(context.Background(), func(batch []transports.Datagram) {
					once.Do(func() { close(first) })
					_, _ = l.Send(batch)
				}); err != nil {
					t.Errorf("Serve: %v", err)
				}
			})
			to := transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().Port()), 0)
			for range 2 {
				all.Go(func() {
					batch := []transports.Datagram{{Addr: to, Data: []byte("a")}, {Addr: to, Data: []byte("b")}}
					for {
						if _, err := l.Send(batch); errors.Is(err, net.ErrClosed) {
							return
						}
						l.ReceiveDrops()
					}
				})
			}
			wait(t, first)
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			all.Wait()
		}
	})
}
