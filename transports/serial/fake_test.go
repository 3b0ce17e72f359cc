package serial

import (
	"io/fs"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
)

// fakePort is a port whose line carries as much as its speed allows, in the time of the
// bubble, if any.
type fakePort struct {
	octet time.Duration
	in    chan []byte
	gone  chan struct{}
	heard func(octets []byte) // the other end of the line, called at once

	mu     sync.Mutex // guards what follows
	rest   []byte
	idle   time.Time     // when the line will have carried everything
	busy   time.Duration // it has been
	unused time.Duration // it could have been, since the first octet
	most   time.Duration // that the driver ever held
}

func newFakePort(baud int) *fakePort {
	return &fakePort{
		octet: 10 * time.Second / time.Duration(baud),
		in:    make(chan []byte, 1<<12),
		gone:  make(chan struct{}),
		heard: func([]byte) {},
	}
}

func (p *fakePort) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		timer := time.NewTimer(framing.Gap)
		defer timer.Stop()
		select {
		case p.rest = <-p.in:
		case <-p.gone:
			return 0, errUnplugged
		case <-timer.C:
			return 0, nil
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *fakePort) Write(b []byte) (int, error) {
	select {
	case <-p.gone:
		return 0, fs.ErrClosed
	default:
	}
	p.mu.Lock()
	now := time.Now()
	if p.idle.IsZero() {
		p.idle = now
	}
	if p.idle.Before(now) {
		p.unused += now.Sub(p.idle)
		p.idle = now
	}
	carry := time.Duration(len(b)) * p.octet
	p.idle = p.idle.Add(carry)
	p.busy += carry
	p.most = max(p.most, p.idle.Sub(now))
	p.mu.Unlock()
	p.heard(b)
	return len(b), nil
}

func (p *fakePort) Unsent() int  { return 0 }
func (p *fakePort) Discard()     {}
func (p *fakePort) Close() error { return nil }

// use is the part of its time in which the line carried octets, and the most that the
// driver held.
func (p *fakePort) use() (ratio float64, most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.busy) / float64(p.busy+p.unused), p.most
}

// fakeDevice opens the same fakePort each time.
type fakeDevice struct {
	port   *fakePort
	opened int
}

func (d *fakeDevice) open() (port, error) {
	d.opened++
	return d.port, nil
}

func (d *fakeDevice) present() bool { return true }
func (d *fakeDevice) end()          {}

// openFake opens a link on a fake port and serves it; what arrives is passed on.
func openFake(t testing.TB, o Options, p *fakePort) (*Link, <-chan transports.Datagram) {
	t.Helper()
	return openDevice(t, o, &fakeDevice{port: p})
}

func openDevice(t testing.TB, o Options, d *fakeDevice) (*Link, <-chan transports.Datagram) {
	t.Helper()
	o.Device = "fake"
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	l, err := openWith(o, discard, nil, d)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := collect(t, l)
	return l, got
}
