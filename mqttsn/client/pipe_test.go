package client

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// pipe is a pair of connections that keep datagrams apart, in memory. Each direction
// has a filter that says when the copies of a datagram arrive; none is loss.
type pipe struct {
	in     <-chan []byte
	out    chan<- []byte
	closed chan struct{}
	once   sync.Once
	filter func() []time.Duration
}

func newPipe(filter func() []time.Duration) (a, b *pipe) {
	ab, ba := make(chan []byte, 1024), make(chan []byte, 1024)
	a = &pipe{in: ba, out: ab, closed: make(chan struct{}), filter: filter}
	b = &pipe{in: ab, out: ba, closed: make(chan struct{}), filter: filter}
	return a, b
}

// perfect delivers everything once and at once.
func perfect() []time.Duration { return []time.Duration{0} }

// rough loses 30 %, doubles 10 % and delays by up to 200 ms, so that order is lost too.
func rough(r *rand.Rand) func() []time.Duration {
	var mu sync.Mutex
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		delay := func() time.Duration { return time.Duration(r.IntN(200)) * time.Millisecond }
		switch n := r.IntN(10); {
		case n < 3:
			return nil
		case n < 4:
			return []time.Duration{delay(), delay()}
		default:
			return []time.Duration{delay()}
		}
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	select {
	case d := <-p.in:
		return copy(b, d), nil
	case <-p.closed:
		return 0, io.ErrClosedPipe
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	select {
	case <-p.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	d := bytes.Clone(b)
	for _, delay := range p.filter() {
		if delay == 0 {
			p.deliver(d)
		} else {
			time.AfterFunc(delay, func() { p.deliver(d) })
		}
	}
	return len(b), nil
}

func (p *pipe) deliver(d []byte) {
	select {
	case p.out <- d:
	default: // as a socket buffer that is full
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
