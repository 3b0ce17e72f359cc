package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// TestMixed has clients on UDP, on DTLS with a key and with a certificate, on a serial line
// and on radios in one process. Each sends each other one a message of QoS 1, and an MQTT
// client talks with all of them.
func TestMixed(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{embedded, upstream} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			m := newMixture(t, setup)
			crowd := []*device{
				m.onUDP("udp-1"), m.onUDP("udp-2"), m.withKey("dtls-key"), m.withCertificate("dtls-cert"),
				m.onLine("line"), m.onRadio("radio-1"), m.onRadio("radio-2"),
			}
			watcher := m.watch("to/mqtt")
			for _, d := range crowd {
				ready(d, cleanSession)
				d.register("to/mqtt")
				for _, other := range crowd {
					if other != d {
						d.register(other.own())
					}
				}
			}
			for _, from := range crowd {
				from.report("to/mqtt", "from "+from.id)
				watcher.expect("to/mqtt", "from "+from.id, 1)
				m.stillThere(from)
				for _, to := range crowd {
					if to != from {
						text := fmt.Sprintf("from %s to %s", from.id, to.id)
						from.report(to.own(), text)
						to.receive(to.own(), text, 1)
					}
				}
			}
			for _, d := range crowd {
				d.alive()
			}
		})
	}
}

// TestMixedWays has a sleeper wake up somewhere else each time, which finds its messages
// wherever that is. One that has proven who it is goes on doing so.
func TestMixedWays(t *testing.T) {
	t.Parallel()
	m := newMixture(t, embedded)
	d := m.onUDP("wanderer")
	ready(d, keepSession)
	for i, there := range []*device{m.onLine(d.id), m.onRadio(d.id), m.onUDP(d.id), m.onRadio(d.id)} {
		d.sleep(minute)
		m.leave(d.own(), fmt.Sprint(i), 1)
		there.vars, there.names = d.vars, d.names
		there.tell(there.wakeFrame())
		there.receive(d.own(), fmt.Sprint(i), 1)
		there.expect("02 17")
		there.connect(keepSession, minute)
		m.stillThere(there)
		d.silent(moment / 4)
		d = there
	}
	owner := m.withKey("dtls-key")
	ready(owner, keepSession)
	for _, thief := range []*device{m.onUDP(owner.id), m.onRadio(owner.id), m.withCertificate("dtls-cert")} {
		thief.id = owner.id
		thief.ask(thief.connectFrame(keepSession, minute), "03 05 03")
		thief.ask(thief.wakeFrame(), "02 18")
	}
	m.stillThere(owner)
}

// report publishes with QoS 1.
func (d *device) report(topic, text string) {
	d.t.Helper()
	d.ask(fmt.Sprintf("__ 0C 20 {%s} 00 07 %s", topic, octets(text)), fmt.Sprintf("07 0D {%s} 00 07 00", topic))
}

// mixture is a rig with networks of all kinds.
type mixture struct {
	*rig
	authority   *authority
	secure      *tunnels
	line, radio network
}

func newMixture(t *testing.T, setup string) *mixture {
	t.Helper()
	m := &mixture{authority: newAuthority(t), line: newNetwork(t, overRaw), radio: newNetwork(t, overXBee)}
	m.secure = newCertifiedTunnels(t, m.authority, ecdsaKey, anybody)
	m.secure.flags = append(m.secure.flags, "--set", "dtls.psk_file="+pskFile(t, "dtls-key"))
	m.rig = newRigOn(t, overUDP, networks{m.secure, m.line, m.radio}, setup)
	return m
}

func (m *mixture) onUDP(id string) *device { return newDevice(m.T, m.gateway.udp, id) }

func (m *mixture) onLine(id string) *device { return m.on(id, m.line.dial) }

func (m *mixture) onRadio(id string) *device { return m.on(id, m.radio.dial) }

func (m *mixture) withKey(id string) *device {
	return m.on(id, func(t testing.TB) net.Conn { return dialOpenSSL(t, m.secure.addr, withKey(id, pskOf(id))...) })
}

func (m *mixture) withCertificate(id string) *device {
	own := m.authority.issue(m.T, ecdsaKey, id, time.Time{})
	return m.on(id, func(t testing.TB) net.Conn {
		return dialOpenSSL(t, m.secure.addr, m.authority.withCertificate(own)...)
	})
}

func (m *mixture) on(id string, dial func(testing.TB) net.Conn) *device {
	m.Helper()
	return newDeviceOn(m.T, func() net.Conn { return dial(m.T) }, id)
}
