package dtls

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"mqttsn-gateway/transports"
)

// rawHello is a ClientHello as a PSK client sends it.
func rawHello(random byte, message uint16, seq uint64, cookie []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, versionDTLS12)
	body = append(body, bytes.Repeat([]byte{random}, randomSize)...)
	body = append(body, 0, byte(len(cookie)))
	body = append(body, cookie...)
	body = append(body, 0, 2, 0xc0, 0xa8, 1, 0) // TLS_PSK_WITH_AES_128_CCM_8, no compression
	body = append(body, 0, 4, 0, 23, 0, 0)      // extended master secret
	b := appendHeader(nil, typeHandshake, versionDTLS10, seq, handshakeHeader+len(body))
	return append(appendMessageHeader(b, clientHello, message, len(body)), body...)
}

func parseHello(t testing.TB, b []byte) hello {
	t.Helper()
	r, rest, ok := readRecord(b)
	if !ok || len(rest) > 0 {
		t.Fatalf("no record: %x", b)
	}
	h, fault := readHello(r)
	if fault != helloGood {
		t.Fatalf("no hello: %v: %x", fault, b)
	}
	return h
}

var somewhere = netip.MustParseAddrPort("198.51.100.7:40000")

// TestVerifyRequest compares with octets written down by hand from RFC 6347.
func TestVerifyRequest(t *testing.T) {
	h := parseHello(t, rawHello(1, 0, 5, nil))
	got := appendVerifyRequest(nil, h, bytes.Repeat([]byte{0xcc}, cookieSize))
	want, _ := hex.DecodeString("16feff" + "0000" + "000000000005" + "0023" + "03" + "000017" + "0000" + "000000" + "000017" + "feff14" + hex.EncodeToString(bytes.Repeat([]byte{0xcc}, cookieSize)))
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if len(got) != maxAnswer {
		t.Errorf("%d octets, want %d", len(got), maxAnswer)
	}
	alert, _ := hex.DecodeString("15fefd" + "0000" + "000000000005" + "0002" + "0246")
	if got := appendAlert(nil, 5, alertProtocolVersion); !bytes.Equal(got, alert) {
		t.Errorf("got %x, want %x", got, alert)
	}
}

// TestHelloTruncated: no part of a hello is a hello, and none panics.
func TestHelloTruncated(t *testing.T) {
	whole := rawHello(1, 1, 1, bytes.Repeat([]byte{9}, cookieSize))
	for n := range whole {
		if _, _, ok := readRecord(whole[:n]); ok {
			t.Errorf("%d of %d octets are a record", n, len(whole))
		}
	}
	// With all lengths made to fit, the parts within are what is missing.
	body := whole[recordHeader+handshakeHeader:]
	for n := range body {
		b := appendHeader(nil, typeHandshake, versionDTLS12, 0, handshakeHeader+n)
		b = append(appendMessageHeader(b, clientHello, 0, n), body[:n]...)
		r, _, ok := readRecord(b)
		if !ok {
			t.Fatalf("%d: no record", n)
		}
		_, fault := readHello(r)
		if noExtensions := n == len(body)-6; (fault == helloGood) != noExtensions {
			t.Errorf("%d of %d octets: fault %v", n, len(body), fault)
		}
	}
}

func TestHelloFaults(t *testing.T) {
	good := rawHello(1, 0, 0, nil)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want helloFault
	}{
		"good":             {good, helloGood},
		"another type":     {change(0, typeAlert), helloNone},
		"epoch 1":          {change(4, 1), helloNone},
		"another message":  {change(recordHeader, 2), helloNone},
		"fragment offset":  {change(recordHeader+8, 1), helloFragmented},
		"fragment length":  {change(recordHeader+11, 1), helloFragmented},
		"long session id":  {change(recordHeader+handshakeHeader+34, 33), helloMalformed},
		"no cipher suites": {change(recordHeader+handshakeHeader+37, 0), helloMalformed},
	} {
		r, _, ok := readRecord(c.b)
		if !ok {
			t.Fatalf("%s: no record", name)
		}
		if _, fault := readHello(r); fault != c.want {
			t.Errorf("%s: fault %v, want %v", name, fault, c.want)
		}
	}
}

// TestCookie: a cookie is good for the hello and address that it was made for, and for two
// minutes at most.
func TestCookie(t *testing.T) {
	now := time.Now()
	c := newCookies(now)
	first := parseHello(t, rawHello(1, 0, 0, nil))
	cookie := bytes.Clone(c.bake(now, somewhere, first))
	again := parseHello(t, rawHello(1, 1, 1, cookie))
	for name, k := range map[string]struct {
		from netip.AddrPort
		h    hello
		want bool
	}{
		"same":          {somewhere, again, true},
		"other port":    {netip.AddrPortFrom(somewhere.Addr(), 1), again, false},
		"other host":    {netip.MustParseAddrPort("198.51.100.8:40000"), again, false},
		"other random":  {somewhere, parseHello(t, rawHello(2, 1, 1, cookie)), false},
		"short cookie":  {somewhere, parseHello(t, rawHello(1, 1, 1, cookie[:19])), false},
		"no cookie":     {somewhere, parseHello(t, rawHello(1, 1, 1, nil)), false},
		"forged cookie": {somewhere, parseHello(t, rawHello(1, 1, 1, bytes.Repeat([]byte{1}, cookieSize))), false},
	} {
		if got := c.know(now, k.from, k.h); got != k.want {
			t.Errorf("%s: %t, want %t", name, got, k.want)
		}
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{cookieLife - 1, true}, {cookieLife, true}, {2*cookieLife - 1, true}, {2 * cookieLife, false}} {
		if got := c.know(now.Add(step.after), somewhere, again); got != step.want {
			t.Errorf("after %v: %t, want %t", step.after, got, step.want)
		}
	}
	late := newCookies(now)
	cookie = bytes.Clone(late.bake(now, somewhere, first))
	if late.know(now.Add(time.Hour), somewhere, parseHello(t, rawHello(1, 1, 1, cookie))) {
		t.Error("a cookie is good after an hour of silence")
	}
}

