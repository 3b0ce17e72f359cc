package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/remote"
)

// probe holds the gateway's own connection, which carries nothing but PINGREQs. Of several
// brokers it takes the first that it can connect to, and stays there until that connection
// is lost and cannot be made again at once; all clients follow it. It goes back to an
// earlier one only when the present one is lost: to move costs every client its session
// there.
func (b *Broker) probe(ctx context.Context) {
	h := b.hello(b.options.ClientIDPrefix + "mqttsn-gateway-health-" + randomSuffix())
	h.cleanStart, h.keepAlive = true, 2*b.options.HealthInterval
	at, tried, failures := 0, 0, 0 // tried: without success, since the last one
	old := make(map[string]bool)   // brokers that do not speak MQTT 5
	var refused broker.Code
	for ctx.Err() == nil {
		address := b.brokers[at]
		trying, cancel := context.WithTimeout(ctx, b.options.HealthInterval)
		l, failure := b.look(trying, address, &h)
		cancel()
		if ctx.Err() != nil {
			if l != nil {
				_ = l.conn.Close()
			}
			return
		}
		bound := b.options.HealthInterval
		switch {
		case failure == nil && l == nil:
			failures, tried = 0, 0
			b.moveTo(address)
			if !pause(ctx, b.options.HealthInterval) {
				return
			}
			continue
		case failure == nil:
			failures, tried = 0, 0
			b.moveTo(address)
			b.gate.watch(l.born)
			err := b.watch(ctx, l)
			b.gate.watch(time.Time{})
			b.counts.remember(err)
			if time.Since(l.born) > shortLife {
				continue // look at once what has become of it
			}
		case failure.reached && !b.standIn(failure.code):
			b.moveTo(address)
			if failure.code != refused {
				b.log.Warn("the broker refuses the gateway's health connection: an outage will be noticed late", "address", address, "client", h.clientID, "error", failure)
			}
			refused = failure.code
			bound = b.options.ReconnectMax
		default:
			old[address] = failure.code == codeProtocolVersion
			b.unreachable(address, failure, old)
			if failure.code == codeProtocolVersion {
				bound = b.options.ReconnectMax
			}
			at = (at + 1) % len(b.brokers)
			if tried++; tried%len(b.brokers) != 0 {
				continue // the next one may be there
			}
		}
		failures = min(failures+1, 30)
		if !pause(ctx, rand.N(min(bound, b.options.ReconnectMin<<failures))) {
			return
		}
	}
}

// look makes the gateway's own connection. Where only devices have something to present, as
// with brokers in the cloud, there is nobody whom it could be of: then it looks whether the
// broker takes connections, closes the one that it has made, and returns no line.
func (b *Broker) look(ctx context.Context, address string, h *hello) (*line, *refusal) {
	p := b.papers.Load()
	if !b.options.DevicesOnly() {
		h.username, h.password = string(p.username), p.password
		l, _, failure := b.dialer.connect(ctx, address, h, p.cert)
		if failure != nil {
			b.counts.refusedFor(failure)
		}
		return l, failure
	}
	conn, err := b.dialer.dial(ctx, address, p.cert)
	if err == nil {
		_ = conn.Close()
		return nil, nil
	}
	failure := unreachable(err)
	if p.certificate.varies() && failure.reason == string(remote.CertificateRefused) {
		return nil, nil // it is there, and wants to see one
	}
	b.counts.refusedFor(failure)
	return nil, failure
}

// standIn reports whether another broker is to be tried for one that refuses the probe
// with that code: it is shutting down, busy, or names another one itself.
func (b *Broker) standIn(code broker.Code) bool {
	const useAnotherServer, serverMoved = 0x9C, 0x9D
	return len(b.brokers) > 1 && (code.Transient() || code == useAnotherServer || code == serverMoved)
}

// moveTo is told by the probe which broker all clients are to use. Those that still have a
// connection to another one are parted from it, and connect anew.
func (b *Broker) moveTo(address string) {
	if b.gate.move(address) {
		for _, s := range b.all(nil) {
			s.part(address)
		}
	}
	b.gate.reached(address)
}

// part ends a line that leads to another broker than the one at address.
func (s *session) part(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil && s.line.address != address {
		_ = s.line.conn.Close() // the reader notices
	}
}

// watch asks for a sign of life until there is none.
func (b *Broker) watch(ctx context.Context, l *line) error {
	defer l.goodbye(true)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Now()) })
	defer stop()
	var in incoming
	for {
		if err := l.conn.SetDeadline(time.Now().Add(b.options.HealthInterval)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := l.conn.Write(appendPingreq(nil)); err != nil {
			return err
		}
		if err := l.in.next(&in); err != nil {
			return err
		}
		switch in.kind {
		case kindPingresp:
		case kindDisconnect:
			return &disconnected{code: in.code, reason: in.reason}
		default:
			return malformed(fmt.Sprintf("type %d on a connection without subscriptions", in.kind))
		}
		if !pause(ctx, b.options.HealthInterval) {
			return ctx.Err()
		}
	}
}

// unreachable is told that the probe could not reach the broker at address. If none speaks
// our language, nobody has to wait to hear that; old are those that do not.
func (b *Broker) unreachable(address string, r *refusal, old map[string]bool) {
	b.counts.remember(r)
	why := error(r)
	for _, a := range b.brokers {
		if r.code == codeProtocolVersion && !old[a] {
			why = errors.New(address + ": " + r.Error()) // not errOldBroker: another one may do
		}
	}
	b.gate.set(false, why)
	if !b.gate.useless() {
		return
	}
	for _, s := range b.all(nil) {
		s.useless()
	}
	b.settle(true)
}

// pause waits for d, or less if ctx is done: then it reports false.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
