package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hello is a datagram with a ClientHello [RFC 6347, 4.2] that openssl has sent.
type hello []byte

// Where things are in it: the record's header, the message's, version, random.
const (
	recordHead  = 13
	messageHead = 12
	randomAt    = recordHead + messageHead + 2
	sessionAt   = randomAt + 32
)

// openSSLsHello is what s_client begins with.
func openSSLsHello(t testing.TB) hello {
	t.Helper()
	socket := listenUDP(t)
	defer func() { _ = socket.Close() }()
	c := dialOpenSSL(t, socket.LocalAddr().String(), withKey("cli-1", pskOf("cli-1"))...)
	defer c.vanish()
	buf := make([]byte, 2048)
	_ = socket.SetReadDeadline(time.Now().Add(patience))
	n, err := socket.Read(buf)
	if err != nil || n < sessionAt+2 || buf[0] != 22 || buf[recordHead] != 1 || n != recordHead+int(binary.BigEndian.Uint16(buf[11:])) {
		t.Fatalf("openssl says % X, %v, which is no ClientHello", buf[:n], err)
	}
	return buf[:n:n]
}

// ofAnother is the hello of another client.
func (h hello) ofAnother() hello {
	b := slices.Clone(h)
	for i := range 32 {
		b[randomAt+i] = byte(rand.Uint32())
	}
	return b
}

// cookieIn is the cookie of a HelloVerifyRequest, nil for anything else.
func cookieIn(b []byte) []byte {
	const cookieAt = recordHead + messageHead + 2
	if len(b) <= cookieAt || b[0] != 22 || b[recordHead] != 3 || len(b) != cookieAt+1+int(b[cookieAt]) {
		return nil
	}
	return b[cookieAt+1:]
}

// with is the same client's second hello, which returns the cookie.
func (h hello) with(cookie []byte) hello {
	at := sessionAt + 1 + int(h[sessionAt])
	b := slices.Concat(h[:at], []byte{byte(len(cookie))}, cookie, h[at+1:])
	b[10]++             // of the record's number
	b[recordHead+5] = 1 // the message's number
	binary.BigEndian.PutUint16(b[11:], uint16(len(b)-recordHead))
	for _, lengthAt := range []int{recordHead + 2, recordHead + 10} {
		binary.BigEndian.PutUint16(b[lengthAt:], uint16(len(b)-recordHead-messageHead))
	}
	return b
}

// begin begins a handshake from a loopback address of its own, and says no more once it
// has returned the cookie, or even before if it returns none.
func (h hello) begin(gateway *net.UDPAddr, from net.IP, returns bool) error {
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: from}, gateway)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	first := h.ofAnother()
	buf := make([]byte, 2048)
	for range 10 { // one may get lost in the crowd
		if _, err := conn.Write(first); err != nil {
			return err
		}
		if !returns {
			return nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		cookie := cookieIn(buf[:n])
		if cookie == nil {
			return fmt.Errorf("% X answers a hello, and is no HelloVerifyRequest", buf[:n])
		}
		_, err = conn.Write(first.with(cookie))
		return err
	}
	return fmt.Errorf("%v is not answered", from)
}

// stranger is the address of one of 10,000: 40 of them in each of 250 networks.
func stranger(i int) net.IP { return net.IPv4(127, 1, byte(i%250), byte(1+i/250)) }

// flood has so many strangers begin a handshake, one after the other.
func (h hello) flood(t testing.TB, gateway string, strangers int, returns bool) <-chan error {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() {
		for i := range strangers {
			if err := h.begin(to, stranger(i), returns); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	})
	t.Cleanup(running.Wait)
	return ended
}

// load is what a gateway takes of the machine.
type load struct{ goroutines, octets int }

func (l load) String() string {
	return fmt.Sprintf("%d goroutines, %.1f MiB", l.goroutines, float64(l.octets)/(1<<20))
}

// exceeds complains if there is too much more than before. A process that is at work has
// some garbage, which is no concern; with the race detector it takes much more memory.
func (l load) exceeds(t testing.TB, before load, goroutines, octets int) {
	t.Helper()
	const garbage = 6 << 20
	tooMuch := l.octets > before.octets+octets+garbage && os.Getenv("E2E_RACE") == ""
	if l.goroutines > before.goroutines+goroutines || tooMuch {
		t.Errorf("%v, before it was %v", l, before)
	}
}

