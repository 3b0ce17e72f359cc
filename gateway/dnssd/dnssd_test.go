package dnssd

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; nothing waits that long unless it fails.
const patience = 30 * time.Second

// loopback is the one interface that every machine has; it must be named.
func loopback(t testing.TB) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if i < 0 {
		t.Fatal("no loopback interface")
	}
	return all[i].Name
}

func testOptions(t testing.TB, name string) Options {
	return Options{Enabled: true, Name: name, Interfaces: []string{loopback(t)}}
}

var testService = Service{Addr: netip.MustParseAddrPort("[::]:1883"), GatewayID: 7, DTLSPort: 8883}

// run serves until the end of the test, or until stop is called.
func run(t testing.TB, o Options, s Service, ready func() bool, log *slog.Logger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(ctx, o, s, ready, log, 10*time.Millisecond)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func always() bool { return true }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// browse waits for the gateway of that name at an IPv4 address; false if it does not come
// in time.
func browse(t testing.TB, name string, time time.Duration) (g Gateway, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time)
	defer cancel()
	if err := Browse(ctx, []string{loopback(t)}, func(found Gateway) {
		if found.Name == name && found.Addr.Addr().Is4() {
			g, ok = found, true
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return g, ok
}

func TestAnnounceAndBrowse(t *testing.T) {
	stop := run(t, testOptions(t, "dnssd test ä"), testService, always, quiet())
	want := Gateway{
		Name: "dnssd test ä", Addr: netip.MustParseAddrPort("127.0.0.1:1883"),
		ID: 7, Version: "1.2", DTLSPort: 8883,
	}
	if g, _ := browse(t, want.Name, patience); g != want {
		t.Errorf("found %+v, want %+v", g, want)
	}
	stop()
	if g, ok := browse(t, want.Name, 200*time.Millisecond); ok {
		t.Errorf("found %+v after the end", g)
	}
}

// TestOneAddress: a gateway that listens at one address says that one.
func TestOneAddress(t *testing.T) {
	s := Service{Addr: netip.MustParseAddrPort("127.0.0.1:1999")}
	run(t, testOptions(t, "one address"), s, always, quiet())
	want := Gateway{Name: "one address", Addr: s.Addr, ID: 0, Version: "1.2"}
	if g, _ := browse(t, want.Name, patience); g != want {
		t.Errorf("found %+v, want %+v", g, want)
	}
}

// listener hears what a responder says of itself, unasked.
func listener(t testing.TB) (next func() dnsmessage.Message, ask func([]byte)) {
	t.Helper()
	nics, err := pick([]string{loopback(t)}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPair(nics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.join(nics)
	_ = p.v4.SetReadDeadline(time.Now().Add(patience))
	_ = p.v4.SetControlMessage(ipv4.FlagTTL, true)
	b := make([]byte, maxMessage)
	next = func() dnsmessage.Message {
		for {
			n, cm, _, err := p.v4.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			var m dnsmessage.Message
			if err := m.Unpack(b[:n]); err == nil && m.Response {
				if cm.TTL != farthest {
					t.Errorf("TTL %d", cm.TTL)
				}
				return m
			}
		}
	}
	ask = func(b []byte) {
		if err := p.send(&nics[0], b); err != nil {
			t.Fatal(err)
		}
	}
	return next, ask
}

// pointer is the TTL of a PTR record for the service of that name; ok if there is one.
func pointer(m dnsmessage.Message, name string) (ttl uint32, ok bool) {
	for _, a := range m.Answers {
		if p, is := a.Body.(*dnsmessage.PTRResource); is && p.PTR.String() == name+"."+service {
			return a.Header.TTL, true
		}
	}
	return 0, false
}

// TestReadiness: the gateway is announced when it can serve, taken back when it cannot,
// and announced again; each without anybody having asked.
func TestReadiness(t *testing.T) {
	const name = "readiness"
	next, _ := listener(t)
	expect := func(goodbye bool) {
		t.Helper()
		for {
			m := next()
			ttl, ok := pointer(m, name)
			if !ok || (ttl == 0) != goodbye {
				continue // of another test, or the second announcement
			}
			if !goodbye && ttl != serviceTTL {
				t.Errorf("TTL %d", ttl)
			}
			return
		}
	}
	var ready atomic.Bool
	var log bytes.Buffer
	stop := run(t, testOptions(t, name), testService, ready.Load, slog.New(slog.NewTextHandler(&log, nil)))
	if g, ok := browse(t, name, 200*time.Millisecond); ok {
		t.Errorf("found %+v before it is ready", g)
	}
	ready.Store(true)
	expect(false)
	ready.Store(false)
	expect(true)
	if g, ok := browse(t, name, 200*time.Millisecond); ok {
		t.Errorf("found %+v when it is no longer ready", g)
	}
	ready.Store(true)
	expect(false)
	if _, ok := browse(t, name, patience); !ok {
		t.Error("not found when it is ready again")
	}
	stop()
	expect(true)
	if strings.Count(log.String(), "is announced") != 2 || strings.Count(log.String(), "no longer") != 1 {
		t.Errorf("logged:\n%s", log.String())
	}
}

// question asks for the service, and says which gateways the asker knows already.
func question(t testing.TB, known map[string]uint32) []byte {
	t.Helper()
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET,
	}}}
	for name, ttl := range known {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(service), Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name + "." + service)},
		})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKnownAnswers: who knows another gateway already learns of this one.
