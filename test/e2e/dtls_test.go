package e2e

import (
	"testing"
)

// TestDTLS has a device do all that devices do, over DTLS in each of its ways.
func TestDTLS(t *testing.T) {
	t.Parallel()
	ways := map[string]func(t testing.TB) *tunnels{
		"psk":   func(t testing.TB) *tunnels { return newTunnels(t, "cli-1") },
		"ecdsa": func(t testing.TB) *tunnels { return newCertifiedTunnels(t, newAuthority(t), ecdsaKey, "cli-1") },
		"rsa":   func(t testing.TB) *tunnels { return newCertifiedTunnels(t, newAuthority(t), rsaKey, "cli-1") },
	}
	for way, listener := range ways {
		for _, setup := range []string{embedded, upstream} {
			t.Run(way+"/"+setup, func(t *testing.T) {
				t.Parallel()
				everyday(newRigOn(t, overUDP, listener(t), setup))
			})
		}
	}
}

// everyday is a device's life.
func everyday(r *rig) {
	watcher := r.watch("s/#")
	d := r.client(cleanSession)
	d.register("s/up")
	d.tell("__ 0C 00 {s/up} 00 00 'zero'")
	watcher.expect("s/up", "zero", 0)
	d.ask("__ 0C 20 {s/up} 00 07 'one'", "07 0D {s/up} 00 07 00")
	watcher.expect("s/up", "one", 1)
	d.ask("__ 0C 40 {s/up} 00 08 'two'", "04 0F 00 08")
	d.ask("04 10 00 08", "04 0E 00 08")
	watcher.expect("s/up", "two", 2)
	d.subscribe("s/temp", 2)
	for qos, payload := range []string{"Q", "R\n", "B"} { // letters that mean something to openssl
		r.publish("s/temp", payload, byte(qos))
		d.receive("s/temp", payload, qos)
	}
	d.sleep(minute)
	r.queue(0, 1, 2)
	d.silent(moment)
	d.tell(d.wakeFrame())
	d.drain(0, 0, 1, 2)
	d.connect(keepSession, minute)
	d.alive()
	d.disconnect()
	d.conn.(*tunnel).leave()
	eventually(r.T, "the connection is closed", func() bool {
		return r.gateway.linkMetric(r.T, "dtls_connections_closed_total", `reason="peer"`) == 1
	})
	if accepted := r.handshakes("accepted"); accepted != 1 {
		r.Errorf("%v handshakes are counted, want 1", accepted)
	}
}
