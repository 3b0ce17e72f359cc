package dtls

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pion/dtls/v3"
)

// twoKeys are options in which sensor-1 has testKey and newKey, and sensor-2 testKey alone.
func twoKeys(t testing.TB) Options {
	o := pskOptions(t)
	old := hex.EncodeToString(testKey)
	o.PSKFile = writeFile(t, "psk", "sensor-1:"+old+"\nsensor-2:"+old+"\nsensor-1:"+newHex+"\n", 0o600)
	return o
}

// TestEitherKey: a client gets in with either of its keys, in each cipher suite, with and
// without a connection id, and with no other.
func TestEitherKey(t *testing.T) {
	l := echo(t, twoKeys(t), quiet())
	for _, suite := range []dtls.CipherSuiteID{
		dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM,
		dtls.TLS_PSK_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
	} {
		for _, key := range [][]byte{testKey, newKey} {
			options := append(withKey("sensor-1", key), dtls.WithCipherSuites(suite))
			say(t, mustConnect(t, l.Addr(), options...), "hello")
			say(t, mustConnect(t, l.Addr(), withID(options)...), "hello")
		}
		say(t, mustConnect(t, l.Addr(), append(withKey("sensor-2", testKey), dtls.WithCipherSuites(suite))...), "hello")
	}
	for _, c := range []struct {
		identity string
		key      []byte
	}{{"sensor-1", []byte("another")}, {"sensor-2", newKey}, {"nobody", newKey}} {
		if _, err := connect(t, l.Addr(), withKey(c.identity, c.key)...); err == nil {
			t.Errorf("%s is let in with %x", c.identity, c.key)
		}
	}
	until(t, "the refusals", func() bool {
		return l.Stats().Failed == Failures{WrongKey: 2, UnknownIdentity: 1} && l.Stats().Handshaking == 0
	})
}

// TestOpenSSLEitherKey is the same with another library.
func TestOpenSSLEitherKey(t *testing.T) {
	l := echo(t, twoKeys(t), quiet())
	for _, cipher := range []string{"PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256", "ECDHE-PSK-CHACHA20-POLY1305"} {
		for _, key := range []string{hex.EncodeToString(testKey), newHex} {
			c := openssl(t, l, "-psk_identity", "sensor-1", "-psk", key, "-cipher", cipher+":@SECLEVEL=0")
			c.say(t, "hello")
			_ = c.in.Close()
		}
	}
}

// TestForgedProof: a record that somebody else sends from the client's address, before its
// own, does not keep the client out, whichever key it has.
func TestForgedProof(t *testing.T) {
	for _, key := range [][]byte{testKey, newKey} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			l := airEcho(t, a, twoKeys(t))
			e := a.open("198.51.100.1:1")
			forged := false
			a.lose = func(b []byte, from netip.AddrPort) bool {
				r, _, ok := readRecord(b)
				if ok && from == e.addr && !forged && r.kind == typeHandshake && r.body[0] == 16 {
					forged = true
					record := append(appendHeader(nil, typeHandshake, versionDTLS12, 0, 40), bytes.Repeat([]byte{7}, 40)...)
					record[4] = 1 // the epoch
					a.ends[l.Addr()].in <- flying{record, from}
				}
				return false
			}
			c, err := connectOver(t, e, l.Addr(), withKey("sensor-1", key)...)
			if err != nil {
				t.Fatal(err)
			}
			say(t, c, "hello")
			if !forged {
				t.Error("nothing was forged")
			}
		})
	}
}

// TestLateProof: the proof of the key comes alone, or is lost and repeated.
func TestLateProof(t *testing.T) {
	for lose := range 5 {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			l := airEcho(t, a, twoKeys(t))
			c, err := connectOver(t, &splitter{end: a.open("198.51.100.1:1"), lose: lose}, l.Addr(), withKey("sensor-1", newKey)...)
			if err != nil {
				t.Fatalf("losing %d: %v", lose, err)
			}
			say(t, c, "hello")
		})
	}
}

// TestNoProof: who names an identity and then falls silent holds a place until the deadline,
// and leaves nothing behind.
func TestNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l := airEcho(t, a, twoKeys(t))
		e := a.open("198.51.100.1:1")
		a.lose = func(b []byte, from netip.AddrPort) bool {
			r, _, _ := readRecord(b)
			return from == e.addr && (r.epoch > 0 || r.kind == typeChangeCipherSpec)
		}
		if _, err := connectOver(t, &splitter{end: e, lose: -1}, l.Addr(), withKey("sensor-1", newKey)...); err == nil {
			t.Error("a client without proof is let in")
		}
		until(t, "the end", func() bool { return l.Stats().Handshaking == 0 })
		if s := l.Stats(); s.Failed.Timeout != 1 {
			t.Errorf("%+v", s.Failed)
		}
	})
}

