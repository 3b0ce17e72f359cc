package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker/websocket"
	"mqttsn-gateway/test/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// listen is a server that echoes, and says first how its handshake went.
func listen(t testing.TB, c *tls.Config) (endpoint Endpoint, resumed chan bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resumed = make(chan bool, 100)
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		defer close(resumed)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			over := tls.Server(conn, c)
			if over.Handshake() == nil {
				resumed <- over.ConnectionState().DidResume
				_, _ = io.Copy(over, over)
			}
			_ = over.Close()
		}
	}()
	endpoint, err = Parse("mqtts://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return endpoint, resumed
}

// talk says something and hears it again, so that all there is to know of the handshake, and
// the ticket of a session, has come.
func talk(t *testing.T, d *Dialer, e Endpoint, cert *tls.Certificate) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.Dial(ctx, e, cert)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return Explain(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil {
		return Explain(err)
	}
	if string(got) != "hello" {
		t.Errorf("heard %q", got)
	}
	return nil
}

func TestVerification(t *testing.T) {
	ca, other := pki.New(t, "authority"), pki.New(t, "another")
	trusting := Options{Roots: ca.Pool()}
	for name, c := range map[string]struct {
		server   pki.Pair
		options  Options
		insecure bool
		reason   Reason // "" if it works
		says     string
	}{
		"all is well":       {server: ca.Issue("broker", nil), options: trusting},
		"unknown authority": {server: other.Issue("broker", nil), options: trusting, reason: UnknownAuthority, says: "broker.ca_file"},
		"system's only":     {server: ca.Issue("broker", nil), reason: UnknownAuthority, says: "CN=authority"},
		"expired":           {server: ca.Issue("broker", pki.Expired), options: trusting, reason: Expired, says: "CN=broker"},
		"wrong name":        {server: ca.Issue("broker", pki.OtherName), options: trusting, reason: WrongName, says: "broker.server_name"},
		"wrong name, said":  {server: ca.Issue("broker", pki.OtherName), options: Options{Roots: ca.Pool(), ServerName: "other.example"}},
		"another name said": {server: ca.Issue("broker", nil), options: Options{Roots: ca.Pool(), ServerName: "other.example"}, reason: WrongName},
		"insecure":          {server: other.Issue("broker", pki.Expired), options: trusting, insecure: true},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{c.server.TLS}, MinVersion: tls.VersionTLS12})
			e.Insecure = c.insecure
			check(t, talk(t, NewDialer(c.options), e, nil), c.reason, c.says)
		})
	}
}

func check(t *testing.T, err error, reason Reason, says string) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var f *Fault
	if !errors.As(err, &f) || f.Reason != reason || !strings.Contains(f.Error(), says) {
		t.Fatalf("%v, want %s and %q", err, reason, says)
	}
}

// Both versions of TLS: with 1.3 the broker's word on our certificate comes late.
func TestClientCertificates(t *testing.T) {
	ca, other := pki.New(t, "authority"), pki.New(t, "another")
	server := ca.Issue("broker", nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e, _ := listen(t, &tls.Config{
			Certificates: []tls.Certificate{server.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
			MinVersion: tls.VersionTLS12, MaxVersion: version,
		})
		d := NewDialer(Options{Roots: ca.Pool(), Sessions: 10})
		good, wrong, old := ca.Issue("us", nil), other.Issue("us", nil), ca.Issue("us", pki.Expired)
		check(t, talk(t, d, e, &good.TLS), "", "")
		check(t, talk(t, d, e, &wrong.TLS), CertificateRefused, "")
		check(t, talk(t, d, e, &old.TLS), CertificateRefused, "broker.certificate_file")
		check(t, talk(t, d, e, nil), CertificateRefused, "wants a certificate")
	}
}

func TestVersionsAndProtocols(t *testing.T) {
	ca := pki.New(t, "authority")
	server := ca.Issue("broker", nil)
	old, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{server.TLS}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	check(t, talk(t, NewDialer(Options{Roots: ca.Pool()}), old, nil), HandshakeFailed, "")

	amazon, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{server.TLS}, NextProtos: []string{"x-amzn-mqtt-ca"}, MinVersion: tls.VersionTLS12})
	check(t, talk(t, NewDialer(Options{Roots: ca.Pool(), ALPN: "x-amzn-mqtt-ca"}), amazon, nil), "", "")
	check(t, talk(t, NewDialer(Options{Roots: ca.Pool(), ALPN: "other"}), amazon, nil), HandshakeFailed, "broker.alpn")
}

