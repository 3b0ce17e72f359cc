package dtls

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"mqttsn-gateway/transports"
)

var _ interface {
	transports.Link
	transports.Identifier
	transports.DropCounter
} = (*Link)(nil)

// TestKeys: a client with a pre-shared key is heard and answered, in order, with each
// cipher suite.
func TestKeys(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	for _, suite := range []dtls.CipherSuiteID{
		dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256,
		dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
	} {
		c := mustConnect(t, l.Addr(), append(withKey("sensor-1", testKey), dtls.WithCipherSuites(suite))...)
		for _, text := range []string{"a", "bb", "ccc"} {
			say(t, c, text)
		}
	}
	if s := l.Stats(); s.Connections != 4 || s.Handshakes != 4 || s.Handshaking != 0 || s.CookiesSent != 4 || s.CookiesBad != 0 {
		t.Errorf("%+v", s)
	}
}

// TestIdentity: what a client has proven to be.
func TestIdentity(t *testing.T) {
	ca := newAuthority(t, "test CA")
	named := func(change func(*x509.Certificate)) dtls.ClientOption {
		return dtls.WithCertificates(ca.issue(t, "ecdsa", change).Certificate)
	}
	o := certOptions(t, ca, "ecdsa")
	o.PSKFile = pskOptions(t).PSKFile
	o.ClientCertificates, o.ClientCAFile = certificatesOptional, ca.file
	l := openLink(t, o, quiet())
	identities := make(chan string, 1)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			identity, _ := l.Identity(d.Addr)
			identities <- identity
		}
	})
	trust := []dtls.ClientOption{dtls.WithRootCAs(ca.pool()), dtls.WithServerName("gateway.test")}
	for _, c := range []struct {
		want    string
		options []dtls.ClientOption
	}{
		{"sensor-7", withKey("sensor-7", testKey)},
		{"", trust},
		{"meter", append(trust, named(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "meter"} }))},
		{"meter.test", append(trust, named(func(c *x509.Certificate) {
			c.Subject, c.DNSNames = pkix.Name{Organization: []string{"Meters"}}, []string{"meter.test", "other.test"}
		}))},
		{"meter@example.org", append(trust, named(func(c *x509.Certificate) {
			c.Subject, c.DNSNames, c.EmailAddresses = pkix.Name{}, nil, []string{"meter@example.org"}
		}))},
		{"", append(trust, named(func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, nil }))},
	} {
		client := mustConnect(t, l.Addr(), c.options...)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, identities); got != c.want {
			t.Errorf("identity is %q, want %q", got, c.want)
		}
	}
	if got, ok := l.Identity(transports.NumberAddr(1)); got != "" || ok {
		t.Errorf("nobody is %q", got)
	}
}

// TestRefused: who has not the right key or certificate is not let in, and the reason is
// counted and logged once.
func TestRefused(t *testing.T) {
	ca, foreign := newAuthority(t, "test CA"), newAuthority(t, "test CA")
	keys := pskOptions(t)
	keys.ConnectionID = false
	certs := certOptions(t, ca, "ecdsa")
	certs.ClientCertificates, certs.ClientCAFile = certificatesRequired, ca.file
	trust := []dtls.ClientOption{dtls.WithRootCAs(ca.pool()), dtls.WithServerName("gateway.test")}
	with := func(a *authority, change func(*x509.Certificate)) []dtls.ClientOption {
		return append(trust, dtls.WithCertificates(a.issue(t, "ecdsa", change).Certificate))
	}
	for _, c := range []struct {
		name    string
		o       Options
		client  []dtls.ClientOption
		want    Failures
		logged  string
		quickly bool
	}{
		{"wrong key", keys, withKey("sensor-1", []byte("0123456789abcdeX")), Failures{WrongKey: 1}, "wrong key", true},
		{"unknown identity", keys, withKey("sensor-x", testKey), Failures{UnknownIdentity: 1}, "no such identity", true},
		{"no common suite", keys, []dtls.ClientOption{dtls.WithPSK(func([]byte) ([]byte, error) { return testKey, nil }),
			dtls.WithPSKIdentityHint([]byte("sensor-1")), dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CBC_SHA256)},
			Failures{NoCipherSuite: 1}, "nothing in common", true},
		{"no extended master secret", keys, append(withKey("sensor-1", testKey), dtls.WithExtendedMasterSecret(dtls.DisableExtendedMasterSecret)),
			Failures{NoCipherSuite: 1}, "Extended Master Secret", true},
		{"keys only, client has none", keys, trust, Failures{NoCipherSuite: 1}, "nothing in common", true},
		{"no certificate", certs, trust, Failures{Certificate: 1}, "certificate rejected", true},
		{"foreign certificate", certs, with(foreign, nil), Failures{Certificate: 1}, "certificate rejected", true},
		{"expired certificate", certs, with(ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			Failures{Certificate: 1}, "certificate rejected", true},
		{"certificate without a name", certs, with(ca, func(c *x509.Certificate) {
			c.Subject, c.DNSNames, c.IPAddresses = pkix.Name{Organization: []string{"Meters"}}, nil, nil
		}), Failures{Certificate: 1}, "by which to know the client", true},
		{"client does not trust us", certs, []dtls.ClientOption{dtls.WithRootCAs(foreign.pool()), dtls.WithServerName("gateway.test")},
			Failures{Refused: 1}, "the client ended it", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &logBuffer{}
			l := echo(t, c.o, log.logger())
			if client, err := connect(t, l.Addr(), c.client...); err == nil {
				// A client may believe that it is in before it is told otherwise.
				if _, err := client.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
					t.Fatalf("the handshake succeeded, then %v", err)
				}
			}
			until(t, "the failure being counted", func() bool { return l.Stats().Failed != Failures{} })
			if s := l.Stats(); s.Failed != c.want || s.Connections != 0 || s.Handshakes != 0 {
				t.Errorf("%+v", s)
			}
			until(t, "the place being free", func() bool { return l.Stats().Handshaking == 0 })
			if !strings.Contains(log.String(), c.logged) || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("logged, want one line with %q:\n%s", c.logged, log)
			}
		})
	}
}

