package upstream

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/remote"
)

// codeProtocolVersion says that the broker does not speak MQTT 5.
const codeProtocolVersion broker.Code = 0x84

// refusal is why an attempt to connect failed.
type refusal struct {
	code    broker.Code
	reached bool   // the broker itself has refused, or would have
	reason  string // of those that are counted; "" for others
	err     error
}

// unreachable is the refusal of a broker that cannot be reached.
func unreachable(err error) *refusal {
	r := &refusal{code: broker.CodeServerUnavailable, err: err}
	var f *remote.Fault
	if errors.As(err, &f) {
		r.reason = string(f.Reason)
	}
	return r
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// disconnected says that the broker ended the connection with a DISCONNECT.
type disconnected struct {
	code   broker.Code
	reason string
}

func (d *disconnected) Error() string {
	return fmt.Sprintf("the broker disconnected the client with reason code 0x%02X %s", byte(d.code), d.reason)
}

// complaint reports whether the broker dislikes what we have sent: it would come again
// with the next connection.
func (d *disconnected) complaint() bool {
	const keepAliveTimeout, administrative, maxConnectTime = 0x8D, 0x98, 0xA0
	switch d.code {
	case broker.CodeUnspecified, keepAliveTimeout, administrative, maxConnectTime:
		return false
	}
	return d.code.Failed() && !d.code.Transient()
}

// dialer decides who may connect when: clients that connect anew first, then those that
// lost their line, at a limited rate, and of them first who has something to send; no more
// than a number at a time; and none while the broker is known to be away.
type dialer struct {
	broker *Broker
	dial   func(ctx context.Context, address string, cert *tls.Certificate) (net.Conn, error)

	mu      sync.Mutex
	ctx     context.Context // of Serve; nil before and after
	open    bool
	first   list.List // of *session
	urgent  list.List // of those that lost their line
	again   list.List
	running int
	rate    bucket
	parts   sync.WaitGroup
}

func (d *dialer) init(b *Broker) {
	d.broker = b
	d.dial = func(ctx context.Context, address string, cert *tls.Certificate) (net.Conn, error) {
		return b.papers.Load().dialer.Dial(ctx, b.places[address], cert)
	}
	rate := float64(b.options.ReconnectRate)
	d.rate = bucket{rate: rate, burst: max(1, rate*tickTime.Seconds())}
}

func (d *dialer) start(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = ctx
	d.dispatch()
}

// stop starts no more attempts.
func (d *dialer) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = nil
}

// wait waits for all attempts and readers to end.
func (d *dialer) wait() { d.parts.Wait() }

// add queues a session for an attempt.
func (d *dialer) add(s *session, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.take(s)
	if first {
		s.element = d.first.PushBack(s)
	} else {
		s.element = d.again.PushBack(s)
	}
	d.dispatch()
}

// hurry is told that a session has something to send. Its attempt comes before those of
// sessions that wait for nothing, if it is its turn at all.
func (d *dialer) hurry(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.element == nil || !d.open {
		return
	}
	waiting := d.again.Len()
	if d.again.Remove(s.element); d.again.Len() < waiting {
		s.element = d.urgent.PushBack(s)
	}
}

func (d *dialer) remove(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.take(s)
}

// take takes a session out of its queue. d.mu is held.
func (d *dialer) take(s *session) {
	if s.element != nil {
		d.first.Remove(s.element) // one of them is its list, the others do nothing
		d.urgent.Remove(s.element)
		d.again.Remove(s.element)
		s.element = nil
	}
}

// setOpen says whether attempts make sense.
func (d *dialer) setOpen(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	d.dispatch()
}

// tick looks whether the rate allows more attempts by now.
func (d *dialer) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dispatch()
}

