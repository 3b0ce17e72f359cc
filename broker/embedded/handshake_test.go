package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/test/pki"
)

// failedOnes are the handshakes that have failed.
func failedOnes(b *Broker) map[string]uint64 {
	all := b.Stats().Handshakes
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}

// Each way not to get to MQTT is one line of the log, with who and why, and one in a counter.
func TestMisfits(t *testing.T) {
	s := newSecured(t)
	other := pki.New(t, "another")
	certificates := func(p pki.Pair) func(*tls.Config) {
		return func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.TLS, nil }
		}
	}
	speak := func(text string) func(*testing.T, *Broker, net.Addr) {
		return func(t *testing.T, _ *Broker, addr net.Addr) {
			p := dialAt(t, addr, mqtt.V311)
			_, _ = io.WriteString(p.conn, text)
			_ = p.conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, p.conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
			p.conn.Close()
		}
	}
	hands := func(change ...func(*tls.Config)) func(*testing.T, *Broker, net.Addr) {
		return func(t *testing.T, _ *Broker, addr net.Addr) {
			conn, err := s.over(t, "mqtts", addr, change...)
			if err == nil { // a client may learn that its certificate is refused after its own part is done
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil || strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "EOF") {
				t.Errorf("the client does not learn why: %v", err)
			}
			conn.Close()
		}
	}
	connect := string((&mqtt.Connect{CleanStart: true, ClientID: []byte("c")}).Append(nil, mqtt.V311))
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 600)
	const web = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, c := range map[string]struct {
		listener string
		do       func(*testing.T, *Broker, net.Addr)
		reason   string
		says     string
	}{
		"MQTT to TLS":            {"mqtts", speak(connect), "no_tls", "mqtts://"},
		"HTTP to TLS":            {"wss", speak(web + "\r\n"), "no_tls", "wss://"},
		"TLS to plain":           {"mqtt", speak(hello), "unexpected_tls", "certificate_file"},
		"WebSocket to plain":     {"mqtt", speak(web + "Sec-WebSocket-Protocol: mqtt\r\n\r\n"), "unexpected_http", "protocol: websockets"},
		"MQTT to WebSocket":      {"ws", speak(connect + "\n"), "no_websocket", "ws://"},
		"TLS to WebSocket":       {"ws", speak(hello + "\n"), "no_websocket", "another port"},
		"a browser's visit":      {"ws", speak("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "no_websocket", "no request for WebSocket"},
		"no subprotocol":         {"ws", speak(web + "\r\n"), "no_subprotocol", "subprotocol"},
		"a page from elsewhere":  {"ws", speak(web + "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://evil.example\r\n\r\n"), "origin", `\"https://evil.example\"`},
		"no certificate":         {"client", hands(), "no_certificate", "require_certificate"},
		"no certificate, 1.2":    {"client", hands(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "no_certificate", "require_certificate"},
		"an expired certificate": {"client", hands(certificates(s.ca.Issue("c1", pki.Expired))), "expired_certificate", "certificate=c1"},
		"another authority":      {"client", hands(certificates(other.Issue("c2", nil))), "unknown_authority", "certificate=c2"},
		"a server's certificate": {"client", hands(certificates(s.ca.Issue("c3", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}))), "bad_certificate", "certificate=c3"},
		"a nameless certificate": {"client", hands(certificates(s.ca.Issue("", nil))), "bad_certificate", "common name"},
		"we are not trusted": {"mqtts", func(t *testing.T, _ *Broker, addr net.Addr) {
			conn, err := s.over(t, "mqtts", addr, func(c *tls.Config) { c.RootCAs = other.Pool() })
			if err == nil {
				t.Error("trusted")
			}
			conn.Close()
		}, "certificate_refused", "does not trust"},
		"TLS 1.1": {"mqtts", hands(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), "incompatible", "versions"},
		"a cipher without AEAD": {"mqtts", hands(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}), "incompatible", "cipher"},
	} {
		t.Run(name, func(t *testing.T) {
			l := s.listener("mqtts")
			if c.listener == "client" {
				l.ClientCAFile, l.RequireCertificate, l.UseIdentityAsUsername = s.ca.File, true, true
			} else {
				l = s.listener(c.listener)
			}
			b, text := logged(t, slog.LevelInfo, func(o *Options) { o.Listeners = []ListenerOptions{l} })
			c.do(t, b, b.Addrs()[0])
			until(t, "it is over", func() bool { return b.Stats().Connections == 0 })
			if all := failedOnes(b); len(all) != 1 || all[c.reason] != 1 {
				t.Errorf("counted %v, want %s", all, c.reason)
			}
			line := text.String()
			for _, part := range []string{"level=WARN", "remote=127.0.0.1:", "listener=127.0.0.1:0", "reason=" + c.reason, c.says} {
				if strings.Count(line, "\n") != 1 || !strings.Contains(line, part) {
					t.Fatalf("the log does not say %s: %s", part, line)
				}
			}
		})
	}
}

