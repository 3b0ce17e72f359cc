package serial

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
)

// stuckPort is a port whose Write blocks until it is let go, and then says failure.
type stuckPort struct {
	*fakePort
	writing, letGo, closed chan struct{}
	failure                error
	atWork                 atomic.Bool
	early                  atomic.Bool // it was closed while a Write ran
}

func newStuckPort(failure error) *stuckPort {
	return &stuckPort{
		fakePort: newFakePort(115200),
		writing:  make(chan struct{}, 1),
		letGo:    make(chan struct{}),
		closed:   make(chan struct{}),
		failure:  failure,
	}
}

func (p *stuckPort) Write(b []byte) (int, error) {
	p.atWork.Store(true)
	defer p.atWork.Store(false)
	p.writing <- struct{}{}
	<-p.letGo
	return len(b), p.failure
}

func (p *stuckPort) Close() error {
	p.early.Store(p.atWork.Load())
	close(p.closed)
	return nil
}

type stuckDevice struct{ port *stuckPort }

func (d stuckDevice) open() (port, error) { return d.port, nil }
func (d stuckDevice) present() bool       { return true }
func (d stuckDevice) end()                {}

// TestStuckWriter: Serve does not wait for a driver that takes nothing, and counts what is
// in its hands once, however that ends; the port is closed afterwards.
func TestStuckWriter(t *testing.T) {
	for _, test := range []struct {
		framing string
		to      transports.Addr
		failure error
	}{
		{framingRaw, peer, nil},
		{framingRaw, peer, fs.ErrClosed},
		{framingXBee, nodeNumber(1), nil},
		{framingXBee, nodeNumber(1), fs.ErrClosed},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newStuckPort(test.failure)
			l, err := openWith(optionsFor("fake", test.framing), discard, nil, stuckDevice{p})
			if err != nil {
				t.Fatal(err)
			}
			stop := serve(t, l, func([]transports.Datagram) {})
			send(t, l, test.to, publish(1, 60))
			wait(t, p.writing)
			send(t, l, test.to, publish(2, 60))
			start := time.Now()
			stop()
			if took := time.Since(start); took > time.Second {
				t.Errorf("%+v: Serve took %v to return", test, took)
			}
			lost := func(when string) {
				t.Helper()
				if s := l.Stats(); s.Sent != 0 || s.Drops["line_down"] != 2 || s.Drops["no_status"] != 0 {
					t.Errorf("%+v: %s: %d sent, %v", test, when, s.Sent, s.Drops)
				}
			}
			lost("stopped")
			close(p.letGo)
			wait(t, p.closed)
			synctest.Wait()
			lost("let go")
			if p.early.Load() {
				t.Errorf("%+v: the port was closed while it was written", test)
			}
		})
	}
}

// TestProbeStuck: a module's port that takes nothing is reported, and closed when its
// driver lets go.
func TestProbeStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newStuckPort(fs.ErrClosed)
		start := time.Now()
		if _, err := probe(t.Context(), optionsFor("fake", framingXBee), stuckDevice{p}); !errors.Is(err, errStuck) {
			t.Errorf("error: %v", err)
		}
		if took := time.Since(start); took > probeTime+time.Second {
			t.Errorf("it took %v", took)
		}
		close(p.letGo)
		wait(t, p.closed)
		if p.early.Load() {
			t.Error("the port was closed while it was written")
		}
	})
}
