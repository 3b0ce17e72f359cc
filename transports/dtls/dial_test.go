package dtls

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/transports"
)

// dial connects, or fails.
func dial(t testing.TB, address string, o ClientOptions) (net.Conn, error) {
	t.Helper()
	ctx, cancel := contextFor(limit)
	defer cancel()
	c, err := Dial(ctx, address, o)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(limit))
	}
	return c, err
}

func mustDial(t testing.TB, address string, o ClientOptions) net.Conn {
	t.Helper()
	c, err := dial(t, address, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withTestKey(identity string) ClientOptions {
	return ClientOptions{Identity: identity, Key: testKey}
}

// TestDial: each way to prove who one is, or to prove nothing.
func TestDial(t *testing.T) {
	ca := newAuthority(t, "test CA")
	client := ca.issue(t, "ecdsa", nil)
	keys := echo(t, pskOptions(t), quiet())
	for _, kind := range []string{"ecdsa", "rsa"} {
		o := certOptions(t, ca, kind)
		o.ClientCertificates, o.ClientCAFile = certificatesOptional, ca.file
		certs := echo(t, o, quiet())
		for name, c := range map[string]struct {
			link *Link
			o    ClientOptions
		}{
			"key":           {keys, withTestKey("sensor-1")},
			"key and id":    {keys, ClientOptions{Identity: "sensor-2", Key: testKey, ConnectionID: true}},
			"authority":     {certs, ClientOptions{CAFile: ca.file}},
			"server's name": {certs, ClientOptions{CAFile: ca.file, ServerName: "gateway.test"}},
			"insecure":      {certs, ClientOptions{Insecure: true, ServerName: "other.test"}},
			"certificate":   {certs, ClientOptions{CAFile: ca.file, CertificateFile: client.certFile, KeyFile: client.keyFile, ConnectionID: true}},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				conn := mustDial(t, c.link.Addr().String(), c.o)
				for _, text := range []string{"a", strings.Repeat("b", c.link.MTU()), "c"} {
					say(t, conn, text)
				}
			})
		}
	}
}

// TestDialPinned: a server's own certificate will do as its authority.
func TestDialPinned(t *testing.T) {
	ca := newAuthority(t, "127.0.0.1")
	o := certOptions(t, ca, "ecdsa")
	l := echo(t, o, quiet())
	say(t, mustDial(t, l.Addr().String(), ClientOptions{CAFile: o.CertificateFile}), "hello")
}

// TestDialRefused: why it fails is one of the package's errors.
func TestDialRefused(t *testing.T) {
	t.Run("without connection id", func(t *testing.T) { testDialRefused(t, false) })
	t.Run("with connection id", func(t *testing.T) { testDialRefused(t, true) })
}