// TestSelfSigned: with neither keys nor a certificate it works, and says what to do.
func TestSelfSigned(t *testing.T) {
	log := &logBuffer{}
	l := echo(t, DefaultOptions(), log.logger())
	say(t, mustConnect(t, l.Addr(), dtls.WithInsecureSkipVerify(true)), "hello")
	for _, want := range []string{"sha256=", "dtls.psk_file", "openssl rand -hex 16"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

func TestSend(t *testing.T) {
	l := openLink(t, pskOptions(t), quiet())
	arrived := make(chan transports.Datagram, 1)
	serve(t, l, func(batch []transports.Datagram) { arrived <- transports.Datagram{Addr: batch[0].Addr} })
	c := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	to := wait(t, arrived).Addr
	longest := make([]byte, l.MTU())
	sent, err := l.Send([]transports.Datagram{
		{Addr: to, Data: []byte("one")}, {Addr: transports.NumberAddr(7), Data: []byte("nobody")},
		{Addr: to, Data: make([]byte, l.MTU()+1)}, {Addr: to, Data: longest},
	})
	if sent != 2 || !errors.Is(err, errGone) {
		t.Errorf("Send: %d, %v", sent, err)
	}
	if got := hear(t, c); got != "one" {
		t.Errorf("got %q", got)
	}
	if got := hear(t, c); len(got) != l.MTU() {
		t.Errorf("got %d octets", len(got))
	}
	if d := l.Stats().Drops; d != (Drops{Oversize: 1, Unsendable: 1}) {
		t.Errorf("%+v", d)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if sent, err := l.Send([]transports.Datagram{{Addr: to, Data: []byte("late")}}); sent != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %d, %v", sent, err)
	}
	if _, err := c.Read(make([]byte, 10)); err == nil {
		t.Error("the client has not been told of the end")
	}
}

// TestWildcard: on a wildcard socket the answer leaves from the address that was
// asked; a connected client takes no other.
func TestWildcard(t *testing.T) {
	l := openLinkAt(t, ":0", pskOptions(t), quiet())
	serve(t, l, func(batch []transports.Datagram) { _, _ = l.Send(batch) })
	for _, host := range wildcardHosts() {
		to := netip.AddrPortFrom(netip.MustParseAddr(host), l.Addr().Port())
		udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		c, err := connectOver(t, connected{udp}, to, withKey("sensor-2", testKey)...)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		say(t, c, "hello "+host)
	}
}

// connected is a connected socket as a net.PacketConn.
type connected struct{ *net.UDPConn }

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// TestSocketFull: Send says so, and does not wait; the connection lives on.
func TestSocketFull(t *testing.T) {
	a := newAir()
	var mu sync.Mutex
	var full bool
	l := airLink(t, a, pskOptions(t), func() error {
		mu.Lock()
		defer mu.Unlock()
		if full {
			return transports.ErrBusy
		}
		return nil
	})
	arrived := make(chan transports.Addr, 1)
	serve(t, l, func(batch []transports.Datagram) { arrived <- batch[0].Addr })
	c, err := connectOver(t, a.open("198.51.100.1:1"), l.Addr(), withKey("sensor-1", testKey)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	to := wait(t, arrived)
	set := func(to bool) { mu.Lock(); full = to; mu.Unlock() }
	set(true)
	batch := []transports.Datagram{{Addr: to, Data: []byte("1")}, {Addr: to, Data: []byte("2")}}
	if sent, err := l.Send(batch); sent != 0 || !errors.Is(err, transports.ErrBusy) {
		t.Errorf("Send: %d, %v", sent, err)
	}
	set(false)
	if sent, err := l.Send(batch); sent != 2 || err != nil {
		t.Errorf("Send: %d, %v", sent, err)
	}
	if got := hear(t, c) + hear(t, c); got != "12" {
		t.Errorf("got %q", got)
	}
	if d := l.Stats().Drops; d != (Drops{Busy: 2}) {
		t.Errorf("%+v", d)
	}
}

// TestSlowReceiver: the gateway takes nothing for a while. Connections do not wait, the
// queue is bounded, and what did not fit is counted.
func TestSlowReceiver(t *testing.T) {
	a := newAir()
	o := pskOptions(t)
	o.Queue = 16 << 10
	l := airLink(t, a, o, nil)
	release, entered := make(chan struct{}), make(chan struct{}, 1<<16)
	serve(t, l, func([]transports.Datagram) {
		entered <- struct{}{}
		<-release
	})
	c, err := connectOver(t, a.open("198.51.100.1:1"), l.Addr(), withKey("sensor-1", testKey)...)
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	for i := range n {
		if _, err := c.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			wait(t, entered)
		}
	}
	until(t, "the queue running over", func() bool { return l.Stats().Drops.Queue > n/2 })
	before := l.Stats().Drops
	close(release)
	if before.Queue+before.Backlog >= n {
		t.Errorf("%+v", before)
	}
	until(t, "the rest", func() bool { return len(entered) > 0 })
	// Others get through as before.
	other, err := connectOver(t, a.open("198.51.100.2:1"), l.Addr(), withKey("sensor-2", testKey)...)
	if err != nil {
		t.Fatal(err)
	}
	for len(entered) > 0 {
		<-entered
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	wait(t, entered)
}

func TestServeEnds(t *testing.T) {
	for name, end := range map[string]func(l *Link, cancel func()){
		"ctx":   func(_ *Link, cancel func()) { cancel() },
		"Close": func(l *Link, _ func()) { _ = l.Close() },
		"both":  func(l *Link, cancel func()) { cancel(); _ = l.Close(); _ = l.Close() },
	} {
		l := openLink(t, pskOptions(t), quiet())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		arrived, done := make(chan struct{}, 1), make(chan error, 1)
		go func() { done <- l.Serve(ctx, func([]transports.Datagram) { arrived <- struct{}{} }) }()
		c := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		wait(t, arrived)
		end(l, cancel)
		if err := wait(t, done); err != nil {
			t.Errorf("%s: Serve: %v", name, err)
		}
	}
}

func TestOverErrors(t *testing.T) {
	below := newAir().open("192.0.2.1:8883")
	for want, change := range map[string]func(*Options){
		"psk_file: ": func(o *Options) { o.PSKFile = "/nowhere/psk" },
		"queue: ":    func(o *Options) { o.Queue = 1 },
	} {
		o := pskOptions(t)
		change(&o)
		if _, err := over(airSocket{end: below}, o, quiet()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestNoAddress: a datagram of a link that is not of an IP network is counted and dropped.
func TestNoAddress(t *testing.T) {
	l := airLink(t, newAir(), pskOptions(t), nil)
	newDemux(l).receive([]transports.Datagram{{Addr: transports.NumberAddr(1), Data: rawHello(0, 0, 0, nil)}})
	if d := l.Stats().Drops; d != (Drops{Malformed: 1}) {
		t.Errorf("%+v", d)
	}
}

func wildcardHosts() []string {
	hosts := []string{"127.0.0.1"}
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err == nil {
		_ = c.Close()
		hosts = append(hosts, "::1")
	}
	return append(hosts, otherLoopbacks...)
}