// TestOtherTrialLayouts: a library that keeps its state elsewhere is found out.
func TestOtherTrialLayouts(t *testing.T) {
	type item struct {
		typ      uint8
		isClient bool
		epoch    uint16
		data     []byte
	}
	type pair struct {
		Curve      uint16
		PrivateKey []byte
	}
	type state struct {
		cookie       []byte
		localKeypair *pair
	}
	type cache struct{ cache []*item }
	good := &struct {
		state          state
		handshakeCache *cache
	}{
		state{cookie: nil, localKeypair: &pair{Curve: 29, PrivateKey: []byte("p")}},
		&cache{[]*item{
			{typ: 1, isClient: true, data: []byte("first")}, {typ: 2, data: []byte("answer")},
			{typ: 1, isClient: true, data: []byte("second")}, {typ: 16, isClient: true, epoch: 1, data: []byte("later")},
		}},
	}
	found, err := flightsOf(good)
	if err != nil || string(found[0]) != "second" || string(found[1]) != "answer" || found[4] != nil {
		t.Errorf("%q, %v", found, err)
	}
	if private, curve, err := shareOf(good); err != nil || string(private) != "p" || curve != 29 {
		t.Errorf("%q, %v, %v", private, curve, err)
	}
	if err := checkLayout(good); err != nil {
		t.Errorf("the layout that is expected: %v", err)
	}
	for i, conn := range []any{
		nil, 7, &struct{}{},
		&struct {
			state          state
			handshakeCache *struct{ cache []item }
		}{handshakeCache: &struct{ cache []item }{}},
		&struct {
			state          state
			handshakeCache *struct{ cache []*struct{ typ uint8 } }
		}{handshakeCache: &struct{ cache []*struct{ typ uint8 } }{}},
		&struct {
			state          struct{ cookie []byte }
			handshakeCache *cache
		}{handshakeCache: &cache{}},
	} {
		if err := checkLayout(conn); err == nil {
			t.Errorf("number %d is accepted", i)
		}
	}
}

// TestRotateFleet: a thousand devices publish while each gets another key: it is added for
// all, they begin to use it one by one, and the old ones are removed. No connection is lost,
// no device has to try twice, and in the end the old keys are worth nothing.
func TestRotateFleet(t *testing.T) {
	const devices, publishers = 1000, 8
	identity := func(i int) string { return fmt.Sprintf("device-%04d", i) }
	keyOf := func(i int, generation byte) []byte { return fmt.Appendf(nil, "%c-key-of-%07d", generation, i) }
	lines := func(generations ...byte) string {
		var b strings.Builder
		for i := range devices {
			for _, g := range generations {
				fmt.Fprintf(&b, "%s:%x\n", identity(i), keyOf(i, g))
			}
		}
		return b.String()
	}
	o := pskOptions(t)
	rewrite(t, o.PSKFile, lines('a'))
	l := echo(t, o, quiet())
	fleet := make([]struct {
		sync.Mutex
		conn *dtls.Conn
	}, devices)
	defer func() {
		if t.Failed() {
			t.Logf("%+v, %d lost in the socket", l.Stats(), l.ReceiveDrops())
		}
	}()
	each(devices, func(i int) {
		fleet[i].conn = mustConnect(t, l.Addr(), withKey(identity(i), keyOf(i, 'a'))...)
	})
	var messages atomic.Uint64
	over := make(chan struct{})
	var load sync.WaitGroup
	for p := range publishers {
		load.Go(func() {
			for i := p; ; i = (i + publishers) % devices {
				select {
				case <-over:
					return
				default:
				}
				func() {
					d := &fleet[i]
					d.Lock()
					defer d.Unlock() // also when it fails
					say(t, d.conn, "reading "+identity(i))
				}()
				messages.Add(1)
			}
		})
	}
	defer load.Wait()
	defer sync.OnceFunc(func() { close(over) })()
	reload := func(text string) {
		rewrite(t, o.PSKFile, text)
		if err := l.trust.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	reload(lines('a', 'b'))
	each(devices, func(i int) {
		next := mustConnect(t, l.Addr(), withKey(identity(i), keyOf(i, 'b'))...)
		d := &fleet[i]
		d.Lock()
		d.conn, next = next, d.conn
		d.Unlock()
		_ = next.Close()
	})
	reload(lines('b'))
	before := messages.Load()
	until(t, "some messages more", func() bool { return messages.Load() > before+devices || t.Failed() })
	for i := range 3 {
		if _, err := connect(t, l.Addr(), withKey(identity(i), keyOf(i, 'a'))...); err == nil {
			t.Error("an old key still works")
		}
	}
	// The port of one that has left may be another's before its goodbye is read.
	until(t, "the old connections' end", func() bool { c := l.Stats().Closed; return c.Peer+c.Replaced == devices })
	s := l.Stats()
	t.Logf("%d messages during it, %d handshakes, %d connections", messages.Load(), s.Handshakes, s.Connections)
	want := Closings{Peer: devices - s.Closed.Replaced, Replaced: s.Closed.Replaced}
	if s.Connections != devices || s.Handshakes != 2*devices || s.Closed != want || s.Failed != (Failures{WrongKey: 3}) {
		t.Errorf("%+v", s)
	}
}

// each calls f for 0 to n-1, sixteen at a time.
func each(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}
