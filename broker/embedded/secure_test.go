package embedded

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/broker/websocket"
	"mqttsn-gateway/test/pki"
)

// schemes are what listeners can be.
var schemes = []string{"mqtt", "mqtts", "ws", "wss"}

// secured is an authority, with a listener for each of the schemes.
type secured struct {
	ca   *pki.Authority
	pair pki.Pair
}

func newSecured(t testing.TB) *secured {
	ca := pki.New(t, "authority")
	return &secured{ca: ca, pair: ca.Issue("broker", nil)}
}

// listener is one for a scheme.
func (s *secured) listener(scheme string) ListenerOptions {
	l := listeners("127.0.0.1:0")[0]
	if scheme[0] == 'w' {
		l.Protocol = protocolWebSockets
	}
	if strings.HasSuffix(scheme, "s") && scheme != "ws" {
		l.CertificateFile, l.KeyFile = s.pair.CertificateFile, s.pair.KeyFile
	}
	return l
}

// all is an option: a listener for each scheme, in their order.
func (s *secured) all(o *Options) {
	o.Listeners = nil
	for _, scheme := range schemes {
		o.Listeners = append(o.Listeners, s.listener(scheme))
	}
}

// over opens a connection by a scheme; err is that of TLS or WebSocket.
func (s *secured) over(t testing.TB, scheme string, addr net.Addr, change ...func(*tls.Config)) (net.Conn, error) {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if strings.HasSuffix(scheme, "s") && scheme != "ws" {
		config := &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS10}
		for _, f := range change {
			f(config)
		}
		over := tls.Client(conn, config)
		if err := over.Handshake(); err != nil {
			return conn, err
		}
		conn = over
	}
	if scheme[0] == 'w' {
		return websocket.Client(t.Context(), conn, addr.String(), "/mqtt")
	}
	return conn, nil
}

// peer is an MQTT client by a scheme.
func (s *secured) peer(t testing.TB, scheme string, addr net.Addr, v mqtt.Version, change ...func(*tls.Config)) *peer {
	t.Helper()
	conn, err := s.over(t, scheme, addr, change...)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, conn, v)
}

// Messages of all sizes go in at each listener and come out at each.
func TestWays(t *testing.T) {
	s := newSecured(t)
	b := serve(t, s.all)
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		for i, from := range schemes {
			for j, to := range schemes {
				a, z := s.peer(t, from, b.Addrs()[i], v), s.peer(t, to, b.Addrs()[j], v)
				a.connect("from")
				z.connect("to")
				z.subscribe(2, "a/b")
				for _, size := range []int{0, 1000, 20_000, 300_000} {
					payload := strings.Repeat("x", size)
					for qos := mqtt.QoS(0); qos <= 2; qos++ {
						a.publish("a/b", payload, qos, false)
						z.gets(payload, qos)
					}
				}
				for _, p := range []*peer{a, z} {
					p.send(&mqtt.Disconnect{})
					p.closed()
				}
			}
		}
	})
	for i, way := range b.Ways() {
		if way.Scheme != schemes[i] || way.TLS != (i%2 == 1) || way.Certificate || way.Addr != b.Addrs()[i] {
			t.Errorf("%+v", way)
		}
	}
}

// At the end clients are told, whatever is below MQTT, and nobody waits for those who do not
// answer.
func TestShutDownOfAllWays(t *testing.T) {
	s := newSecured(t)
	b := newBroker(t, s.all)
	stop := run(t, b)
	var peers []*peer
	for i, scheme := range schemes {
		p := s.peer(t, scheme, b.Addrs()[i], mqtt.V5)
		p.connect(scheme)
		peers = append(peers, p)
		conn, err := net.Dial("tcp", b.Addrs()[i].String()) // silent
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > patience {
		t.Errorf("it took %v", took)
	}
	for i, p := range peers {
		if d := expect[*mqtt.Disconnect](p); d.Code != 0x8B {
			t.Errorf("%s: %v", schemes[i], d.Code)
		}
		if _, err := p.read(patience); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", schemes[i], err)
		}
	}
}

