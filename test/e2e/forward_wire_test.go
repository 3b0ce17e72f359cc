package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// wire is between forwarders and the gateway, and keeps a copy of all that they say to each
// other. The gateway sees another address for each address that forwarders use.
type wire struct {
	t       testing.TB
	addr    string
	near    *net.UDPConn
	gateway *net.UDPAddr
	running sync.WaitGroup

	mu       sync.Mutex
	far      map[netip.AddrPort]*net.UDPConn
	up, down [][]byte
}

// outpostIP is the address that the gateway sees of forwarders, unlike that of devices
// which come to it themselves.
var outpostIP = net.IPv4(127, 0, 0, 9)

func newWire(t testing.TB, gateway string) *wire {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, near: listenUDP(t), gateway: to, far: map[netip.AddrPort]*net.UDPConn{}}
	w.addr = w.near.LocalAddr().String()
	w.running.Go(w.carryUp)
	t.Cleanup(func() {
		_ = w.near.Close()
		w.mu.Lock()
		for _, conn := range w.far {
			_ = conn.Close()
		}
		w.mu.Unlock()
		w.running.Wait()
	})
	return w
}

func (w *wire) carryUp() {
	buf := make([]byte, 65535)
	for {
		n, from, err := w.near.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue
		}
		w.mu.Lock()
		w.up = append(w.up, bytes.Clone(buf[:n]))
		conn := w.far[from]
		if conn == nil {
			if conn, err = net.DialUDP("udp", &net.UDPAddr{IP: outpostIP}, w.gateway); err != nil {
				w.t.Errorf("the wire is cut: %v", err)
				w.mu.Unlock()
				return
			}
			w.far[from] = conn
			w.running.Go(func() { w.carryDown(conn, from) })
		}
		w.mu.Unlock()
		_, _ = conn.Write(buf[:n])
	}
}

func (w *wire) carryDown(conn *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 65535)
	for {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue
		}
		w.mu.Lock()
		w.down = append(w.down, bytes.Clone(buf[:n]))
		w.mu.Unlock()
		_, _ = w.near.WriteToUDPAddrPort(buf[:n], to)
	}
}

// judge has tshark decode all that was said, and looks for packets of these types in both
// directions, each behind a header with a Wireless Node Id of one of these lengths.
func (w *wire) judge(nodeIDs []int, up, down []byte) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var said []string
	for _, way := range []struct {
		name      string
		datagrams [][]byte
		want      []byte
	}{{"forwarder", w.up, up}, {"gateway", w.down, down}} {
		seen := map[byte]bool{}
		lengths := map[int]bool{}
		for _, d := range way.datagrams {
			said = append(said, string(d))
			header, packet := encapsulation(d)
			m, err := body(packet)
			if header == nil || err != nil || !slices.Contains(nodeIDs, len(header)-3) {
				w.t.Errorf("the %s sent % X, which is no packet of a node: %v", way.name, d, err)
				continue
			}
			seen[m[0]] = true
			lengths[len(header)-3] = true
		}
		for _, kind := range way.want {
			if !seen[kind] {
				w.t.Errorf("the %s sent no packet of type %02X", way.name, kind)
			}
		}
		if len(lengths) != len(nodeIDs) {
			w.t.Errorf("the %s sent packets with node ids of lengths %v, want %v", way.name, lengths, nodeIDs)
		}
	}
	slices.Sort(said)
	said = slices.Compact(said)
	complaints, err := tsharkJudges(w.t.TempDir(), said)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, complaint := range complaints {
		w.t.Errorf("tshark does not accept %s", complaint)
	}
	if len(said) == 0 {
		w.t.Error("nothing was said on the wire")
	}
	w.t.Logf("tshark decoded %d different datagrams between forwarder and gateway", len(said))
}
