package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
)

// dialWithID makes a connection with a connection id (RFC 9146), which openssl has not.
func dialWithID(t testing.TB, addr, identity string) net.Conn {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	psk, err := hex.DecodeString(pskOf(identity))
	if err != nil {
		t.Fatal(err)
	}
	socket := listenUDP(t)
	conn, err := dtls.ClientWithOptions(socket, to,
		dtls.WithPSK(func([]byte) ([]byte, error) { return psk, nil }), dtls.WithPSKIdentityHint([]byte(identity)),
		dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8), dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(conn.Close(), socket.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return conn
}

// connects is how many CONNECTs have come.
func (r *rig) connects() float64 {
	r.Helper()
	return r.gateway.labelled(r.T, "packets_total", `type="CONNECT"`)
}

// TestDTLSConnectionID: a device with a connection id gets another address a thousand
// times while messages of QoS 1 flow both ways. None is lost, and the device notices
// nothing: there is no other handshake and no other CONNECT.
func TestDTLSConnectionID(t *testing.T) {
	t.Parallel()
	const changes, messages = 1000, 800
	n := newTunnels(t, "cli-1")
	r := newRigOn(t, overUDP, n, embedded, key("session.t_retry", "1s"), key("session.t_retry_min", "200ms"),
		key("session.t_retry_max", "1s"), key("session.n_retry", "100"), key("mqtt.max_queued_messages", "10000"))
	way := newNAT(t, n.addr)
	s := newStubborn(dialWithID(t, way.addr, "cli-1"), "cli-1", messages)
	s.retry = 2 * time.Second
	var waiting sync.WaitGroup
	waiting.Go(func() { <-s.subscribed; way.becomeRestless(changes) })
	exchange(r, s, func(int) {})
	waiting.Wait()
	t.Logf("%d messages each way, %d changes of address: %d copies", messages, way.changed(), s.up.copies+s.down.copies)
	if way.changed() != changes {
		t.Fatalf("the address changed %d times, want %d", way.changed(), changes)
	}
	if s.reconnects != 0 {
		t.Errorf("the device was turned away and had to connect again %d times", s.reconnects)
	}
	if got := r.handshakes("accepted"); got != 1 {
		t.Errorf("%v handshakes, want 1", got)
	}
	if got := r.gateway.linkMetric(t, "dtls_address_changes_total", ""); got != changes {
		t.Errorf("%v changes of address are counted, want %d", got, changes)
	}
}

// TestDTLSSleeperWithConnectionID: a sleeper's address changes while it sleeps.
func TestDTLSSleeperWithConnectionID(t *testing.T) {
	t.Parallel()
	n := newTunnels(t, "cli-1")
	r := newRigOn(t, overUDP, n, embedded)
	way := newNAT(t, n.addr)
	d := newDeviceOn(t, func() net.Conn { return dialWithID(t, way.addr, "cli-1") }, "cli-1")
	ready(d, keepSession)
	for i := range 3 {
		d.sleep(minute)
		r.leave(d.own(), fmt.Sprint(i), 1)
		way.forget()
		d.tell(d.wakeFrame())
		d.receive(d.own(), fmt.Sprint(i), 1)
		d.expect("02 17")
	}
	way.forget()
	d.connect(keepSession, minute)
	r.stillThere(d)
	if got := r.handshakes("accepted"); got != 1 {
		t.Errorf("%v handshakes, want 1", got)
	}
}

// TestDTLSWithoutConnectionID: a device that has none is not heard from another address.
// It makes a new handshake, and its session goes on without a CONNECT, since its identity
// says who it is: with any packet while it is active, with a PINGREQ when it slept.
func TestDTLSWithoutConnectionID(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{embedded, upstream} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			n := newTunnels(t, "cli-1")
			r := newRigOn(t, overUDP, n, setup)
			watcher := r.watch("s/up")
			way := newNAT(t, n.addr)
			handshakes := 0.0
			dial := func() net.Conn {
				handshakes++
				return dialOpenSSL(t, way.addr, n.usual...)
			}
			d := newDeviceOn(t, dial, "cli-1")
			ready(d, keepSession)
			d.register("s/up")
			move := func() {
				t.Helper()
				lost := r.gateway.linkMetric(t, "link_drops_total", `reason="unknown_peer"`)
				way.forget()
				d.tell("02 16")
				d.silent(moment)
				eventually(t, "the stranger's packet is counted", func() bool {
					return r.gateway.linkMetric(t, "link_drops_total", `reason="unknown_peer"`) > lost
				})
				d.conn.(*tunnel).vanish()
				d.conn = d.dial()
			}
			move()
			d.ask("02 16", "02 17")
			r.stillThere(d)
			move()
			d.ask("__ 0C 20 {s/up} 00 07 'hi'", "07 0D {s/up} 00 07 00")
			watcher.expect("s/up", "hi", 1)
			r.stillThere(d)
			for i, wake := range []string{d.wakeFrame(), "02 16", d.wakeFrame()} {
				d.sleep(minute)
				r.leave(d.own(), fmt.Sprint(i), 1)
				way.forget()
				d.conn.(*tunnel).vanish()
				d.conn = d.dial()
				d.tell(wake)
				d.receive(d.own(), fmt.Sprint(i), 1)
				d.expect("02 17")
			}
			if got := r.handshakes("accepted"); got != handshakes {
				t.Errorf("%v handshakes, want %v", got, handshakes)
			}
			if r.connects() != 1 {
				t.Errorf("%v CONNECTs have come, want 1", r.connects())
			}
		})
	}
}