// However many fail, the log has a few lines of it, and the counter all.
func TestMisfitsFloodNoLog(t *testing.T) {
	s := newSecured(t)
	b, text := logged(t, slog.LevelInfo, s.all, func(o *Options) { o.ConnectRate = 0 })
	const n = 500
	for range n {
		p := dialAt(t, b.Addrs()[1], mqtt.V311)
		_, _ = io.WriteString(p.conn, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a")
		p.conn.(*net.TCPConn).CloseWrite()
	}
	until(t, "all are counted", func() bool { return b.Stats().Handshakes["no_tls"] == n })
	if lines := strings.Count(text.String(), "\n"); lines < 10 || lines > journalBurst+10*journalRate {
		t.Errorf("%d lines", lines)
	}
}

// Who does not end a handshake is closed when its time for CONNECT is over, and keeps nobody
// out meanwhile.
func TestSlowHandshakes(t *testing.T) {
	s := newSecured(t)
	b := serve(t, s.all, func(o *Options) { o.ConnectTimeout, o.MaxPendingConnections = 2*time.Second, 20 })
	starts := map[string]string{
		"mqtts": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "ws": "GET / HTTP/1.1\r\nX: ", "wss": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	}
	for i, scheme := range schemes[1:] {
		for range 10 {
			p := dialAt(t, b.Addrs()[i+1], mqtt.V5)
			_, _ = io.WriteString(p.conn, starts[scheme])
			go func() { // octet by octet
				for range 100 {
					<-time.After(50 * time.Millisecond)
					if _, err := io.WriteString(p.conn, "x"); err != nil {
						return
					}
				}
			}()
		}
	}
	for i, scheme := range schemes {
		s.peer(t, scheme, b.Addrs()[i], mqtt.V5).connect(scheme)
	}
	until(t, "they are closed", func() bool { return b.Stats().Connections == 4 })
	st := b.Stats()
	if st.Refused["connect_timeout"]+st.Refused["max_pending_connections"] != 30 || st.Refused["connect_timeout"] < 10 || len(failedOnes(b)) != 0 {
		t.Errorf("%v %v", st.Refused, failedOnes(b))
	}
}

// The certificate says who the client is, whatever it says itself, and what it may.
func TestIdentityAsUsername(t *testing.T) {
	s := newSecured(t)
	a := guarded(t, "other third", "pattern readwrite %u/#\n")
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b, text := logged(t, slog.LevelInfo, a.option, func(o *Options) {
			l := s.listener("mqtts")
			l.ClientCAFile, l.RequireCertificate, l.UseIdentityAsUsername = s.ca.File, true, true
			web := l
			web.Protocol = protocolWebSockets
			o.Listeners = []ListenerOptions{l, web, s.listener("mqtts")}
		})
		pump := s.ca.Issue("pump", nil)
		with := func(c *tls.Config) { c.Certificates = []tls.Certificate{pump.TLS} }
		for i, scheme := range []string{"mqtts", "wss"} {
			p := s.peer(t, scheme, b.Addrs()[i], v, with)
			p.connect("c", func(c *mqtt.Connect) { c.Username, c.Password = []byte("other"), []byte("wrong") })
			p.subscribe(1, "pump/a")
			p.publish("pump/a", "1", 0, false)
			p.gets("1", 0)
			before := b.Stats().Dropped["not_authorized"]
			p.send(&mqtt.Publish{Topic: []byte("other/a")})
			until(t, "it is refused", func() bool { return b.Stats().Dropped["not_authorized"] == before+1 })
			if v != mqtt.V5 || scheme != "wss" {
				continue
			}
			// A reload of passwords says nothing of certificates.
			a.writeUsers("other:2 third")
			a.reload("")
			<-time.After(2 * reviewInterval)
			p.publish("pump/a", "2", 0, false)
			p.gets("2", 0)
		}
		if !strings.Contains(text.String(), "user=pump") {
			t.Errorf("logged: %s", text.String())
		}
		// Whoever shows no certificate needs a password, and the session of a certificate is its own.
		p := s.peer(t, "mqtts", b.Addrs()[0], v, with)
		p.connect("mine", stay)
		p.send(&mqtt.Disconnect{})
		p.closed()
		q := s.peer(t, "mqtts", b.Addrs()[2], v)
		q.refused("mine", 0x87, func(c *mqtt.Connect) { c.Username, c.Password = []byte("third"), []byte("pw-third") })
	})
}

// Without files of rights, too, a session stays with the certificate that it was made with.
func TestSessionOfCertificate(t *testing.T) {
	s := newSecured(t)
	b := serve(t, func(o *Options) {
		l := s.listener("mqtts")
		l.ClientCAFile, l.RequireCertificate, l.UseIdentityAsUsername = s.ca.File, true, true
		o.Listeners = []ListenerOptions{l, s.listener("mqtt")}
	})
	by := func(name string) *peer {
		pair := s.ca.Issue(name, nil)
		return s.peer(t, "mqtts", b.Addrs()[0], mqtt.V5, func(c *tls.Config) { c.Certificates = []tls.Certificate{pair.TLS} })
	}
	by("pump").connect("c", stay)
	by("valve").refused("c", 0x87)
	dialAt(t, b.Addrs()[1], mqtt.V5).refused("c", 0x87)
	p := by("pump")
	p.connect("c", stay)
	if !p.connack.SessionPresent {
		t.Error("the session is not there")
	}
}

// Certificates without require_certificate: who shows one has to show a good one.
func TestOptionalCertificate(t *testing.T) {
	s := newSecured(t)
	b := serve(t, func(o *Options) {
		l := s.listener("mqtts")
		l.ClientCAFile = s.ca.File
		o.Listeners = []ListenerOptions{l}
	})
	s.peer(t, "mqtts", b.Addrs()[0], mqtt.V5).connect("none")
	good := s.ca.Issue("good", nil)
	s.peer(t, "mqtts", b.Addrs()[0], mqtt.V5, func(c *tls.Config) { c.Certificates = []tls.Certificate{good.TLS} }).connect("good")
	bad := pki.New(t, "another").Issue("bad", nil)
	conn, err := s.over(t, "mqtts", b.Addrs()[0], func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &bad.TLS, nil }
	})
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || os.IsTimeout(err) {
		t.Errorf("let in: %v", err)
	}
}
