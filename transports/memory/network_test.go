package memory

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ interface {
	transports.Link
	transports.DropCounter
} = (*Link)(nil)

// serve runs Serve until stop is called, which returns its error.
func serve(l *Link, recv func([]transports.Datagram)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, recv) }()
	return func() error { cancel(); return <-done }
}

// echo makes l answer everything with itself.
func echo(t *testing.T, l *Link) (stop func() error) {
	return serve(l, func(batch []transports.Datagram) {
		if sent, err := l.Send(batch); sent != len(batch) || err != nil {
			t.Errorf("Send: %d of %d, %v", sent, len(batch), err)
		}
	})
}

func dial(t *testing.T, n *Network) *Endpoint {
	t.Helper()
	e, err := n.Dial("gw")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func write(t *testing.T, e *Endpoint, text string) {
	t.Helper()
	if n, err := e.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

// read returns the next datagram, or "-" if none comes within an hour.
func read(t *testing.T, e *Endpoint) string {
	t.Helper()
	if err := e.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, err := e.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "-"
	} else if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// expectBalance checks the sum that Counters promises.
func expectBalance(t *testing.T, n *Network) {
	t.Helper()
	up, down := n.Counters()
	for name, c := range map[string]Counters{"up": up, "down": down} {
		if c.Sent+c.Duplicated != c.Delivered+c.Lost+c.Partitioned+c.Oversize+c.Unreachable+c.Overflow+c.InFlight {
			t.Errorf("%s does not balance: %+v", name, c)
		}
	}
}

func TestEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{})
		l := n.Link("gw")
		stop := echo(t, l)
		clients := []*Endpoint{dial(t, n), dial(t, n)}
		for i, text := range []string{"one", "", "three"} {
			write(t, clients[i%2], text)
		}
		if got := read(t, clients[0]) + read(t, clients[0]) + read(t, clients[1]); got != "onethree" {
			t.Errorf("got %q", got)
		}
		if l.Name() != "memory gw" || l.MTU() != 1400 || n.Link("gw") != l {
			t.Errorf("%s, %d", l.Name(), l.MTU())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		expectBalance(t, n)
		_ = n.Close()
	})
}

// TestDelay: two ways of 1 to 2 hours take 2 to 4, and no real time.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Faults{DelayMin: time.Hour, DelayMax: 2 * time.Hour}
		n := NewNetwork(Options{Up: f, Down: f})
		stop := echo(t, n.Link("gw"))
		c := dial(t, n)
		begin := time.Now()
		write(t, c, "x")
		if up, _ := n.Counters(); up.InFlight != 1 {
			t.Errorf("%+v", up)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 2*time.Hour || took > 4*time.Hour {
			t.Errorf("took %v", took)
		}
		_ = stop()
		_ = n.Close()
	})
}