func TestKnownAnswers(t *testing.T) {
	const name = "known answers"
	o := testOptions(t, name)
	r, err := respond(o, o.names(), testService)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	next, ask := listener(t)
	ask(question(t, map[string]uint32{"another": serviceTTL}))
	for {
		if ttl, ok := pointer(next(), name); ok && ttl > 0 {
			break
		}
	}
	if r.mayAnswer(time.Now(), r.nics[0].Index) {
		t.Error("it would answer again at once")
	}
	if !r.mayAnswer(time.Now().Add(time.Second), r.nics[0].Index) {
		t.Error("it would not answer again")
	}
}

func TestOverlooked(t *testing.T) {
	n := namesOf("me", "host")
	answer, err := announcement(n, testService, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"nothing known", question(t, nil), false}, // the library answers
		{"another known", question(t, map[string]uint32{"you": 4500}), true},
		{"known", question(t, map[string]uint32{"ME": 4500}), false},
		{"known among others", question(t, map[string]uint32{"you": 4500, "me": 2250}), false},
		{"half forgotten", question(t, map[string]uint32{"me": 2249}), true},
		{"an answer", answer, false},
		{"empty", nil, false},
	} {
		if got := overlooked(n, test.b); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		for i := range test.b { // whatever is cut off
			overlooked(n, test.b[:i])
		}
	}
}

func FuzzOverlooked(f *testing.F) {
	n := namesOf("me", "host")
	f.Add(question(f, nil))
	f.Add(question(f, map[string]uint32{"you": 4500, "me": 1}))
	f.Fuzz(func(_ *testing.T, b []byte) { overlooked(n, b) })
}

// TestCannotAnnounce: what is wrong is said once, and it goes on trying.
func TestCannotAnnounce(t *testing.T) {
	var log lockedBuffer
	o := Options{Enabled: true, Interfaces: []string{"none0"}}
	tries := make(chan struct{})
	stop := run(t, o, testService, func() bool {
		select {
		case tries <- struct{}{}:
		case <-t.Context().Done():
		}
		return true
	}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 4 {
		<-tries
	}
	go func() {
		for range tries { // lets serve end
		}
	}()
	stop()
	close(tries)
	if text := log.String(); strings.Count(text, "cannot be announced") != 1 || !strings.Contains(text, "none0") {
		t.Errorf("logged:\n%s", text)
	}
	if err := Browse(t.Context(), []string{"none0"}, nil); err == nil || !strings.Contains(err.Error(), "none0") {
		t.Errorf("Browse: %v", err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]Options{
		"":                        {Name: "Gateway in the barn, 2nd floor"},
		"name: ":                  {Name: strings.Repeat("x", 64)},
		"name: \"a.b\"":           {Name: "a.b"},
		"name: \"a\\\\b\"":        {Name: `a\b`},
		"name: \"\\xff\"":         {Name: "\xff"},
		"name: \"a\\nb\"":         {Name: "a\nb"},
		"interfaces: \"\" is not": {Interfaces: []string{""}},
	} {
		err := o.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ name, hostname, instance, host string }{
		{"", "barn", "MQTT-SN gateway on barn", "mqtt-sn-barn.local"},
		{"", "barn.example.org", "MQTT-SN gateway on barn", "mqtt-sn-barn.local"},
		{"mine", "b_ä rn", "mine", "mqtt-sn-b---rn.local"},
		{"", "", "MQTT-SN gateway on unnamed", "mqtt-sn-unnamed.local"},
	} {
		n := namesOf(test.name, test.hostname)
		if n.instance != test.instance || n.host != test.host {
			t.Errorf("%q, %q: %+v", test.name, test.hostname, n)
		}
	}
	long := namesOf("", strings.Repeat("h", 255))
	if len(long.instance) > maxLabel || len(long.host) > maxLabel+len(".local") {
		t.Errorf("%+v", long)
	}
	if _, err := announcement(long, testService, nil, false); err != nil {
		t.Error(err)
	}
}

func TestLearn(t *testing.T) {
	g := Gateway{ID: -1}
	for _, pair := range [][2]string{{"gwid", "300"}, {"dtls", "-1"}, {"GwId", "9"}, {"DTLS", "x"}, {"version", "2.0"}, {"other", "1"}} {
		g.learn(pair[0], pair[1])
	}
	if g.ID != 9 || g.DTLSPort != 0 || g.Version != "2.0" {
		t.Errorf("%+v", g)
	}
}
