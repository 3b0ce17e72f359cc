package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// logged counts the lines of the gateway's log that have all of the texts.
func (r *rig) logged(texts ...string) int {
	n := 0
lines:
	for line := range strings.SplitSeq(r.gateway.log.String(), "\n") {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// logs expects that number of lines with all of the texts, now or as soon as the log has
// been read.
func (r *rig) logs(want int, texts ...string) {
	r.Helper()
	eventually(r.T, fmt.Sprintf("%d lines with %q are in the log", want, texts), func() bool { return r.logged(texts...) == want })
}

// TestDTLSRefusesHandshakes: who cannot prove who it is does not get in. It is told so, it
// is counted, and one line in the log says who it was and why. It hinders nobody.
func TestDTLSRefusesHandshakes(t *testing.T) {
	t.Parallel()
	const unknownKey = "00112233445566778899aabbccddeeff"
	past := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		client func(t *testing.T, a *authority) []string
		byCert bool
		result string
		logged []string
	}{
		"WrongKey": {
			client: func(*testing.T, *authority) []string { return withKey("cli-1", unknownKey) },
			result: "wrong_key", logged: []string{"cli-1", "wrong key"},
		},
		"UnknownIdentity": {
			client: func(*testing.T, *authority) []string { return withKey("stranger", unknownKey) },
			result: "unknown_identity", logged: []string{"stranger", "there is no such identity"},
		},
		"NoCipherSuiteInCommon": {
			client: func(*testing.T, *authority) []string {
				return append(withKey("cli-1", pskOf("cli-1")), "-cipher", "PSK-AES128-CBC-SHA")
			},
			result: "no_cipher_suite", logged: []string{"nothing in common"},
		},
		"NoCertificate": {
			client: func(_ *testing.T, a *authority) []string { return a.withoutCertificate() },
			byCert: true, result: "certificate", logged: []string{"client certificate rejected"},
		},
		"ExpiredCertificate": {
			client: func(t *testing.T, a *authority) []string {
				return a.withCertificate(a.issue(t, ecdsaKey, "cli-1", past))
			},
			byCert: true, result: "certificate", logged: []string{"client certificate rejected", "expired"},
		},
		"CertificateOfAnotherAuthority": {
			client: func(t *testing.T, a *authority) []string {
				return a.withCertificate(newAuthority(t).issue(t, ecdsaKey, "cli-1", time.Time{}))
			},
			byCert: true, result: "certificate", logged: []string{"client certificate rejected", "unknown authority"},
		},
		"DeviceDoesNotTrustTheGateway": {
			client: func(t *testing.T, a *authority) []string {
				return append(a.withCertificate(a.issue(t, ecdsaKey, "cli-1", time.Time{})), "-CAfile", newAuthority(t).file)
			},
			byCert: true, result: "refused", logged: []string{"unknown CA"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n *tunnels
			a := newAuthority(t)
			if c.byCert {
				n = newCertifiedTunnels(t, a, ecdsaKey, "cli-1")
			} else {
				n = newTunnels(t, "cli-1")
			}
			r := newRigOn(t, overUDP, n, embedded)
			refused := dialOpenSSL(t, n.addr, c.client(t, a)...)
			eventually(t, "openssl gives up", func() bool { return !refused.openssl.running() })
			if refused.openssl.err == nil {
				t.Error("openssl ends as if all was well")
			}
			eventually(t, "the refusal is counted", func() bool { return r.handshakes(c.result) == 1 })
			line := append([]string{"DTLS handshake failed", "peer", "127.0.0.1:"}, c.logged...)
			eventually(t, "the refusal is in the log", func() bool { return r.logged(line...) > 0 })
			r.client(cleanSession).alive()
			if lines := r.logged("DTLS handshake failed"); lines != 1 {
				t.Errorf("%d lines are in the log, want 1", lines)
			}
			if text := r.gateway.log.String(); strings.Contains(text, pskOf("cli-1")) || strings.Contains(text, unknownKey) {
				t.Error("there is a key in the log")
			}
			for result, want := range map[string]float64{c.result: 1, "accepted": 1} {
				if got := r.handshakes(result); got != want {
					t.Errorf("%v handshakes are counted as %s, want %v", got, result, want)
				}
			}
		})
	}
}

// as is a device that has proven an identity, and uses a ClientID.
func (r *rig) as(identity, id string) *device {
	r.Helper()
	n := r.network.(*tunnels)
	return newDeviceOn(r.T, func() net.Conn { return dialOpenSSL(r.T, n.addr, withKey(identity, pskOf(identity))...) }, id)
}

// TestDTLSBindsClientIDs: who has proven an identity is nobody else, and nobody else is who
// has, neither over DTLS nor over UDP; and nothing happens to the session that is wanted.
func TestDTLSBindsClientIDs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		run      func(*rig)
		settings []setting
	}{
		"ForeignClientID": {run: func(r *rig) {
			d := r.as("cli-1", "cli-2")
			for i := range 2 { // before cli-2 is there, and after
				d.ask(d.connectFrame(keepSession, minute), "03 05 03")
				r.refusedIdentities(float64(i + 1))
				r.logs(i+1, "CONNECT refused", "cli-1", "cli-2")
				owner := r.as("cli-2", "cli-2")
				ready(owner, keepSession)
				r.stillThere(owner)
			}
			d.ask("07 16 'cli-2'", "02 18")
			d.id = "cli-1" // its own is as good as before
			ready(d, cleanSession)
			r.stillThere(d)
		}},
		"PlainUDP": {run: func(r *rig) {
			d := r.as("cli-1", "cli-1")
			ready(d, keepSession)
			thief := newDevice(r.T, r.gateway.udp, "cli-1")
			thief.ask(thief.connectFrame(cleanSession, minute), "03 05 03")
			thief.ask(thief.connectFrame(cleanSession|withWill, minute), "03 05 03")
			r.refusedIdentities(2)
			r.logs(2, "CONNECT refused", "cli-1")
			thief.ask(thief.wakeFrame(), "02 18")
			r.refusedIdentities(3)
			r.stillThere(d)
			d.sleep(minute)
			r.leave(d.own(), "for cli-1 only", 1)
			thief.ask(thief.wakeFrame(), "02 18")
			r.refusedIdentities(4)
			thief.silent(moment)
			d.tell(d.wakeFrame())
			d.receive(d.own(), "for cli-1 only", 1)
			d.expect("02 17")
			d.disconnect() // and the name stays its own
			thief.ask(thief.connectFrame(cleanSession, minute), "03 05 03")
		}},
		// A name that nobody has proven is free to all. Who proves it then has it, and gets
		// nothing that somebody else has left there.
		"FromUDPToDTLS": {run: func(r *rig) {
			plain := newDevice(r.T, r.gateway.udp, "cli-1")
			ready(plain, keepSession)
			d := r.as("cli-1", "cli-1")
			d.connect(keepSession, minute)
			r.publish(plain.own(), "for who subscribed", 1)
			d.alive()
			d.subscribe(d.own(), 1)
			r.stillThere(d)
			plain.ask(plain.connectFrame(keepSession, minute), "03 05 03")
			plain.ask("02 16", "02 18")
			r.stillThere(d)
		}},
		"Templates": {settings: []setting{key("gateway.identity_client_ids", `["${identity}", "${identity}-*"]`)}, run: func(r *rig) {
			for id, answer := range map[string]string{"cli-1-a": "03 05 00", "cli-1": "03 05 00", "cli-1-": "03 05 00", "cli-10": "03 05 03", "cli-2": "03 05 03", "x-cli-1": "03 05 03"} {
				d := r.as("cli-1", id)
				d.ask(d.connectFrame(cleanSession, minute), answer)
			}
			r.refusedIdentities(3)
			other := r.as("cli-2", "cli-1-a")
			other.ask(other.wakeFrame(), "02 18")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(newRigOn(t, overUDP, newTunnels(t, "cli-1", "cli-2"), embedded, test.settings...))
		})
	}
}

// refusedIdentities is how often an identity was refused so far.
func (r *rig) refusedIdentities(want float64) {
	r.Helper()
	if got := r.gateway.labelled(r.T, "drops_total", `reason="identity_refused"`); got != want {
		r.Errorf("%v drops are counted as identity_refused, want %v", got, want)
	}
}

// stillThere shows that a device's session lives: it is answered, and gets its messages.
func (r *rig) stillThere(d *device) {
	r.Helper()
	r.publish(d.own(), "for "+d.id, 1)
	d.receive(d.own(), "for "+d.id, 1)
	d.alive()
}