// TestSameSeedSameFate runs a lossy exchange twice.
func TestSameSeedSameFate(t *testing.T) {
	fate := func(seed uint64) (got []uint32, up, down Counters) {
		synctest.Test(t, func(t *testing.T) {
			f := Faults{Loss: 0.3, Duplicate: 0.1, Reorder: 0.1, DelayMin: time.Millisecond, DelayMax: 30 * time.Millisecond}
			n := NewNetwork(Options{Seed: seed, Up: f, Down: f})
			stop := echo(t, n.Link("gw"))
			c := dial(t, n)
			for i := range uint32(1000) {
				_, _ = c.Write(binary.BigEndian.AppendUint32(nil, i))
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			for b := read(t, c); b != "-"; b = read(t, c) {
				got = append(got, binary.BigEndian.Uint32([]byte(b)))
			}
			_ = stop()
			expectBalance(t, n)
			up, down = n.Counters()
			_ = n.Close()
		})
		return got, up, down
	}
	got, up, down := fate(1)
	if up.Lost == 0 || up.Duplicated == 0 || up.Reordered == 0 || down.Lost == 0 || slices.IsSorted(got) {
		t.Errorf("too fair: %+v, %+v", up, down)
	}
	if down.Delivered != uint64(len(got)) {
		t.Errorf("%d delivered, %d read", down.Delivered, len(got))
	}
	again, up2, down2 := fate(1)
	if !slices.Equal(got, again) || up != up2 || down != down2 {
		t.Error("the same seed gave another fate")
	}
	if other, _, _ := fate(2); slices.Equal(got, other) {
		t.Error("another seed gave the same fate")
	}
}

func TestRoam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{Down: Faults{DelayMin: time.Second, DelayMax: time.Second}})
		var froms []transports.Addr
		l := n.Link("gw")
		stop := serve(l, func(batch []transports.Datagram) {
			for _, d := range batch {
				froms = append(froms, d.Addr)
			}
			_, _ = l.Send(batch)
		})
		c := dial(t, n)
		write(t, c, "lost on the way back")
		synctest.Wait()
		old := c.Addr()
		c.Roam()
		write(t, c, "kept")
		if got := read(t, c) + read(t, c); got != "kept-" {
			t.Errorf("got %q", got)
		}
		if len(froms) != 2 || froms[0] != old || froms[1] != c.Addr() || froms[0] == froms[1] {
			t.Errorf("came from %v, now at %v", froms, c.Addr())
		}
		if _, down := n.Counters(); down.Unreachable != 1 {
			t.Errorf("%+v", down)
		}
		other := dial(t, n)
		if err := other.MoveTo(c.Addr()); err == nil {
			t.Error("two clients at one address")
		}
		if err := other.MoveTo(old); err != nil {
			t.Errorf("a free address: %v", err)
		}
		if err := other.MoveTo(transports.Addr{}); err == nil {
			t.Error("moved nowhere")
		}
		_ = stop()
		expectBalance(t, n)
		_ = n.Close()
	})
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{})
		l := n.Link("gw")
		stop := echo(t, l)
		a, b := dial(t, n), dial(t, n)
		exchange := func(e *Endpoint, want string) {
			t.Helper()
			write(t, e, "x")
			if got := read(t, e); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		exchange(a, "x")
		n.SetPartition(true)
		exchange(a, "-")
		exchange(b, "-")
		n.SetPartition(false)
		a.SetPartition(true)
		exchange(a, "-")
		exchange(b, "x")
		if sent, err := l.Send([]transports.Datagram{{Addr: a.Addr()}}); sent != 1 || err != nil {
			t.Errorf("Send: %d, %v: a partition is no error", sent, err)
		}
		a.SetPartition(false)
		exchange(a, "x")
		up, down := n.Counters()
		if up.Partitioned != 3 || down.Partitioned != 1 {
			t.Errorf("%+v, %+v", up, down)
		}
		_ = stop()
		expectBalance(t, n)
		_ = n.Close()
	})
}

func TestFairWeatherReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{Up: Faults{Loss: 1}, Down: Faults{Loss: 1}})
		stop := echo(t, n.Link("gw"))
		c := dial(t, n)
		write(t, c, "lost")
		n.SetFaults(Faults{}, Faults{})
		write(t, c, "kept")
		if got := read(t, c) + read(t, c); got != "kept-" {
			t.Errorf("got %q", got)
		}
		_ = stop()
		_ = n.Close()
	})
}

// TestRestart: the link goes and comes back at the same address; clients go on.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{})
		c := dial(t, n) // before there is a link
		write(t, c, "to nobody")
		first := n.Link("gw")
		stop := echo(t, first)
		write(t, c, "first")
		if got := read(t, c); got != "first" {
			t.Errorf("got %q", got)
		}
		_ = first.Close()
		_ = first.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if _, err := first.Send([]transports.Datagram{{Addr: c.Addr()}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		write(t, c, "to nobody")
		second := n.Link("gw")
		stop = echo(t, second)
		write(t, c, "second")
		if got := read(t, c); got != "second" || second.Addr() != first.Addr() || n.Link("other").Addr() == first.Addr() {
			t.Errorf("got %q", got)
		}
		_ = stop()
		if up, _ := n.Counters(); up.Unreachable != 2 {
			t.Errorf("%+v", up)
		}
		expectBalance(t, n)
		_ = n.Close()
	})
}

