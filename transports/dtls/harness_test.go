package dtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"go.uber.org/goleak"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of these tests; nothing waits that long unless it fails.
const limit = 30 * time.Second

var testKey = []byte("0123456789abcdef")

// logBuffer is a log for tests to look at.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func writeFile(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// pskOptions are options with keys for sensor-0 to sensor-9, all the same.
func pskOptions(t testing.TB) Options {
	t.Helper()
	var text string
	for i := range 10 {
		text += fmt.Sprintf("sensor-%d:%s\n", i, hex.EncodeToString(testKey))
	}
	o := DefaultOptions()
	o.PSKFile = writeFile(t, "psk", text, 0o600)
	o.MaxHellosPerPrefix = 1e6
	o.MaxHandshakesPerPrefix = 1 << 16
	o.MaxConnectionsPerIdentity, o.MaxConnectsPerIdentity = 1e6, 1e6
	return o
}

func openLink(t testing.TB, o Options, log *slog.Logger) *Link {
	t.Helper()
	return openLinkAt(t, "127.0.0.1:0", o, log)
}

// over makes a link with credentials of its own.
func over(below transports.Link, o Options, log *slog.Logger) (*Link, error) {
	trust, err := LoadCredentials(o, log)
	if err != nil {
		return nil, err
	}
	return Over(below, o, trust, log)
}

func openLinkAt(t testing.TB, address string, o Options, log *slog.Logger) *Link {
	t.Helper()
	under := udp.DefaultOptions()
	under.Listen, under.MTU = address, MaxDatagram
	below, err := udp.Listen(under)
	if err != nil {
		t.Fatal(err)
	}
	l, err := over(below, o, log)
	if err != nil {
		_ = below.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// Addr is where the link listens.
func (l *Link) Addr() netip.AddrPort {
	_, address, _ := strings.Cut(l.Name(), " ")
	return netip.MustParseAddrPort(address)
}

// serve runs Serve until the end of the test.
func serve(t testing.TB, l *Link, recv func([]transports.Datagram)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, recv) }()
	t.Cleanup(func() {
		cancel()
		if err := wait(t, done); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// echo opens a link that sends back what it receives.
func echo(t testing.TB, o Options, log *slog.Logger) *Link {
	t.Helper()
	l := openLink(t, o, log)
	serve(t, l, func(batch []transports.Datagram) {
		if _, err := l.Send(batch); err != nil {
			t.Logf("Send: %v", err)
		}
	})
	return l
}

func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// until polls until ok holds.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// withKey are a client's options for that identity and key.
func withKey(identity string, key []byte) []dtls.ClientOption {
	return []dtls.ClientOption{
		dtls.WithPSK(func([]byte) ([]byte, error) { return key, nil }),
		dtls.WithPSKIdentityHint([]byte(identity)),
		dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8),
	}
}

// connect makes a client and its handshake.
func connect(t testing.TB, to netip.AddrPort, options ...dtls.ClientOption) (*dtls.Conn, error) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return connectOver(t, udp, to, options...)
}

func connectOver(t testing.TB, conn net.PacketConn, to netip.AddrPort, options ...dtls.ClientOption) (*dtls.Conn, error) {
	t.Helper()
	options = append(options, dtls.WithLoggerFactory(silence{}))
	c, err := dtls.ClientWithOptions(conn, net.UDPAddrFromAddrPort(to), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err = c.HandshakeContext(ctx)
	_ = c.SetReadDeadline(time.Now().Add(limit))
	return c, err
}

func mustConnect(t testing.TB, to netip.AddrPort, options ...dtls.ClientOption) *dtls.Conn {
	t.Helper()
	c, err := connect(t, to, options...)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return c
}

// say sends a message and expects it back.
func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, c); got != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

func hear(t testing.TB, c net.Conn) string {
	t.Helper()
	b := make([]byte, MaxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // of its own certificate
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, writeFile(t, "ca.pem", pemText("CERTIFICATE", der), 0o644)}
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// leaf is a certificate with its files.
type leaf struct {
	tls.Certificate
	certFile, keyFile string
}

// issue makes a certificate; kind is "ecdsa" or "rsa".
func (a *authority) issue(t testing.TB, kind string, change func(*x509.Certificate)) leaf {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "gateway.test"},
		DNSNames: []string{"gateway.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return leaf{
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		writeFile(t, "cert.pem", pemText("CERTIFICATE", der), 0o644),
		writeFile(t, "key.pem", pemText("PRIVATE KEY", pkcs8), 0o600),
	}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// certOptions are options with a server's certificate of that kind.
func certOptions(t testing.TB, a *authority, kind string) Options {
	t.Helper()
	server := a.issue(t, kind, nil)
	o := DefaultOptions()
	o.CertificateFile, o.KeyFile = server.certFile, server.keyFile
	o.MaxHellosPerPrefix = 1e6
	return o
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func netAddr(l *Link) *net.UDPAddr { return net.UDPAddrFromAddrPort(l.Addr()) }