func testDialRefused(t *testing.T, id bool) {
	ca, foreign := newAuthority(t, "test CA"), newAuthority(t, "test CA")
	keys := echo(t, pskOptions(t), quiet()).Addr().String()
	certs := echo(t, certOptions(t, ca, "ecdsa"), quiet()).Addr().String()
	o := certOptions(t, ca, "ecdsa")
	o.ClientCertificates, o.ClientCAFile = certificatesRequired, ca.file
	mutual := echo(t, o, quiet()).Addr().String()
	o = certOptions(t, ca, "ecdsa")
	late := ca.issue(t, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	o.CertificateFile, o.KeyFile = late.certFile, late.keyFile
	expired := echo(t, o, quiet()).Addr().String()
	stranger := foreign.issue(t, "ecdsa", nil)
	for name, c := range map[string]struct {
		address string
		o       ClientOptions
		want    error
		says    string
	}{
		"wrong key":           {keys, ClientOptions{Identity: "sensor-1", Key: []byte("0123456789abcdeX")}, ErrKeyRefused, "alert 51 (decrypt error)"},
		"unknown identity":    {keys, withTestKey("sensor-x"), ErrKeyRefused, "alert 51 (decrypt error)"},
		"key wanted":          {keys, ClientOptions{Insecure: true}, ErrNothingInCommon, "may want a pre-shared key"},
		"certificates wanted": {certs, withTestKey("sensor-1"), ErrNothingInCommon, "or the other way round"},
		"nobody trusted":      {certs, ClientOptions{}, ErrNotTrusted, "unknown authority"},
		"another trusted":     {certs, ClientOptions{CAFile: foreign.file}, ErrNotTrusted, "x509: "},
		"another name":        {certs, ClientOptions{CAFile: ca.file, ServerName: "other.test"}, ErrNotTrusted, "not other.test"},
		"expired":             {expired, ClientOptions{CAFile: ca.file}, ErrNotTrusted, "expired"},
		"no certificate":      {mutual, ClientOptions{CAFile: ca.file}, ErrCertificateRefused, "alert "},
		"foreign certificate": {mutual, ClientOptions{CAFile: ca.file, CertificateFile: stranger.certFile, KeyFile: stranger.keyFile}, ErrCertificateRefused, "alert "},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.ConnectionID = id
			_, err := dial(t, c.address, c.o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "dtls: "+c.address+": ") {
				t.Errorf("%v, want %v with %q", err, c.want, c.says)
			}
		})
	}
}

// TestDialTellsWhy: a server hears that it is not trusted, with and without connection ids.
func TestDialTellsWhy(t *testing.T) {
	for _, id := range []bool{false, true} {
		log := &logBuffer{}
		l := echo(t, certOptions(t, newAuthority(t, "test CA"), "ecdsa"), log.logger())
		if _, err := dial(t, l.Addr().String(), ClientOptions{ConnectionID: id}); !errors.Is(err, ErrNotTrusted) {
			t.Fatal(err)
		}
		until(t, "the alert", func() bool {
			return l.Stats().Failed == Failures{Refused: 1} && strings.Contains(log.String(), "42 (bad certificate)")
		})
	}
}

// TestAlertMeans: what other servers say.
func TestAlertMeans(t *testing.T) {
	for code, want := range map[byte]error{
		20: ErrKeyRefused, 40: ErrNothingInCommon, 41: ErrCertificateRefused, 46: ErrCertificateRefused,
		47: ErrRefused, 48: ErrCertificateRefused, 80: ErrRefused, 115: ErrUnknownIdentity,
	} {
		if got := alertMeans(code); !errors.Is(got, want) {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
}

// TestDialNobody: nobody listens, nobody answers, or not to the end.
func TestDialNobody(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address := silent.LocalAddr().String()
	ctx, cancel := contextFor(50 * time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, address, withTestKey("sensor-1")); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
	why := errors.New("a signal")
	cancelled, stop := context.WithCancelCause(t.Context())
	stop(why)
	if _, err := Dial(cancelled, address, withTestKey("sensor-1")); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	_ = silent.Close()
	if _, err := dial(t, address, withTestKey("sensor-1")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}

	n := newNAT(t, echo(t, pskOptions(t), quiet()).Addr().String())
	// lost is a deadline that ends with the first datagram of that kind, which is lost.
	lost := func(kind func([]byte) bool) context.Context {
		ctx, expire := context.WithCancelCause(t.Context())
		n.lose(func(b []byte) bool {
			if !kind(b) {
				return false
			}
			expire(context.DeadlineExceeded)
			return true
		})
		return ctx
	}
	ctx = lost(func(b []byte) bool { return b[0] == typeHandshake && b[recordHeader] != helloVerifyRequest })
	if _, err := Dial(ctx, n.address(), withTestKey("sensor-1")); !errors.Is(err, ErrTimeout) || strings.Contains(err.Error(), "key") {
		t.Errorf("no ServerHello: %v", err)
	}
	ctx = lost(func(b []byte) bool { return b[0] == typeAlert })
	if _, err := Dial(ctx, n.address(), withTestKey("sensor-x")); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "perhaps the key is wrong") {
		t.Errorf("no alert: %v", err)
	}
}

// TestDialMoves: with a connection id the client is heard from its new address, and is
// answered there.
func TestDialMoves(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	n := newNAT(t, l.Addr().String())
	c := mustDial(t, n.address(), ClientOptions{Identity: "sensor-1", Key: testKey, ConnectionID: true})
	for range 5 {
		say(t, c, "hello")
		n.hop(t)
	}
	say(t, c, "hello")
	if s := l.Stats(); s.Moved != 5 || s.Handshakes != 1 {
		t.Errorf("%+v", s)
	}
}

// TestDialEnds: both sides say goodbye, and deadlines are kept.
func TestDialEnds(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	c := mustDial(t, l.Addr().String(), withTestKey("sensor-1"))
	_ = c.SetReadDeadline(longAgo)
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read after the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(limit))
	_ = c.SetWriteDeadline(longAgo)
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write after the deadline: %v", err)
	}
	_ = c.SetWriteDeadline(time.Time{})
	if _, err := c.Write(make([]byte, maxMessage+1)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("Write of too much: %v", err)
	}
	if _, err := c.Write(make([]byte, maxMessage)); err != nil {
		t.Errorf("Write of %d octets: %v", maxMessage, err)
	}
	until(t, "the long message", func() bool { return l.Stats().Drops.Oversize == 1 })
	say(t, c, "hello")
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	until(t, "the goodbye", func() bool { return l.Stats().Closed.Peer == 1 })
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Errorf("Read after Close: %v", err)
	}

	c = mustDial(t, l.Addr().String(), withTestKey("sensor-1"))
	say(t, c, "hello")
	_ = l.Close()
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Errorf("Read after the server's goodbye: %v", err)
	}
	until(t, "Write failing", func() bool {
		_, err := c.Write([]byte("x"))
		return errors.Is(err, net.ErrClosed)
	})
}

