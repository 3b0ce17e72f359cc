package dtls

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"mqttsn-gateway/transports"
)

// roamer is a client's socket behind a NAT that forgets: hop gives it another address.
// What comes to an address that it has left is counted.
type roamer struct {
	arrived chan []byte
	closed  chan struct{}

	mu      sync.Mutex
	expired chan struct{}
	now     *net.UDPConn
	all     []*net.UDPConn
	readers sync.WaitGroup
	late    int
	sent    [][]byte // copies of what has left
	hold    bool     // keep what would leave, do not send it
}

func newRoamer(t testing.TB) *roamer {
	t.Helper()
	r := &roamer{arrived: make(chan []byte, 1000), closed: make(chan struct{}), expired: make(chan struct{})}
	r.hop(t)
	t.Cleanup(func() {
		r.mu.Lock()
		for _, c := range r.all {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.readers.Wait()
	})
	return r
}

func (r *roamer) hop(t testing.TB) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.now = c
	r.all = append(r.all, c)
	if len(r.all) > 20 { // those left long ago are not listened to
		_ = r.all[0].Close()
		r.all = r.all[1:]
	}
	r.mu.Unlock()
	r.readers.Go(func() {
		b := make([]byte, MaxDatagram)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			current := c == r.now
			if !current {
				r.late++
			}
			r.mu.Unlock()
			if current {
				r.arrived <- bytes.Clone(b[:n])
			}
		}
	})
}

func (r *roamer) ReadFrom(b []byte) (int, net.Addr, error) {
	r.mu.Lock()
	expired := r.expired
	r.mu.Unlock()
	select {
	case <-r.closed:
		return 0, nil, net.ErrClosed
	case <-expired:
		return 0, nil, errors.New("deadline")
	case data := <-r.arrived:
		return copy(b, data), &net.UDPAddr{}, nil
	}
}

func (r *roamer) WriteTo(b []byte, to net.Addr) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, bytes.Clone(b))
	if r.hold {
		return len(b), nil
	}
	return r.now.WriteTo(b, to)
}

func (r *roamer) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[len(r.sent)-1]
}

func (r *roamer) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	return nil
}

func (r *roamer) LocalAddr() net.Addr           { return &net.UDPAddr{} }
func (r *roamer) SetDeadline(t time.Time) error { return r.SetReadDeadline(t) }
func (r *roamer) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.IsZero() {
		r.expired = make(chan struct{})
	} else {
		close(r.expired)
	}
	return nil
}
func (r *roamer) SetWriteDeadline(time.Time) error { return nil }

func withID(options []dtls.ClientOption) []dtls.ClientOption {
	return append(options, dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
}

func roam(t testing.TB, l *Link, options []dtls.ClientOption) (*roamer, *dtls.Conn) {
	t.Helper()
	r := newRoamer(t)
	c, err := connectOver(t, r, l.Addr(), options...)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// TestMoves: a client with a connection id changes its address a thousand times, loses
// nothing and is answered at the new address.
func TestMoves(t *testing.T) {
	o := pskOptions(t)
	l := openLink(t, o, quiet())
	peers := make(chan transports.Addr, 10)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			peers <- d.Addr
		}
		if _, err := l.Send(batch); err != nil {
			t.Errorf("Send: %v", err)
		}
	})
	r, c := roam(t, l, withID(withKey("sensor-1", testKey)))
	say(t, c, "start")
	peer := wait(t, peers)
	const moves = 1000
	for i := range moves {
		r.hop(t)
		say(t, c, strconv.Itoa(i))
		if now := wait(t, peers); now != peer {
			t.Fatalf("move %d made %v of %v", i, now, peer)
		}
	}
	s := l.Stats()
	if s.Moved != moves || s.Handshakes != 1 || s.Connections != 1 || s.Drops != (Drops{}) {
		t.Errorf("%+v", s)
	}
	r.mu.Lock()
	late := r.late
	r.mu.Unlock()
	if late != 0 {
		t.Errorf("%d datagrams went to addresses that the client had left", late)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byAddr) != 1 || len(l.byID) != 1 {
		t.Errorf("%d addresses and %d ids for one connection", len(l.byAddr), len(l.byID))
	}
}

// TestReplay: records that were sent before, or were held back, do not move a connection
// when they come from elsewhere, and nothing is sent there.
func TestReplay(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	r, c := roam(t, l, withID(withKey("sensor-1", testKey)))
	say(t, c, "one")
	r.mu.Lock()
	r.hold = true
	r.mu.Unlock()
	if _, err := c.Write([]byte("held back")); err != nil {
		t.Fatal(err)
	}
	held := r.last()
	r.mu.Lock()
	r.hold = false
	r.mu.Unlock()
	for i := range 100 {
		say(t, c, strconv.Itoa(i))
	}
	r.mu.Lock()
	old := append(r.sent[:len(r.sent):len(r.sent)], held)
	r.mu.Unlock()

	thief := newRoamer(t)
	to := net.UDPAddrFromAddrPort(l.Addr())
	for _, data := range old {
		if _, err := thief.WriteTo(data, to); err != nil {
			t.Fatal(err)
		}
	}
	// A hello is answered by one like any other, which is less than it asks.
	say(t, c, "still here")
	until(t, "all of it being read", func() bool {
		d := l.Stats()
		return d.Drops.UnknownPeer+d.CookiesBad+d.CookiesSent > 2
	})
	say(t, c, "and still here")
	if s := l.Stats(); s.Moved != 0 || s.Connections != 1 || s.Handshaking != 0 {
		t.Errorf("%+v", s)
	}
	for len(thief.arrived) > 0 {
		if data := wait(t, thief.arrived); len(data) != maxAnswer {
			t.Errorf("the thief got %d octets: %x", len(data), data)
		}
	}
}

