package dtls

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
)

// load is what a program uses at a moment.
type load struct {
	goroutines int
	heap       uint64
}

func loadNow() load {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return load{runtime.NumGoroutine(), m.HeapAlloc}
}

func (l load) String() string {
	return fmt.Sprintf("%d goroutines, %.1f MiB of heap", l.goroutines, float64(l.heap)/(1<<20))
}

// TestStrangers: 10,000 real hellos without a cookie, and as much junk, from as many
// addresses, cost nothing that stays, and a client connects and talks meanwhile.
func TestStrangers(t *testing.T) {
	const strangers = 10000
	o := pskOptions(t)
	o.MaxHellosPerPrefix = DefaultOptions().MaxHellosPerPrefix
	o.MaxHandshakesPerPrefix = DefaultOptions().MaxHandshakesPerPrefix
	l := echo(t, o, quiet())
	before := loadNow()
	t.Logf("before: %v", before)
	to := net.UDPAddrFromAddrPort(l.Addr())
	junk := appendHeader(nil, typeHandshake, versionDTLS12, 0, 14)
	junk = append(junk, make([]byte, 14)...)
	for i := range strangers {
		from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
		if len(otherLoopbacks) > 0 {
			from.IP = net.IPv4(127, 1, byte(i>>8), byte(i))
		}
		c, err := net.DialUDP("udp", from, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{rawHello(byte(i), 0, 0, nil), junk} {
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
		if i == strangers/2 {
			say(t, mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...), "in the middle")
			during := loadNow()
			t.Logf("during: %v", during)
			check(t, before, during)
		}
	}
	until(t, "all being read", func() bool {
		s := l.Stats()
		return s.CookiesSent+s.Drops.HelloRate+s.Drops.UnknownPeer+l.ReceiveDrops() >= 2*strangers
	})
	after := loadNow()
	t.Logf("after: %v", after)
	check(t, before, after)
	s := l.Stats()
	t.Logf("%d cookies sent, %d hellos beyond the rate, %d others dropped, %d overflows",
		s.CookiesSent, s.Drops.HelloRate, s.Drops.UnknownPeer, l.ReceiveDrops())
	if s.Handshaking != 0 || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
}

func check(t *testing.T, before, now load) {
	t.Helper()
	if now.goroutines > before.goroutines+300 {
		t.Errorf("%d goroutines more", now.goroutines-before.goroutines)
	}
	if now.heap > before.heap+8<<20 {
		t.Errorf("%d octets of heap more", now.heap-before.heap)
	}
}

// TestStalled: 5,000 clients that have shown a cookie send an octet every five seconds.
// They get no more than their share, a good client gets in all the same, and at the
// deadline they are gone.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.MaxHandshakesPerPrefix = DefaultOptions().MaxHandshakesPerPrefix
		l := airEcho(t, a, o)
		before := loadNow()
		const stallers = 5000
		var ends []*end
		for i := range stallers {
			e := a.open(fmt.Sprintf("10.%d.%d.1:1", i>>8, i&255))
			ends = append(ends, e)
			cookie := cookieFor(t, l, e, byte(i))
			a.carry(rawHello(byte(i), 1, 1, cookie), e.addr, l.Addr())
		}
		synctest.Wait()
		s := l.Stats()
		if s.Handshaking != o.MaxHandshakes || s.Drops.HandshakeLimit != stallers-uint64(o.MaxHandshakes) {
			t.Errorf("%+v", s)
		}
		t.Logf("%d handshakes: %d goroutines more", s.Handshaking, loadNow().goroutines-before.goroutines)
		stall := func() {
			for i, e := range ends {
				// One octet of a ClientKeyExchange of 40.
				b := appendHeader(nil, typeHandshake, versionDTLS12, 2+uint64(i), handshakeHeader+1)
				b = append(b, 16, 0, 0, 40, 0, 2, 0, 0, 1, 0, 0, 1, 'x')
				a.carry(b, e.addr, l.Addr())
			}
		}
		for range 2 {
			time.Sleep(5 * time.Second)
			stall()
			synctest.Wait()
		}
		start := time.Now()
		good, err := connectOver(t, a.open("192.0.2.99:1"), l.Addr(), withKey("sensor-1", testKey)...)
		if err != nil {
			t.Fatalf("a good client: %v", err)
		}
		say(t, good, "hello")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("a good client waited %v", took)
		}
		for range 5 {
			time.Sleep(5 * time.Second)
			stall()
			synctest.Wait()
		}
		s = l.Stats()
		if s.Handshaking != 0 || s.Failed.Timeout != uint64(o.MaxHandshakes) || s.Connections != 1 {
			t.Errorf("after the deadline: %+v", s)
		}
		if now := loadNow(); now.goroutines > before.goroutines+20 {
			t.Errorf("%d goroutines more than before", now.goroutines-before.goroutines)
		}
	})
}

