//go:build linux

package generator

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"mqttsn-gateway/test/load/baseline"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if h.percentile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := range 100_000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	h.add(-1) // a clock that stepped back must not panic
	h.add(1 << 62)
	for share, want := range map[float64]time.Duration{0.01: time.Millisecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond} {
		if got := h.percentile(share); got < want*93/100 || got > want {
			t.Errorf("percentile %v: %v, want at most 6 %% below %v", share, got, want)
		}
	}
}

func TestProcess(t *testing.T) {
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); ; {
		now, err := CPUTime(os.Getpid())
		if err != nil || time.Now().After(until) {
			t.Fatalf("the CPU time stays at %v: %v", now, err)
		}
		if now >= before+2*tick {
			break
		}
	}
	if machine, err := MachineTime(); err != nil || machine < before {
		t.Errorf("MachineTime: %v, %v", machine, err)
	}
	if rss, err := RSS(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("RSS: %d, %v", rss, err)
	}
	if _, err := CPUTime(0); err == nil {
		t.Error("no process has the id 0")
	}
}

func TestRing(t *testing.T) {
	r := ring{devices: make([]*device, 3)}
	a, b, c := &device{}, &device{}, &device{}
	r.push(a)
	r.push(b)
	r.push(c)
	for _, want := range []*device{a, b, c, a} {
		if got := r.pop(); got != want {
			t.Fatal("out of order")
		} else {
			r.push(got)
		}
	}
}

// startEcho runs package baseline until the end of the test.
func startEcho(t *testing.T) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- baseline.Echo(ctx, at) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	probe, err := net.Dial("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		_, _ = probe.Write([]byte{2, 0x16})
		_ = probe.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, _ := probe.Read(make([]byte, 10)); n == 2 {
			return at.String()
		}
	}
	t.Fatal("the echo does not answer")
	return ""
}

// TestBareEcho runs both loops that package baseline can answer.
func TestBareEcho(t *testing.T) {
	at := startEcho(t)
	for _, clients := range []int{1, 10, 300} {
		g, err := New(Options{UDP: at, Clients: clients, Window: 16, Payload: 64, Bare: true, Server: os.Getpid()})
		if err != nil {
			t.Fatal(err)
		}
		g.patience = 30 * time.Second
		for _, s := range []Scenario{Ping, UpQoS1} {
			r, err := g.Run(s, 100*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if r.Lost > 0 || r.Duplicates > 0 || r.Refused > 0 || r.P50 == 0 || r.P99 < r.P50 || r.Elapsed < 100*time.Millisecond {
				t.Errorf("%s, %d clients: %+v", s, clients, r)
			}
		}
		g.Close()
	}
}

// TestSilence: a gateway that answers nothing costs messages, not the generator.
func TestSilence(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g, err := New(Options{UDP: c.LocalAddr().String(), Clients: 5, Window: 3, Payload: 16, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	r, err := g.Run(Ping, 10*time.Millisecond)
	if err != nil || r.Messages != 0 || r.Lost != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{UDP: "127.0.0.1:1", Window: 1, Payload: 16},
		{UDP: "127.0.0.1:1", Clients: 1, Payload: 16},
		{UDP: "127.0.0.1:1", Clients: 1, Window: 1, Payload: 15},
		{UDP: "127.0.0.1", Clients: 1, Window: 1, Payload: 16},
	} {
		if g, err := New(o); err == nil {
			g.Close()
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestNoAllocation: the generator's garbage would be collected on the gateway's time.
func TestNoAllocation(t *testing.T) {
	at := startEcho(t)
	g, err := New(Options{UDP: at, Clients: 20, Window: 20, Payload: 64, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var before, after runtime.MemStats
	for deadline := time.Now().Add(30 * time.Second); ; {
		runtime.ReadMemStats(&before)
		r, err := g.Run(UpQoS1, 200*time.Millisecond)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		n := after.Mallocs - before.Mallocs
		if n < uint64(r.Messages)/10 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d allocations for %d messages", n, r.Messages)
		}
	}
}