// TestWithoutCookie: what the library is shown as the first hello is the one that the
// client has sent, but for the record's number.
func TestWithoutCookie(t *testing.T) {
	second := parseHello(t, rawHello(7, 1, 4, bytes.Repeat([]byte{3}, cookieSize)))
	got := parseHello(t, second.withoutCookie(nil))
	want := parseHello(t, rawHello(7, 0, 3, nil))
	if !bytes.Equal(got.body, want.body) || got.message != 0 || got.seq != 3 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	zero := parseHello(t, rawHello(7, 1, 0, bytes.Repeat([]byte{3}, cookieSize)))
	if got := parseHello(t, zero.withoutCookie(nil)); got.seq == 0 {
		t.Error("both hellos have the same record number")
	}
}

func TestHelloRate(t *testing.T) {
	now := time.Now()
	r := newRate[netip.Prefix](5)
	taken := func(addr string, times int) (n int) {
		for range times {
			if r.take(now, prefixOf(netip.MustParseAddr(addr))) {
				n++
			}
		}
		return n
	}
	if n := taken("192.0.2.1", 100); n != 10 {
		t.Errorf("%d at once, want 10", n)
	}
	if n := taken("192.0.2.200", 1); n != 0 {
		t.Error("a neighbour has a bucket of its own")
	}
	if n := taken("192.0.3.1", 100) + taken("2001:db8::1", 100); n != 20 {
		t.Errorf("other networks got %d, want 20", n)
	}
	if n := taken("2001:db8:0:ffff::1", 1); n != 0 {
		t.Error("a neighbour in the /48 has a bucket of its own")
	}
	now = now.Add(time.Second)
	if n := taken("192.0.2.1", 100); n != 5 {
		t.Errorf("%d after a second, want 5", n)
	}
}

// TestHelloRateSpoofed: who sends a thousand hellos per second with addresses of a network
// does not keep the clients of that network out, and an answer is shorter than any hello.
func TestHelloRateSpoofed(t *testing.T) {
	now := time.Now()
	r := newRate[netip.Prefix](DefaultOptions().MaxHellosPerPrefix)
	spoofed, good := netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("203.0.113.5")
	answered := 0
	for i := range 10000 {
		now = now.Add(time.Millisecond)
		r.take(now, prefixOf(spoofed))
		if i%100 == 50 && r.take(now, prefixOf(good)) {
			answered++
		}
	}
	if answered != 100 {
		t.Errorf("%d of 100 hellos answered", answered)
	}
	const shortestHello = recordHeader + handshakeHeader + 2 + randomSize + 1 + 1 + 2 + 2 + 1 + 1
	if maxAnswer != 48 || maxAnswer > shortestHello {
		t.Errorf("an answer has %d octets, a hello %d", maxAnswer, shortestHello)
	}
}

func TestPastEpoch0(t *testing.T) {
	plain := appendAlert(nil, 1, 40)
	sealed := appendHeader(nil, 23, versionDTLS12, 9, 4)
	sealed[4] = 1
	sealed = append(sealed, 1, 2, 3, 4)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct{ in, want []byte }{
		"plain":        {plain, nil},
		"sealed":       {sealed, sealed},
		"mixed":        {join(plain, plain, sealed, plain), join(sealed, plain)},
		"cut":          {join(plain, sealed[:5]), nil},
		"empty":        {nil, nil},
		"not a record": {[]byte("GET / HTTP/1.1\r\n"), nil},
	} {
		if got := pastEpoch0(c.in); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}

// FuzzDemux: whatever comes from strangers, nothing panics, and no answer is longer than
// what it answers.
func FuzzDemux(f *testing.F) {
	f.Add(rawHello(1, 0, 0, nil))
	f.Add(rawHello(1, 1, 1, bytes.Repeat([]byte{1}, cookieSize)))
	f.Add(appendAlert(nil, 1, 40))
	f.Add(append([]byte{typeCID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1}, make([]byte, 20)...))
	o := DefaultOptions()
	o.MaxHellosPerPrefix = 1e6
	a := newAir()
	l := airLink(f, a, o, nil)
	d := newDemux(l)
	peer := a.open(somewhere.String())
	f.Fuzz(func(t *testing.T, b []byte) {
		d.receive([]transports.Datagram{{Addr: transports.IPAddr(somewhere, 0), Data: b}})
		for answered := 0; ; answered++ {
			select {
			case answer := <-peer.in:
				if answered > 0 || len(answer.data) > len(b) {
					t.Fatalf("answer %d of %d octets to %d", answered+1, len(answer.data), len(b))
				}
				continue
			default:
			}
			break
		}
		if s := l.Stats(); s.Handshaking != 0 {
			t.Fatal("a stranger has begun a handshake")
		}
		for rest, ok := b, true; ok && len(rest) > 0; {
			_, rest, ok = readRecord(rest)
		}
		pastEpoch0(b)
		var p proof
		p.offer(b)
		p.outgoing(b)
	})
}