// A client that sends now and then is not lost, though the deadline of its socket passes within
// a record or a frame.
func TestKeepAliveOfAllWays(t *testing.T) {
	s := newSecured(t)
	b := serve(t, s.all)
	var all sync.WaitGroup
	for i, scheme := range schemes {
		p := s.peer(t, scheme, b.Addrs()[i], mqtt.V5)
		p.connect(scheme, func(c *mqtt.Connect) { c.KeepAlive = 1 })
		all.Go(func() {
			for range 8 {
				<-time.After(400 * time.Millisecond)
				p.send(&mqtt.Pingreq{})
				if _, err := p.read(patience); err != nil {
					t.Errorf("%s: %v", scheme, err)
					return
				}
			}
			if packet, err := p.read(patience); err != nil {
				t.Errorf("%s: %v", scheme, err)
			} else if d, ok := packet.(*mqtt.Disconnect); !ok || d.Code != mqtt.Code(codeKeepAliveTimeout) {
				t.Errorf("%s: %+v", scheme, packet)
			}
		})
	}
	all.Wait()
}

// A client that does not read holds up nobody, neither when it is sent to nor at its end.
func TestSlowClientOfAllWays(t *testing.T) {
	s := newSecured(t)
	const limit = 64 << 10
	b := serve(t, s.all, func(o *Options) { o.MaxQueuedBytes = limit })
	for i, scheme := range schemes {
		addr := b.Addrs()[i]
		slow := s.peer(t, scheme, addr, mqtt.V311)
		slow.connect("slow")
		slow.subscribe(0, "slow")
		fast := s.peer(t, scheme, addr, mqtt.V311)
		fast.connect("fast")
		fast.subscribe(0, "fast")
		from := connected(t, b, "from", true)
		before := b.Stats().Dropped["slow_client"]
		payload := strings.Repeat("x", 10_000)
		for n := 0; b.Stats().Dropped["slow_client"] == before; n++ {
			from.publish("slow", payload, 0, false)
			b.Flush()
			if n%100 == 0 {
				from.publish("fast", "x", 0, false)
				b.Flush()
				fast.gets("x", 0)
			}
		}
		if n := outSize(b, "slow"); n > limit+2*len(payload) {
			t.Errorf("%s: %d octets wait", scheme, n)
		}
		begin := time.Now()
		again := s.peer(t, scheme, addr, mqtt.V311)
		again.connect("slow") // whose goroutine ends the other connection
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("%s: to take over took %v", scheme, took)
		}
		until(t, "the slow one is gone", func() bool { return outClients(b) == 2 })
		again.conn.Close()
		fast.conn.Close()
		until(t, "all are gone", func() bool { return outClients(b) == 0 })
		from.do(broker.Request{Op: broker.Disconnect})
	}
}

func outClients(b *Broker) int { return b.Stats().Connections }