// TestStolenAddress: a client that writes another's address into its datagrams does not get
// what comes from there.
func TestStolenAddress(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	victim := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
	say(t, victim, "one")
	r, thief := roam(t, l, withID(withKey("sensor-2", testKey)))
	say(t, thief, "one")
	r.mu.Lock()
	r.hold = true
	r.mu.Unlock()
	if _, err := thief.Write([]byte("gotcha")); err != nil {
		t.Fatal(err)
	}
	from := transports.IPAddr(victim.LocalAddr().(*net.UDPAddr).AddrPort(), 0)
	newDemux(l).receive([]transports.Datagram{{Addr: from, Data: r.last()}})
	until(t, "the thief being moved", func() bool { return l.Stats().Moved == 1 })
	// The victim sees a record that is not for it, and drops it.
	say(t, victim, "two")
	r.mu.Lock()
	r.hold = false
	r.mu.Unlock()
	r.hop(t)
	say(t, thief, "back")
	say(t, victim, "three")
	if s := l.Stats(); s.Connections != 2 || s.Drops != (Drops{}) {
		t.Errorf("%+v", s)
	}
}

// TestWithoutID: without a connection id a client that has a new address is not heard, and
// connects again as another peer with the same identity.
func TestWithoutID(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	r, c := roam(t, l, withKey("sensor-1", testKey))
	say(t, c, "one")
	r.hop(t)
	if _, err := c.Write([]byte("two")); err != nil {
		t.Fatal(err)
	}
	until(t, "the record being dropped", func() bool { return l.Stats().Drops.UnknownPeer == 1 })
	_, again := roam(t, l, withKey("sensor-1", testKey))
	say(t, again, "three")
	if s := l.Stats(); s.Moved != 0 || s.Handshakes != 2 {
		t.Errorf("%+v", s)
	}
}

// TestConnectionIDsOff: the option switches them off.
func TestConnectionIDsOff(t *testing.T) {
	o := pskOptions(t)
	o.ConnectionID = false
	l := echo(t, o, quiet())
	r, c := roam(t, l, withID(withKey("sensor-1", testKey)))
	say(t, c, "one")
	if r.last()[0] == typeCID {
		t.Error("the client has a connection id")
	}
}

// TestSameAddress: a client that has lost its connection begins anew from the same address.
// The old connection lasts until the new one is there.
func TestSameAddress(t *testing.T) {
	for name, options := range map[string][]dtls.ClientOption{
		"without id": withKey("sensor-1", testKey), "with id": withID(withKey("sensor-1", testKey)),
	} {
		a := newAir()
		l := airEcho(t, a, pskOptions(t))
		e := a.open("198.51.100.1:1")
		first, err := connectOver(t, e, l.Addr(), options...)
		if err != nil {
			t.Fatal(err)
		}
		say(t, first, "one")

		// Half of a handshake, from the same address: nothing changes for the first.
		cookie := cookieFor(t, l, a.open(e.addr.String()), 9)
		a.put(e)
		a.carry(rawHello(9, 1, 1, cookie), e.addr, l.Addr())
		until(t, "the handshake", func() bool { return l.Stats().Handshaking == 1 })
		say(t, first, "two")

		// The client is restarted: its first connection hears nothing any more.
		again := a.open(e.addr.String())
		second, err := connectOver(t, again, l.Addr(), options...)
		if err != nil {
			t.Fatal(err)
		}
		say(t, second, "three")
		until(t, name+": the first being closed", func() bool { return l.Stats().Closed.Replaced == 1 })
		if s := l.Stats(); s.Connections != 1 || s.Failed.Replaced != 1 || s.Handshakes != 2 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// cookieFor sends a first hello from e and returns the cookie of the answer.
func cookieFor(t testing.TB, l *Link, e *end, random byte) []byte {
	t.Helper()
	e.air.carry(rawHello(random, 0, 0, nil), e.addr, l.Addr())
	r, _, ok := readRecord(wait(t, e.in).data)
	if !ok || r.body[0] != helloVerifyRequest {
		t.Fatalf("no HelloVerifyRequest: %+v", r)
	}
	return r.body[handshakeHeader+3:]
}

// TestUnencrypted: records that anybody could have written do nothing to a connection.
func TestUnencrypted(t *testing.T) {
	a := newAir()
	l := airEcho(t, a, pskOptions(t))
	e := a.open("198.51.100.1:1")
	c, err := connectOver(t, e, l.Addr(), withKey("sensor-1", testKey)...)
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "one")
	sent := 0
	a.mu.Lock()
	a.lose = func(_ []byte, from netip.AddrPort) bool {
		if from == l.Addr() {
			sent++
		}
		return false
	}
	a.mu.Unlock()
	key := appendHeader(nil, typeHandshake, versionDTLS12, 50, handshakeHeader+1)
	key = append(appendMessageHeader(key, 16, 2, 1), 'x')
	for _, b := range [][]byte{key, appendAlert(nil, 51, 40), appendAlert(nil, 52, 0), appendHeader(nil, 23, versionDTLS12, 53, 0)} {
		a.carry(b, e.addr, l.Addr())
	}
	until(t, "all being dropped", func() bool { return l.Stats().Drops.Unencrypted == 4 })
	say(t, c, "two")
	a.mu.Lock()
	defer a.mu.Unlock()
	if sent != 1 {
		t.Errorf("%d datagrams sent, want the one answer", sent)
	}
}