// dispatch starts as many attempts as are allowed. d.mu is held.
func (d *dialer) dispatch() {
	for d.ctx != nil && d.open && d.running < d.broker.options.DialConcurrency {
		next := d.first.Front()
		if next == nil {
			if next = d.urgent.Front(); next == nil {
				next = d.again.Front()
			}
			if next == nil || !d.rate.take(time.Now()) {
				return
			}
		}
		s := next.Value.(*session)
		d.take(s)
		d.running++
		ctx := d.ctx
		d.parts.Go(func() { d.attempt(ctx, s) })
	}
}

// done gives a place back.
func (d *dialer) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	d.dispatch()
}

// attempt tries once to connect a session, and if that works reads from its line.
func (d *dialer) attempt(ctx context.Context, s *session) {
	b := d.broker
	trying, cancel := context.WithTimeout(ctx, b.options.ConnectTimeout)
	h, wanted := s.hello(cancel)
	if !wanted {
		cancel()
		d.done()
		return
	}
	var l *line
	var ack *incoming
	papers := b.papers.Load()
	cert, failure := papers.present(&h, s.client(), s.as)
	if failure == nil {
		l, ack, failure = d.connect(trying, b.gate.target(), &h, cert)
		failure = papers.theirs(failure)
	}
	cancel()
	d.done()
	if failure != nil {
		b.counts.remember(failure)
		b.counts.refusedFor(failure)
		s.failed(failure)
		b.settle(true)
		return
	}
	b.gate.reached(l.address)
	if !s.up(l, ack) {
		l.goodbye(s.clean)
		b.settle(true)
		return
	}
	b.settle(true)
	// The reader gets a goroutine of its own: dialling has made this one's stack grow.
	d.parts.Go(func() {
		s.lost(l, s.read(l))
		b.settle(true)
	})
}

// connect makes one connection to the broker at address and waits for the CONNACK.
func (d *dialer) connect(ctx context.Context, address string, h *hello, cert *tls.Certificate) (*line, *incoming, *refusal) {
	unreached := func(err error) (*line, *incoming, *refusal) { return nil, nil, unreachable(err) }
	conn, err := d.dial(ctx, address, cert)
	if err != nil {
		return unreached(err)
	}
	l := newLine(conn, h.maxPacket)
	l.address = address
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	var ack incoming
	_, written := conn.Write(appendConnect(nil, h))
	// What the broker has said before it closed the connection is there to be read even so.
	if err = remote.Explain(l.in.foreign()); written != nil && !errors.As(err, new(*remote.Fault)) {
		err = written
	}
	if err == nil {
		err = remote.Explain(l.in.next(&ack))
	}
	if err == nil && ack.kind != kindConnack {
		err = malformed(fmt.Sprintf("type %d instead of CONNACK", ack.kind))
		if ack.kind == kindDisconnect {
			err = &disconnected{code: ack.code, reason: ack.reason}
		}
	}
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err == nil && !ack.code.Failed() {
		return l, &ack, nil
	}
	_ = conn.Close()
	switch {
	case errors.Is(err, errOldBroker):
		return nil, nil, &refusal{code: codeProtocolVersion, err: err}
	case ctx.Err() != nil:
		return unreached(fmt.Errorf("no answer to CONNECT: %w", ctx.Err()))
	case errors.As(err, new(*remote.Fault)):
		return unreached(err)
	case err != nil && d.broker.places[address].TLS():
		return unreached(fmt.Errorf("no answer to CONNECT: %w (an MQTT 3.1.1 broker may do that)", err))
	case err != nil:
		return unreached(fmt.Errorf("no answer to CONNECT: %w (an MQTT 3.1.1 broker may do that, or a port for TLS: use mqtts:// or wss:// then)", err))
	}
	err = fmt.Errorf("the broker refuses the connection with reason code 0x%02X %s", byte(ack.code), ack.reason)
	refused := &refusal{code: ack.code, reached: true, err: err}
	if permanent(ack.code) {
		refused.reason = brokerRefusal
	}
	return nil, nil, refused
}
