package e2e

import (
	"strings"
	"testing"
)

// TestDTLSGatewayIsRestarted: a gateway that ends says goodbye, one that is killed cannot.
// Either way the device connects again.
func TestDTLSGatewayIsRestarted(t *testing.T) {
	t.Parallel()
	n := newTunnels(t, "cli-1")
	r := newRigOn(t, overUDP, n, embedded)
	d := r.client(keepSession)
	d.conn.(*tunnel).mayEnd = true
	r.gateway.checkedStop(t)
	openssl := d.conn.(*tunnel).openssl
	eventually(t, "openssl has heard the goodbye", func() bool { return !openssl.running() })
	r.restartGateway()
	d.conn = d.dial()
	ready(d, keepSession)
	r.stillThere(d)
	r.gateway.kill()
	r.publisher = nil
	r.restartGateway()
	d.tell("02 16")
	d.silent(moment)
	d.conn.(*tunnel).vanish()
	d.conn = d.dial()
	d.ask("02 16", "02 18")
	ready(d, keepSession)
	r.stillThere(d)
}

// TestDTLSLargestMessage: a record has room for so much, and what is longer is refused and
// counted.
func TestDTLSLargestMessage(t *testing.T) {
	t.Parallel()
	const mtu, expansion, header = 1400, 64, 9
	n := newTunnels(t, "cli-1")
	r := newRigOn(t, overUDP, n, embedded)
	d := r.client(cleanSession)
	d.subscribe(d.own(), 1)
	largest := strings.Repeat("x", mtu-expansion-header)
	r.publish(d.own(), largest+"x", 1)
	r.publish(d.own(), largest, 1)
	d.receive(d.own(), largest, 1)
	if refused := r.gateway.labelled(t, "drops_total", `reason="too_large"`); refused != 1 {
		t.Errorf("%v messages are counted as too large, want 1", refused)
	}
	watcher := r.watch("up")
	d.register("up")
	d.report("up", largest)
	watcher.expect("up", largest, 1)
	r.stillThere(d)
}

// TestDTLSSearch: who asks a gateway over DTLS is answered there.
func TestDTLSSearch(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, overUDP, newTunnels(t, "cli-1"), embedded)
	r.device("cli-1").ask("03 01 01", "03 02 01")
}

// TestDTLSForwarder: who has proven an identity is a forwarder if that identity is on the
// list. Its nodes may have any ClientID then, so others are not, unless the list says so.
func TestDTLSForwarder(t *testing.T) {
	t.Parallel()
	const frame = "05 FE 00 00 07 0B 04 04 01 00 3C 'cli-1'"
	r := newRigOn(t, overUDP, newTunnels(t, "bridge", "cli-2"), embedded, key("gateway.forwarders", `["any", "identity:bridge"]`))
	other := r.as("cli-2", "cli-2")
	other.ask("02 16", "02 18")
	other.tell(frame)
	ready(other, cleanSession) // the answer to this is the first
	if refused := r.gateway.labelled(t, "drops_total", `reason="forwarder_refused"`); refused != 1 {
		t.Errorf("%v drops are counted as forwarder_refused, want 1", refused)
	}
	f := r.forwarderOn(dialOpenSSL(t, r.network.(*tunnels).addr, withKey("bridge", pskOf("bridge"))...))
	for _, node := range []*device{f.device("cli-1", "00 07"), f.device("cli-3", "00 08")} {
		ready(node, keepSession)
		r.stillThere(node)
		node.sleep(minute)
		r.leave(node.own(), "hi", 1)
		node.tell(node.wakeFrame())
		node.receive(node.own(), "hi", 1)
		node.expect("02 17")
	}
	r.stillThere(other)
}
