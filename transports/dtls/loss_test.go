package dtls

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
)

// TestLostDatagram: whichever datagram of a handshake is lost, on either side, the
// handshake comes to its end.
func TestLostDatagram(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		for lost := range 5 {
			t.Run(fmt.Sprintf("client %t, datagram %d", fromClient, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAir()
					l := airEcho(t, a, pskOptions(t))
					n := 0
					a.lose = func(_ []byte, from netip.AddrPort) bool {
						if (from != l.Addr()) != fromClient {
							return false
						}
						n++
						return n == lost+1
					}
					c, err := connectOver(t, a.open("198.51.100.1:1"), l.Addr(), withID(withKey("sensor-1", testKey))...)
					if err != nil {
						t.Fatal(err)
					}
					a.mu.Lock()
					a.lose = nil
					a.mu.Unlock()
					say(t, c, "hello")
					// The client may have given up its first hello for lost, and begun with
					// another cookie; that costs nothing.
					if s := l.Stats(); s.Handshakes != 1 || s.Connections != 1 || s.Failed != (Failures{}) {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// TestLossyHandshakes: a third of all datagrams is lost.
func TestLossyHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.HandshakeTimeout = 2 * time.Minute
		l := airEcho(t, a, o)
		rng := rand.New(rand.NewPCG(1, 2))
		a.lose = func([]byte, netip.AddrPort) bool { return rng.IntN(3) == 0 }
		good := 0
		for i := range 30 {
			udp := a.open(fmt.Sprintf("198.51.100.%d:1", i+1))
			c, err := dtls.ClientWithOptions(udp, net.UDPAddrFromAddrPort(l.Addr()), append(withID(withKey("sensor-1", testKey)), dtls.WithLoggerFactory(silence{}))...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := contextFor(2 * time.Minute)
			if err := c.HandshakeContext(ctx); err == nil {
				good++
			}
			cancel()
			_ = c.Close()
			_ = udp.Close()
		}
		if good < 29 {
			t.Errorf("%d of 30 handshakes succeeded: %+v", good, l.Stats())
		}
	})
}

// TestOpenSSLLoss: the numbers of our records are right for OpenSSL too when the answer to
// its first hello is lost, so that it asks again.
func TestOpenSSLLoss(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	for lost := range 3 { // HelloVerifyRequest, ServerHello and ServerHelloDone, Finished
		n := 0
		relay := newRelay(t, l.Addr(), func() bool {
			n++
			return n == lost+1
		})
		c := opensslAt(t, relay, "-timeout", "-psk_identity", "sensor-3", "-psk", hex.EncodeToString(testKey), "-cipher", "PSK-AES128-CCM8")
		until(t, "the handshake", func() bool { return strings.Contains(c.output(), "Extended master secret: yes") })
		c.say(t, fmt.Sprintf("hello %d", lost))
	}
	if s := l.Stats(); s.Handshakes != 3 || s.Failed != (Failures{}) {
		t.Errorf("%+v", s)
	}
}

// newRelay stands between one client and a link. lose is asked for each datagram that the
// link sends.
func newRelay(t testing.TB, to netip.AddrPort, lose func() bool) string {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var client netip.AddrPort
	var both sync.WaitGroup
	both.Go(func() {
		b := make([]byte, MaxDatagram)
		for {
			n, from, err := front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			mu.Lock()
			client = from
			mu.Unlock()
			_, _ = back.Write(b[:n])
		}
	})
	both.Go(func() {
		b := make([]byte, MaxDatagram)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			addr := client
			mu.Unlock()
			if !lose() {
				_, _ = front.WriteToUDPAddrPort(b[:n], addr)
			}
		}
	})
	t.Cleanup(func() {
		_, _ = front.Close(), back.Close()
		both.Wait()
	})
	return front.LocalAddr().String()
}

// TestLostChangeCipherSpec: a client that sends each record in a datagram of its own, as
// tinydtls does, loses its ChangeCipherSpec twice. Its Finished alone is no wrong key.
func TestLostChangeCipherSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l := airEcho(t, a, pskOptions(t))
		c, err := connectOver(t, &splitter{end: a.open("198.51.100.1:1"), lose: 2}, l.Addr(), withKey("sensor-1", testKey)...)
		if err != nil {
			t.Fatalf("handshake: %v; %+v", err, l.Stats().Failed)
		}
		say(t, c, "hello")
		if s := l.Stats(); s.Failed != (Failures{}) {
			t.Errorf("%+v", s.Failed)
		}
	})
}

// splitter sends each record in a datagram of its own and loses the first ChangeCipherSpecs.
type splitter struct {
	*end
	lose int
}

func (s *splitter) WriteTo(b []byte, to net.Addr) (int, error) {
	for rest := b; len(rest) > 0; {
		r, after, ok := readRecord(rest)
		if !ok {
			return 0, net.ErrClosed
		}
		rest = after
		if r.kind == typeChangeCipherSpec && s.lose > 0 {
			s.lose--
		} else if _, err := s.end.WriteTo(r.raw, to); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
