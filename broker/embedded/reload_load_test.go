package embedded

import (
	"crypto/tls"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// reloads is how often TestReloadUnderLoad has all files read anew.
var reloads = flag.Int("reloads", 50, "how often TestReloadUnderLoad has all files read anew")

// Certificates, passwords and rights are written and read anew, again and again, while clients
// publish and receive at all kinds of listeners: nobody is disconnected, and no message is lost.
func TestReloadUnderLoad(t *testing.T) {
	s := newSecured(t)
	pump := s.ca.Issue("pump", nil)
	a := guarded(t, "alice bob", "pattern readwrite %u/%c/#\n")
	b := serve(t, s.all, a.option, func(o *Options) {
		l := s.listener("mqtts")
		l.ClientCAFile, l.RequireCertificate, l.UseIdentityAsUsername = s.ca.File, true, true
		o.Listeners = append(o.Listeners, l)
	})
	var over atomic.Bool
	var sent, got atomic.Int64
	var all sync.WaitGroup
	for i, addr := range b.Addrs() {
		for n := range 3 {
			scheme, user := "mqtts", "alice"
			if i < len(schemes) {
				scheme = schemes[i]
			} else {
				user = "pump"
			}
			p := s.peer(t, scheme, addr, mqtt.V5, func(c *tls.Config) { c.Certificates = []tls.Certificate{pump.TLS} })
			id := fmt.Sprint("c", i, n)
			p.connect(id, as(user))
			topic := user + "/" + id + "/a"
			p.subscribe(0, topic)
			all.Go(func() {
				for !over.Load() {
					p.send(&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte(topic), Payload: []byte("x")})
					sent.Add(1)
					for range 2 { // PUBACK and the message
						packet, err := p.read(patience)
						if err != nil {
							t.Errorf("%s: %v", id, err)
							return
						}
						if _, ok := packet.(*mqtt.Publish); ok {
							got.Add(1)
						}
					}
				}
			})
		}
	}
	base := strings.TrimSuffix(s.pair.CertificateFile, ".pem")
	for n := range *reloads {
		s.ca.IssueAs(base, "broker", nil)
		a.writeUsers("bob alice" + strings.Repeat(" more", n%2))
		a.reload(fmt.Sprintf("# %d\npattern readwrite %%u/%%c/#\n", n))
		if err := b.Reload(); err != nil {
			t.Fatal(err)
		}
		// Newcomers come in with what holds now.
		p := s.peer(t, "wss", b.Addrs()[3], mqtt.V311)
		p.connect("new", as("bob"))
		p.send(&mqtt.Disconnect{})
		p.closed()
	}
	st := b.Stats()
	over.Store(true)
	all.Wait()
	for reason, n := range st.Disconnects {
		if n > 0 && reason != "disconnect" {
			t.Errorf("%d connections ended: %s", n, reason)
		}
	}
	if sent.Load() != got.Load() || len(failedOnes(b)) != 0 || st.Connections < 15 {
		t.Errorf("%d messages were sent and %d came; %d connections, failed %v", sent.Load(), got.Load(), st.Connections, failedOnes(b))
	}
	t.Logf("%d reloads, %d messages", *reloads, sent.Load())
}