func (g *gateway) load(t testing.TB) load {
	t.Helper()
	l := load{octets: g.memory(t)}
	for line := range strings.SplitSeq(httpBody(t, "http://"+g.admin+"/metrics"), "\n") {
		if value, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			l.goroutines = n
		}
	}
	return l
}

func (l load) most(other load) load {
	return load{max(l.goroutines, other.goroutines), max(l.octets, other.octets)}
}

// TestDTLSHalfOpen: 100,000 strangers say hello, and that is all that they say. It costs
// next to nothing, and those who want more than that are not hindered. If strangers even
// return their cookies, which takes addresses of their own, the gateway has the handshakes that
// it is allowed, until their time is over; others get a place among them in the end.
func TestDTLSHalfOpen(t *testing.T) {
	t.Parallel()
	const handshakes = 64
	for name, c := range map[string]struct {
		strangers   int
		returns     bool
		goodClients int
	}{
		"WithoutCookie": {100_000, false, 20},
		"WithCookie":    {10_000, true, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openSSLsHello(t)
			n := newTunnels(t, anybody)
			r := newRigOn(t, overUDP, n, embedded, key("gateway.identity_client_ids", `["*"]`), key("dtls.handshake_timeout", "8s"))
			pending := func() float64 { return r.gateway.linkMetric(t, "dtls_handshakes_pending", "") }
			met := func() float64 { return r.gateway.linkMetric(t, "dtls_cookies_total", `kind="sent"`) }
			early := r.device("early")
			ready(early, keepSession)
			r.stillThere(early)
			if err := <-h.flood(t, n.addr, 500, false); err != nil { // it gets warm
				t.Fatal(err)
			}
			eventually(t, "the first 500 have their cookies", func() bool { return met() >= 500 })
			before := r.gateway.load(t)
			ended, most := h.flood(t, n.addr, c.strangers, c.returns), before
			for good, flooding := 0, true; flooding || good < c.goodClients; good++ {
				d := r.device(fmt.Sprint("good-", good))
				ready(d, cleanSession)
				r.stillThere(d)
				r.stillThere(early)
				d.conn.(*tunnel).leave()
				most = most.most(r.gateway.load(t))
				select {
				case err := <-ended:
					if flooding = false; err != nil {
						t.Fatal(err)
					}
				default:
				}
				if p := pending(); p > handshakes {
					t.Errorf("%v handshakes are under way, %d are allowed", p, handshakes)
				}
			}
			t.Logf("before %v, at most %v", before, most)
			most.exceeds(t, before, 300, 8<<20)
			if got := met(); got < float64(c.strangers) {
				t.Errorf("%v strangers got a cookie", got)
			}
			if !c.returns && r.handshakes("timeout") > 0 {
				t.Error("there were handshakes of strangers")
			}
			if c.returns && r.handshakes("timeout")+pending() < handshakes {
				t.Errorf("the strangers made %v handshakes", r.handshakes("timeout")+pending())
			}
			eventually(t, "all is gone", func() bool {
				return pending() == 0 && r.gateway.load(t).goroutines <= before.goroutines+20
			})
			r.stillThere(early)
			t.Logf("after it %v", r.gateway.load(t))
		})
	}
}

// TestDTLSStalled: 20 clients return their cookie and say no more. Others do not wait for
// them, neither those who connect nor those who are there.
func TestDTLSStalled(t *testing.T) {
	t.Parallel()
	const stalled = 20
	h := openSSLsHello(t)
	n := newTunnels(t, "cli-1", "cli-2")
	r := newRigOn(t, overUDP, n, embedded)
	to, err := net.ResolveUDPAddr("udp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	early := r.client(cleanSession)
	early.subscribe(early.own(), 1)
	for i := range stalled {
		from := stranger(i)
		if i < 5 { // in the network of the good ones
			from = net.IPv4(127, 0, 0, byte(10+i))
		}
		if err := h.begin(to, from, true); err != nil {
			t.Fatal(err)
		}
	}
	pending := func() float64 { return r.gateway.linkMetric(t, "dtls_handshakes_pending", "") }
	eventually(t, "20 handshakes have stalled", func() bool { return pending() == stalled })
	late := r.as("cli-2", "cli-2")
	ready(late, cleanSession)
	r.stillThere(late)
	r.stillThere(early)
	if got := pending(); got != stalled {
		t.Errorf("%v handshakes are stalled when others have connected, want %d", got, stalled)
	}
}