// TestLastWords: what is said right before a goodbye is heard.
func TestLastWords(t *testing.T) {
	l := openLink(t, pskOptions(t), quiet())
	heard := make(chan string, 100)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			heard <- string(d.Data)
		}
	})
	for range 50 {
		c := mustDial(t, l.Addr().String(), ClientOptions{Identity: "sensor-1", Key: testKey, ConnectionID: true})
		for _, text := range []string{"hello", "goodbye"} {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if text == "hello" { // the handshake is over for the link too
				if got := wait(t, heard); got != text {
					t.Fatalf("heard %q", got)
				}
			}
		}
		_ = c.Close()
		if got := wait(t, heard); got != "goodbye" {
			t.Fatalf("heard %q", got)
		}
	}
}

// TestDialOptions: what cannot be, or cannot go together.
func TestDialOptions(t *testing.T) {
	ca := newAuthority(t, "test CA")
	pair := ca.issue(t, "ecdsa", nil)
	for want, o := range map[string]ClientOptions{
		"dtls: an identity and a key":                {Identity: "a"},
		"dtls: an identity and a key are":            {Key: testKey},
		"dtls: the identity may have":                {Identity: strings.Repeat("x", 129), Key: testKey},
		"dtls: a pre-shared key and":                 {Identity: "a", Key: testKey, Insecure: true},
		"dtls: a certificate file":                   {CertificateFile: "c"},
		"dtls: a file of authorities":                {CAFile: "c", Insecure: true},
		"ca_file: open /none":                        {CAFile: "/none"},
		"ca_file: " + pair.keyFile:                   {CAFile: pair.keyFile},
		"certificate_file: open /none":               {CertificateFile: "/none", KeyFile: pair.keyFile},
		"key_file: open /none":                       {CertificateFile: pair.certFile, KeyFile: "/none"},
		"certificate_file: " + ca.file + " with key": {CertificateFile: ca.file, KeyFile: pair.keyFile},
	} {
		if _, err := dial(t, "127.0.0.1:1", o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := dial(t, "127.0.0.1", ClientOptions{}); err == nil || !strings.Contains(err.Error(), "write HOST:PORT") {
		t.Errorf("no port: %v", err)
	}
	for want, o := range map[string]ClientOptions{
		"": {}, "a": withTestKey("a"), "gateway.test": {CertificateFile: pair.certFile, KeyFile: pair.keyFile},
	} {
		if got, err := o.Name(); got != want || err != nil {
			t.Errorf("Name: %q, %v, want %q", got, err, want)
		}
	}
}

func TestLoadKey(t *testing.T) {
	one := writeFile(t, "one", "# mine\nsensor-1:00112233445566778899aabbccddeeff\n", 0o600)
	two := writeFile(t, "two", "sensor-1:0011\nsensor-2:2233\n", 0o600)
	for _, c := range []struct{ file, identity, name, key, err string }{
		{one, "", "sensor-1", "00112233445566778899aabbccddeeff", ""},
		{one, "sensor-1", "sensor-1", "00112233445566778899aabbccddeeff", ""},
		{one, "sensor-2", "", "", one + ` has no key for "sensor-2"`},
		{two, "sensor-2", "sensor-2", "2233", ""},
		{two, "", "", "", two + " has the keys of 2 identities"},
		{"/none", "", "", "", "open /none"},
		{writeFile(t, "open", "sensor-1:0011", 0o644), "", "", "", "chmod 600"},
	} {
		name, key, err := LoadKey(c.file, c.identity)
		if name != c.name || hex.EncodeToString(key) != c.key || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %q: %q, %x, %v", c.file, c.identity, name, key, err)
		}
	}
}

// nat lies between one client and a server. hop gives the client another address.
type nat struct {
	inside  *net.UDPConn
	server  string
	readers sync.WaitGroup

	mu      sync.Mutex
	outside net.Conn
	all     []net.Conn
	client  net.Addr
	drop    func(fromServer []byte) bool
}

func newNAT(t testing.TB, server string) *nat {
	t.Helper()
	inside, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n := &nat{inside: inside, server: server}
	n.hop(t)
	n.readers.Go(func() {
		b := make([]byte, MaxDatagram)
		for {
			size, from, err := inside.ReadFrom(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			_, _ = n.outside.Write(b[:size])
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = inside.Close()
		n.mu.Lock()
		for _, c := range n.all {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.readers.Wait()
	})
	return n
}

func (n *nat) address() string { return n.inside.LocalAddr().String() }

// lose makes it lose what the server sends and drop says.
func (n *nat) lose(drop func([]byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = drop
}

func (n *nat) hop(t testing.TB) {
	t.Helper()
	c, err := net.Dial("udp", n.server)
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.outside, n.all = c, append(n.all, c)
	n.readers.Go(func() {
		b := make([]byte, MaxDatagram)
		for {
			size, err := c.Read(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			if c == n.outside && size > recordHeader && (n.drop == nil || !n.drop(b[:size])) {
				_, _ = n.inside.WriteTo(b[:size], n.client)
			}
			n.mu.Unlock()
		}
	})
}

// TestFirstWords: messages that a client sends right behind its handshake, of whose end the
// link does not know yet, are all heard, and in order.
func TestFirstWords(t *testing.T) {
	l := openLink(t, pskOptions(t), quiet())
	heard := make(chan string, 1<<12)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			heard <- string(d.Data)
		}
	})
	for i := range 100 {
		c := mustConnect(t, l.Addr(), withID(withKey("sensor-1", testKey))...)
		const burst = 20
		for k := range burst {
			if _, err := c.Write([]byte(strconv.Itoa(k))); err != nil {
				t.Fatal(err)
			}
		}
		for k := range burst {
			if got := wait(t, heard); got != strconv.Itoa(k) {
				t.Fatalf("client %d: got %q, want %d", i, got, k)
			}
		}
	}
}