// Sessions are resumed, and never with the certificate of somebody else.
func TestResumption(t *testing.T) {
	ca := pki.New(t, "authority")
	server := ca.Issue("broker", nil)
	one, two := ca.Issue("one", nil), ca.Issue("two", nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e, resumed := listen(t, &tls.Config{
			Certificates: []tls.Certificate{server.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
			MinVersion: tls.VersionTLS12, MaxVersion: version,
		})
		d := NewDialer(Options{Roots: ca.Pool(), Sessions: 10})
		for i, c := range []struct {
			cert *tls.Certificate
			want bool
		}{{&one.TLS, false}, {&one.TLS, true}, {&two.TLS, false}, {&two.TLS, true}, {&one.TLS, true}} {
			if err := talk(t, d, e, c.cert); err != nil {
				t.Fatal(err)
			}
			if got := <-resumed; got != c.want {
				t.Errorf("connection %d: resumed %v", i, got)
			}
		}
	}
}

// once is a server that does something with one connection.
func once(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			_ = conn.SetDeadline(time.Now().Add(patience))
			do(conn)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestPortsThatSpeakSomethingElse(t *testing.T) {
	for name, c := range map[string]struct {
		scheme string
		do     func(net.Conn)
		reason Reason
		says   string
	}{
		"closes":  {"mqtts", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, NoTLS, "use mqtt://"},
		"answers": {"mqtts", func(c net.Conn) { _, _ = c.Read(make([]byte, 9)); _, _ = c.Write([]byte{0x20, 3, 0, 1, 0}) }, NoTLS, "use mqtt://"},
		"over wss": {"wss", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 9))
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n"))
		}, NoTLS, "use ws://"},
		"no web": {"ws", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, NoWebSocket, "wss://"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Parse(c.scheme + "://" + once(t, c.do))
			if err != nil {
				t.Fatal(err)
			}
			_, err = NewDialer(Options{}).Dial(t.Context(), e, nil)
			check(t, err, c.reason, c.says)
		})
	}
	check(t, Foreign([]byte{0x15, 3, 3, 0, 2}), WantsTLS, "mqtts://")
	check(t, Foreign([]byte("HTTP/1.1 400")), NoWebSocket, "ws://")
	for _, mqtt := range []string{"", "\x20", "\x20\x03\x00\x00\x00", "\xe0\x00", "\x15", "H"} {
		if err := Foreign([]byte(mqtt)); err != nil {
			t.Errorf("%q: %v", mqtt, err)
		}
	}
}

func TestOverWebSocket(t *testing.T) {
	ca := pki.New(t, "authority")
	pair := ca.Issue("broker", nil)
	for _, scheme := range []string{"ws", "wss"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			below, err := l.Accept()
			if err != nil {
				return
			}
			_ = below.SetDeadline(time.Now().Add(patience))
			if scheme == "wss" {
				below = tls.Server(below, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: tls.VersionTLS12})
			}
			conn := websocket.Server(below, nil, scheme == "wss")
			if err := conn.Handshake(); err == nil {
				_, _ = io.Copy(conn, conn)
			}
			_ = conn.Close()
		}()
		e, err := Parse(scheme + "://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		check(t, talk(t, NewDialer(Options{Roots: ca.Pool()}), e, nil), "", "")
		_ = l.Close()
		<-done
	}
}

// Close must not wait for a peer that takes nothing.
func TestCloseDoesNotWait(t *testing.T) {
	ca := pki.New(t, "authority")
	pair := ca.Issue("broker", nil)
	full := make(chan struct{})
	address := once(t, func(c net.Conn) {
		over := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: tls.VersionTLS12})
		_ = over.Handshake()
		<-full
	})
	e, err := Parse("mqtts://" + address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := NewDialer(Options{Roots: ca.Pool()}).Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for {
			if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	begin := time.Now()
	_ = conn.Close()
	<-wrote
	close(full)
	if took := time.Since(begin); took > 4*time.Second { // crypto/tls waits for 5 s
		t.Errorf("it took %v", took)
	}
}

// A server that says nothing is not waited for longer than the context lasts.
func TestTimeout(t *testing.T) {
	for _, scheme := range []string{"mqtts", "ws"} {
		address := once(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, bufio.NewReader(c)) })
		e, err := Parse(scheme + "://" + address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = NewDialer(Options{}).Dial(ctx, e, nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}