// TestPrefixLimit: one network has its share of handshakes, whatever it sends; another is
// not kept out, and a newcomer from the same gets the place of one that does not get on.
func TestPrefixLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.MaxHandshakesPerPrefix = 3
		l := airEcho(t, a, o)
		for i := range 5 {
			e := a.open(fmt.Sprintf("198.51.100.%d:1", i+1))
			a.carry(rawHello(byte(i), 1, 1, cookieFor(t, l, e, byte(i))), e.addr, l.Addr())
		}
		synctest.Wait()
		if s := l.Stats(); s.Handshaking != 3 || s.Drops.PrefixLimit != 2 {
			t.Errorf("%+v", s)
		}
		for _, addr := range []string{"198.51.101.1:1", "198.51.100.9:1"} {
			c, err := connectOver(t, a.open(addr), l.Addr(), withKey("sensor-1", testKey)...)
			if err != nil {
				t.Fatalf("%s: %v", addr, err)
			}
			say(t, c, "hello")
		}
		if s := l.Stats(); s.Handshaking != 2 || s.Failed.Timeout != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestHandshakeOctets: what a handshake can make the library keep is bounded.
func TestHandshakeOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l := airEcho(t, a, pskOptions(t))
		e := a.open("198.51.100.1:1")
		a.carry(rawHello(1, 1, 1, cookieFor(t, l, e, 1)), e.addr, l.Addr())
		// Pieces of a message of 16 MiB, one after the other.
		for i := range 500 {
			b := appendHeader(nil, typeHandshake, versionDTLS12, 2+uint64(i), handshakeHeader+1000)
			at := i * 1000
			b = append(b, 16, 0xff, 0xff, 0xff, 0, 2, byte(at>>16), byte(at>>8), byte(at), 0, 1000>>8, 1000&255)
			a.carry(append(b, make([]byte, 1000)...), e.addr, l.Addr())
			synctest.Wait()
		}
		if d := l.Stats().Drops.Backlog; d < 400 {
			t.Errorf("%d pieces dropped", d)
		}
	})
}

// TestIdle: a connection that is silent for idle_timeout is closed, and not before.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.IdleTimeout = 24 * time.Hour
		l := airEcho(t, a, o)
		c, err := connectOver(t, a.open("198.51.100.1:1"), l.Addr(), withKey("sensor-1", testKey)...)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Time{})
		for range 3 {
			time.Sleep(o.IdleTimeout - time.Minute)
			say(t, c, "hello")
		}
		time.Sleep(o.IdleTimeout + time.Minute)
		synctest.Wait()
		if s := l.Stats(); s.Connections != 0 || s.Closed != (Closings{Idle: 1}) {
			t.Errorf("%+v", s)
		}
		if _, err := c.Read(make([]byte, 10)); err == nil {
			t.Error("the client was not told")
		}
	})
}

// TestMaxConnections: a full link takes a new client only in place of one that has been
// silent for long, first of all the same client's.
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.MaxConnections = 3
		l := airEcho(t, a, o)
		hosts := 0
		enter := func(identity string) (*dtls.Conn, error) {
			hosts++
			c, err := connectOver(t, a.open(fmt.Sprintf("198.51.100.%d:1", hosts)), l.Addr(), withKey(identity, testKey)...)
			_ = c.SetReadDeadline(time.Time{})
			synctest.Wait()
			return c, err
		}
		var all []*dtls.Conn
		for i := range 3 {
			c, err := enter(fmt.Sprintf("sensor-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
			time.Sleep(time.Minute)
		}
		// The client may see its handshake succeed before it is told to leave.
		_, _ = enter("sensor-4")
		if s := l.Stats(); s.Connections != 3 || s.Failed.Full != 1 {
			t.Errorf("full: %+v", s)
		}
		time.Sleep(2 * evictAfter)
		say(t, all[2], "hello")
		for _, identity := range []string{"sensor-1", "sensor-5"} { // in place of 1 and of 0
			c, err := enter(identity)
			if err != nil {
				t.Fatal(err)
			}
			say(t, c, "hello")
		}
		say(t, all[2], "still here")
		var names []string
		l.mu.Lock()
		for n := range l.byNumber {
			names = append(names, l.byNumber[n].name)
		}
		l.mu.Unlock()
		if s := l.Stats(); s.Connections != 3 || s.Closed.Evicted != 2 || len(names) != 3 {
			t.Errorf("%+v, %v", s, names)
		}
		for _, gone := range all[:2] {
			if _, err := gone.Read(make([]byte, 10)); err == nil {
				t.Error("one that had to go was not told")
			}
		}
	})
}

