package e2e

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
)

// nat is between one device and the gateway, and lets the gateway see another address of
// the device whenever it likes. What comes to an address that was given up is lost.
type nat struct {
	t       testing.TB
	addr    string
	inside  *net.UDPConn
	gateway *net.UDPAddr
	running sync.WaitGroup

	mu      sync.Mutex
	device  *net.UDPAddr
	outside *net.UDPConn
	// restless: each packet of the device leaves from another address, as long as the
	// number of changes is below this.
	restless int
	changes  int
}

func newNAT(t testing.TB, gateway string) *nat {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	n := &nat{t: t, gateway: to, inside: listenUDP(t)}
	n.addr = n.inside.LocalAddr().String()
	n.outside = n.open()
	n.running.Go(n.carryUp)
	t.Cleanup(func() {
		_ = n.inside.Close()
		n.mu.Lock()
		_ = n.outside.Close()
		n.mu.Unlock()
		n.running.Wait()
	})
	return n
}

func listenUDP(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// open makes an address for the gateway to see.
func (n *nat) open() *net.UDPConn {
	conn, err := net.DialUDP("udp", nil, n.gateway)
	if err != nil {
		n.t.Errorf("no other address: %v", err)
		return n.outside
	}
	n.running.Go(func() { n.carryDown(conn) })
	return conn
}

// change makes another address. n.mu is held.
func (n *nat) change() {
	old := n.outside
	n.outside = n.open()
	if n.outside != old {
		_ = old.Close()
		n.changes++
	}
}

// forget is what a translator does after a while of silence.
func (n *nat) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.change()
}

// becomeRestless begins with a change before each packet, until there were so many in all.
func (n *nat) becomeRestless(changes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.restless = changes
}

func (n *nat) changed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes
}

func (n *nat) carryUp() {
	buf := make([]byte, 65535)
	for {
		size, from, err := n.inside.ReadFromUDP(buf)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.device = from
		if n.changes < n.restless {
			n.change()
		}
		if _, err := n.outside.Write(buf[:size]); err != nil { // tells of an earlier one
			_, _ = n.outside.Write(buf[:size])
		}
		n.mu.Unlock()
	}
}

func (n *nat) carryDown(conn *net.UDPConn) {
	buf := make([]byte, 65535)
	for {
		size, err := conn.Read(buf)
		n.mu.Lock()
		device, current := n.device, conn == n.outside
		n.mu.Unlock()
		switch {
		case !current || errors.Is(err, net.ErrClosed):
			return
		case err == nil && device != nil:
			_, _ = n.inside.WriteToUDP(bytes.Clone(buf[:size]), device)
		}
	}
}