// New certificates count for who connects from then on; what cannot be used changes nothing.
func TestReloadOfCertificates(t *testing.T) {
	s := newSecured(t)
	client := s.ca.Issue("client", nil)
	with := func(c *tls.Config) { c.Certificates = []tls.Certificate{client.TLS} }
	b := serve(t, func(o *Options) {
		o.Listeners = []ListenerOptions{s.listener("mqtt"), s.listener("mqtts"), s.listener("wss")}
		for i := range o.Listeners[1:] {
			o.Listeners[i+1].ClientCAFile, o.Listeners[i+1].RequireCertificate = s.ca.File, true
		}
	})
	if got := fmt.Sprint(b.Files()); strings.Count(got, ".pem") != 2 || strings.Count(got, ".key") != 1 {
		t.Errorf("files: %v", got)
	}
	sessions := tls.NewLRUClientSessionCache(10)
	serial := func(scheme string, addr net.Addr) (string, bool) {
		t.Helper()
		var state tls.ConnectionState
		p := s.peer(t, scheme, addr, mqtt.V5, with, func(c *tls.Config) {
			c.ClientSessionCache = sessions
			c.VerifyConnection = func(s tls.ConnectionState) error { state = s; return nil }
		})
		p.connect("")
		return state.PeerCertificates[0].SerialNumber.String(), state.DidResume
	}
	old, _ := serial("mqtts", b.Addrs()[1])
	if again, resumed := serial("mqtts", b.Addrs()[1]); again != old || !resumed {
		t.Errorf("serial %s, was %s, resumed %v", again, old, resumed)
	}
	stays := s.peer(t, "wss", b.Addrs()[2], mqtt.V5, with)
	stays.connect("stays")

	files := strings.TrimSuffix(s.pair.CertificateFile, ".pem")
	s.ca.IssueAs(files, "broker", nil)
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	if now, resumed := serial("mqtts", b.Addrs()[1]); now == old || resumed {
		t.Errorf("serial %s, was %s, resumed %v", now, old, resumed)
	}
	current, _ := serial("wss", b.Addrs()[2])

	other := pki.New(t, "another")
	other.IssueAs(files+"x", "broker", nil)
	for name, break1 := range map[string]struct {
		file, from, says string
	}{
		"a key that does not fit":      {s.pair.KeyFile, files + "x.key", "listeners.1.certificate_file: "},
		"an authority that is none":    {s.ca.File, files + "x.key", "listeners.1.client_ca_file: "},
		"a certificate that is no PEM": {s.pair.CertificateFile, os.Args[0], "listeners.1.certificate_file: "},
	} {
		good, _ := os.ReadFile(break1.file)
		bad, _ := os.ReadFile(break1.from)
		_ = os.WriteFile(break1.file, bad[:min(len(bad), 5000)], 0o600)
		if err := b.Reload(); err == nil || !strings.HasPrefix(err.Error(), break1.says) || !strings.Contains(err.Error(), break1.file) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := serial("wss", b.Addrs()[2]); now != current {
			t.Errorf("%s: it counts in part", name)
		}
		_ = os.WriteFile(break1.file, good, 0o600)
	}

	// Clients of an authority that is not trusted any more do not come in again, also not
	// with a session from before.
	text, _ := os.ReadFile(other.File)
	_ = os.WriteFile(s.ca.File, text, 0o600)
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	conn, err := s.over(t, "mqtts", b.Addrs()[1], with, func(c *tls.Config) { c.ClientSessionCache = sessions })
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err = conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
	}
	stays.publish("a", "b", 1, false)
}

// What is wrong with a file is told at the start, by its option.
func TestFilesAtTheStart(t *testing.T) {
	s := newSecured(t)
	l := s.listener("mqtts")
	l.KeyFile += "x"
	o := DefaultOptions()
	o.Listeners = []ListenerOptions{s.listener("mqtt"), l}
	if _, err := New(o, nil, silent()); err == nil || !strings.HasPrefix(err.Error(), "listeners.1.key_file: ") {
		t.Errorf("%v", err)
	}
	if _, err := Listen(l); err == nil || !strings.HasPrefix(err.Error(), "key_file: ") {
		t.Errorf("%v", err)
	}
	s.pair = s.ca.Issue("broker", pki.Expired)
	o.Listeners = []ListenerOptions{s.listener("mqtts")}
	var text bytes.Buffer
	b, err := New(o, nil, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil || !strings.Contains(text.String(), "level=WARN msg=\"the certificate has expired") || !strings.Contains(text.String(), s.pair.CertificateFile) {
		t.Fatalf("%v %s", err, text.String())
	}
	_ = b.Close()
}

// Reading anew holds up nobody, and drops nobody.
func TestReloadWhileClientsConnect(t *testing.T) {
	s := newSecured(t)
	b := serve(t, s.all)
	var over atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !over.Load() {
			if err := b.Reload(); err != nil {
				t.Error(err)
			}
		}
	})
	for i, scheme := range schemes[1:] {
		for range 20 {
			p := s.peer(t, scheme, b.Addrs()[i+1], mqtt.V5)
			p.connect("")
			p.publish("a", "b", 1, false)
		}
	}
	over.Store(true)
	all.Wait()
	if n := b.Stats().Connections; n != 60 {
		t.Errorf("%d are connected", n)
	}
}