// TestCrowd: one identity, or one network without identities, has all connections of a
// full link. Others get in at once, in place of its longest silent.
func TestCrowd(t *testing.T) {
	ca := newAuthority(t, "test CA")
	nameless := certOptions(t, ca, "ecdsa")
	named := pskOptions(t)
	trusting := []dtls.ClientOption{dtls.WithInsecureSkipVerify(true)}
	for _, v := range []struct {
		o           Options
		crowd, good []dtls.ClientOption
	}{
		{named, withKey("sensor-1", testKey), withKey("sensor-2", testKey)},
		{nameless, trusting, trusting},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			v.o.MaxConnections = manyConnections + 1
			l := airEcho(t, a, v.o)
			var crowd []*dtls.Conn
			for i := range manyConnections + 1 {
				c, err := connectOver(t, a.open(fmt.Sprintf("198.51.100.%d:1", i)), l.Addr(), v.crowd...)
				if err != nil {
					t.Fatal(err)
				}
				say(t, c, "crowd")
				crowd = append(crowd, c)
				time.Sleep(time.Second)
			}
			for i := range 2 { // after the first the crowd has no more than 4
				c, err := connectOver(t, a.open(fmt.Sprintf("203.0.113.%d:1", i)), l.Addr(), v.good...)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					say(t, c, "good")
				}
				synctest.Wait()
			}
			if _, err := crowd[0].Read(make([]byte, 10)); err == nil {
				t.Error("the longest silent is there still")
			}
			say(t, crowd[1], "still here")
			if s := l.Stats(); s.Closed != (Closings{Evicted: 1}) || s.Failed != (Failures{Full: 1}) {
				t.Errorf("%+v %+v", s.Closed, s.Failed)
			}
		})
	}
}

// TestStaleCookie: a cookie from before the gateway's restart starts nothing.
func TestStaleCookie(t *testing.T) {
	a := newAir()
	l := airEcho(t, a, pskOptions(t))
	e := a.open("198.51.100.1:1")
	cookie := cookieFor(t, l, e, 1)
	cookie[0] ^= 1
	a.carry(rawHello(1, 1, 1, cookie), e.addr, l.Addr())
	until(t, "the cookie being refused", func() bool { return l.Stats().CookiesBad == 1 })
	if s := l.Stats(); s.Handshaking != 0 || s.CookiesSent != 1 || len(e.in) != 0 {
		t.Errorf("%+v, %d answers", s, len(e.in))
	}
}

// TestOldVersion: DTLS 1.0 is refused at once, without a connection.
func TestOldVersion(t *testing.T) {
	a := newAir()
	l := airEcho(t, a, pskOptions(t))
	e := a.open("198.51.100.1:1")
	b := rawHello(1, 0, 0, nil)
	b[recordHeader+handshakeHeader+1] = 0xff
	a.carry(b, e.addr, l.Addr())
	r, _, ok := readRecord(wait(t, e.in).data)
	if !ok || r.kind != typeAlert || r.body[1] != alertProtocolVersion {
		t.Errorf("%+v", r)
	}
	if s := l.Stats(); s.Failed != (Failures{Version: 1}) || s.Handshaking != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPieces: a ClientHello in pieces is not kept, and the log says what to do.
func TestPieces(t *testing.T) {
	log := &logBuffer{}
	l := echo(t, pskOptions(t), log.logger())
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := rawHello(1, 0, 0, nil)
	b[recordHeader+11]-- // the length of this piece
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	until(t, "a line in the log", func() bool { return strings.Contains(log.String(), "fewer cipher suites") })
	if s := l.Stats(); s.Drops != (Drops{Fragmented: 1}) || s.CookiesSent != 0 {
		t.Errorf("%+v", s)
	}
}
