package dtls

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"mqttsn-gateway/transports"
)

// nomad is a client's socket in the air that can have another address.
type nomad struct {
	*end
	mu   sync.Mutex
	at   netip.AddrPort
	hold bool   // keep what would leave
	last []byte // of what has left or would have
}

// newNomad connects a client that takes a connection id.
func newNomad(t *testing.T, a *air, l *Link) (*nomad, *dtls.Conn) {
	n := &nomad{end: a.open("198.51.100.1:1000")}
	n.at = n.addr
	c, err := connectOver(t, n, l.Addr(), withID(withKey("sensor-1", testKey))...)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Time{})
	return n, c
}

func (n *nomad) WriteTo(b []byte, to net.Addr) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = bytes.Clone(b)
	if !n.hold {
		n.air.carry(b, n.at, to.(*net.UDPAddr).AddrPort())
	}
	return len(b), nil
}

func (n *nomad) move(to string) {
	n.mu.Lock()
	n.at = netip.MustParseAddrPort(to)
	n.mu.Unlock()
	n.air.mu.Lock()
	n.air.ends[n.at] = n.end
	n.air.mu.Unlock()
}

// catch is a message of the client's that goes nowhere.
func (n *nomad) catch(t *testing.T, c *dtls.Conn) []byte {
	n.mu.Lock()
	n.hold = true
	n.mu.Unlock()
	tell(t, c, "caught")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold = false
	return n.last
}

func tell(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// waker opens a link that tells who has sent last.
func waker(t *testing.T, a *air) (*Link, func() transports.Addr) {
	l := airLink(t, a, pskOptions(t), nil)
	peers := make(chan transports.Addr, 100)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			peers <- d.Addr
		}
	})
	return l, func() transports.Addr { return wait(t, peers) }
}

// queued are n messages of 20 octets for a sleeper, and what says that these were all.
func queued(to transports.Addr, n int) (batch []transports.Datagram) {
	for i := range n {
		batch = append(batch, transports.Datagram{Addr: to, Data: fmt.Appendf(nil, "message %012d", i)})
	}
	return append(batch, transports.Datagram{Addr: to, Data: []byte("PINGRESP")})
}

func expectQueued(t *testing.T, c net.Conn, n int) {
	t.Helper()
	for i, d := range queued(transports.Addr{}, n) {
		if got := hear(t, c); got != string(d.Data) {
			t.Fatalf("number %d is %q, want %q", i, got, d.Data)
		}
	}
}

// TestWakeElsewhere: a sleeper that wakes up at another address, by one PINGREQ, gets all of
// its messages: at once in the same network; elsewhere by repeating the PINGREQ, until then
// at most three times what has come from there.
func TestWakeElsewhere(t *testing.T) {
	for _, to := range []string{"198.51.100.1:1001", "198.51.100.77:1000"} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			l, next := waker(t, a)
			n, c := newNomad(t, a, l)
			tell(t, c, "x")
			peer := next()
			n.move(to)
			tell(t, c, "PINGREQ")
			next()
			if sent, err := l.Send(queued(peer, 100)); sent != 101 || err != nil {
				t.Fatalf("%s: %d, %v", to, sent, err)
			}
			expectQueued(t, c, 100)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l, next := waker(t, a)
		n, c := newNomad(t, a, l)
		tell(t, c, "x")
		peer := next()
		n.move("203.0.113.1:1000")
		came, sent, most := 0, 0, 0
		a.mu.Lock()
		a.lose = func(b []byte, from netip.AddrPort) bool {
			if from == l.Addr() {
				sent += len(b)
				most = max(most, len(b))
			} else {
				came += len(b)
			}
			return false
		}
		a.mu.Unlock()
		for i := range 2 {
			tell(t, c, "PINGREQ")
			next()
			if i == 0 {
				if n, err := l.Send(queued(peer, 100)); n != 101 || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
			}
			synctest.Wait()
			a.mu.Lock()
			if sent == 0 || sent > 3*came || sent < 3*came-most {
				t.Errorf("%d octets in, %d out", came, sent)
			}
			a.mu.Unlock()
		}
		tell(t, c, "PINGREQ")
		expectQueued(t, c, 100)
		if s := l.Stats(); s.Drops != (Drops{}) || s.Moved != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestReflected: records of the client's that are caught and sent on with a victim's address
// bring it at most three times their octets, also if the client speaks in between; and the
// client gets all when it is heard itself.
func TestReflected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l, next := waker(t, a)
		n, c := newNomad(t, a, l)
		tell(t, c, "x")
		peer := next()
		victim := a.open("203.0.113.1:7")
		came := 0
		forge := func(b []byte) {
			a.carry(b, victim.addr, l.Addr())
			came += len(b)
			next()
			synctest.Wait()
		}
		var caught [][]byte
		for range 5 {
			caught = append(caught, n.catch(t, c))
		}
		forge(caught[1])
		// What is older, or comes from where the client has been, proves nothing.
		a.carry(caught[0], n.at, l.Addr())
		next()
		for _, b := range caught[2:] {
			forge(b)
		}
		if sent, err := l.Send(queued(peer, 100)); sent != 101 || err != nil {
			t.Fatalf("%d, %v", sent, err)
		}
		synctest.Wait()
		got := 0
		for len(victim.in) > 0 {
			got += len((<-victim.in).data)
		}
		if got == 0 || got > 3*came {
			t.Errorf("%d octets came from the victim's address, %d went there", came, got)
		}
		tell(t, c, "here I am")
		next()
		synctest.Wait()
		if len(victim.in) != 0 {
			t.Errorf("%d to the victim", len(victim.in))
		}
		for range 3 {
			if got := hear(t, c); got == "PINGRESP" {
				t.Error("that was all")
			}
		}
	})
}

// TestHeld: what waits is bounded, and what is lost of it counted.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		l, next := waker(t, a)
		n, c := newNomad(t, a, l)
		tell(t, c, "x")
		peer := next()
		n.move("203.0.113.1:1000")
		tell(t, c, "x")
		next()
		batch := make([]transports.Datagram, 50)
		for i := range batch {
			batch[i] = transports.Datagram{Addr: peer, Data: make([]byte, 1000)}
		}
		const fit = maxHeld / (1000 + perMessage)
		if sent, err := l.Send(batch); sent != fit || !errors.Is(err, errUnproven) {
			t.Errorf("%d, %v", sent, err)
		}
		if d := l.Stats().Drops; d != (Drops{Unproven: 50 - fit}) {
			t.Errorf("%+v", d)
		}
		// Nothing of it could be sent. Repetitions prove the client nevertheless.
		for range 2 {
			time.Sleep(10 * time.Second)
			tell(t, c, "x")
			next()
		}
		for range fit {
			if got := hear(t, c); len(got) != 1000 {
				t.Errorf("%d octets", len(got))
			}
		}
		n.move("192.0.2.1:1000")
		tell(t, c, "x")
		next()
		if sent, err := l.Send(batch[:2]); sent != 2 || err != nil {
			t.Errorf("%d, %v", sent, err)
		}
		_ = c.Close()
		synctest.Wait()
		if d := l.Stats().Drops; d != (Drops{Unproven: 50 - fit + 2}) {
			t.Errorf("at the end: %+v", d)
		}
	})
}