// TestStrictness: what would be a fault on a real link is one here.
func TestStrictness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{MTU: 4})
		l := n.Link("gw")
		var kept []transports.Datagram
		stop := serve(l, func(batch []transports.Datagram) { kept = append(kept, batch...) })
		c := dial(t, n)
		write(t, c, "1234")
		if _, err := c.Write([]byte("12345")); err == nil {
			t.Error("Write took more than the MTU")
		}
		synctest.Wait()
		if len(kept) != 1 || string(kept[0].Data) != "\xdb\xdb\xdb\xdb" {
			t.Errorf("Data that was kept survived: %v", kept)
		}
		to := c.Addr()
		sent, err := l.Send([]transports.Datagram{
			{Addr: to, Data: []byte("12345")}, {Addr: to, Local: transports.NumberAddr(9)}, {Addr: to, Data: []byte("ok")},
		})
		if sent != 1 || !errors.Is(err, errTooLarge) || read(t, c) != "ok" {
			t.Errorf("Send: %d, %v", sent, err)
		}
		l.SetBusy(true)
		if sent, err := l.Send([]transports.Datagram{{Addr: to}}); sent != 0 || !errors.Is(err, transports.ErrBusy) {
			t.Errorf("Send: %d, %v", sent, err)
		}
		_ = stop()
		expectBalance(t, n)
		_ = n.Close()
	})
}

func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{Queue: 3})
		l := n.Link("gw")
		c := dial(t, n)
		for range 5 {
			write(t, c, "x")
			_, _ = l.Send([]transports.Datagram{{Addr: c.Addr()}})
		}
		up, down := n.Counters()
		if up.Overflow != 2 || down.Overflow != 2 || l.ReceiveDrops() != 2 {
			t.Errorf("%+v, %+v, %d", up, down, l.ReceiveDrops())
		}
		expectBalance(t, n)
		_ = n.Close()
	})
}

func TestEndpointIsAConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Options{})
		l := n.Link("gw")
		e, err := n.DialFrom("gw", transports.NodeAddr([]byte{1, 2}))
		if err != nil {
			t.Fatal(err)
		}
		if e.LocalAddr().String() != "0102" || e.RemoteAddr().String() != "gw" || e.LocalAddr().Network() != "memory" {
			t.Errorf("%v, %v", e.LocalAddr(), e.RemoteAddr())
		}
		if _, err := n.DialFrom("gw", e.Addr()); err == nil {
			t.Error("two clients at one address")
		}
		// Not from another link, and cut to the reader's buffer.
		_, _ = n.Link("other").Send([]transports.Datagram{{Addr: e.Addr(), Data: []byte("other")}})
		_, _ = l.Send([]transports.Datagram{{Addr: e.Addr(), Data: []byte("12345")}, {Addr: e.Addr(), Data: []byte("6")}})
		b := make([]byte, 3)
		if k, err := e.Read(b); k != 3 || err != nil || string(b) != "123" {
			t.Errorf("%q, %v", b[:k], err)
		}
		if got := read(t, e); got != "6" {
			t.Errorf("%q", got)
		}
		// A deadline that is set while Read waits ends it; so does Close.
		_ = e.SetDeadline(time.Time{})
		result := make(chan error)
		go func() { _, err := e.Read(b); result <- err }()
		synctest.Wait()
		_ = e.SetDeadline(time.Now().Add(time.Minute))
		_ = e.SetWriteDeadline(time.Now())
		if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = e.SetReadDeadline(time.Time{})
		go func() { _, err := e.Read(b); result <- err }()
		synctest.Wait()
		_ = e.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_ = e.Close()
		e.Roam()
		if _, err := e.Write(b); !errors.Is(err, net.ErrClosed) || !errors.Is(e.SetReadDeadline(time.Now()), net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		_ = n.Close()
		if _, err := n.Dial("gw"); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Dial after Close: %v", err)
		}
		if err := n.Link("gw").Serve(t.Context(), nil); err != nil {
			t.Errorf("Serve after Close: %v", err)
		}
	})
}

// TestEverythingAtOnce is for the race detector; in real time, too.
func TestEverythingAtOnce(t *testing.T) {
	f := Faults{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Hold: time.Millisecond, DelayMax: time.Millisecond}
	n := NewNetwork(Options{Up: f, Down: f})
	l := n.Link("gw")
	served := make(chan error, 1)
	go func() {
		served <- l.Serve(context.Background(), func(batch []transports.Datagram) { _, _ = l.Send(batch) })
	}()
	var all sync.WaitGroup
	for range 8 {
		c := dial(t, n)
		all.Go(func() {
			for i := range 200 {
				_, _ = c.Write([]byte("x"))
				_ = c.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
				_, _ = c.Read(make([]byte, 1))
				switch i % 50 {
				case 10:
					c.Roam()
				case 20:
					c.SetPartition(true)
				case 30:
					c.SetPartition(false)
				case 40:
					n.SetFaults(f, f)
				}
			}
		})
	}
	all.Wait()
	expectBalance(t, n)
	_ = n.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
