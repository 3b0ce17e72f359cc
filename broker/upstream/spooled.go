package upstream

import (
	"math"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// This file is a spooled message's way to the broker: s.mu is held everywhere.

// durable reports whether all up to a mark is durable. If not, the session is looked at
// again when more is.
func (s *session) durable(mark store.Mark) bool {
	b := s.broker
	if mark == 0 || b.store == nil || b.store.Durable() >= mark {
		return true
	}
	b.feeder.await(s)
	return b.store.Durable() >= mark // it may have become so meanwhile
}

// spoolPublish takes a QoS 1 or 2 message, and answers at once.
func (s *session) spoolPublish(r *broker.Request) error {
	b, sp := s.broker, s.spool
	sp.mu.Lock()
	count := sp.count
	sp.mu.Unlock()
	level := b.store.Level()
	if level >= store.Degraded && count >= b.options.MaxPending {
		return broker.ErrBusy
	}
	if level == store.Full || count >= b.options.MaxSpooledMessages {
		b.counts.fail(broker.CodeQuota)
		s.tell(broker.Event{Kind: broker.Answered, Token: r.Token, Code: broker.CodeQuota})
		return nil
	}
	r.Mark = s.spoolMessage(&spooled{Request: *r, at: time.Now()}, r.With)
	s.tell(broker.Event{Kind: broker.Answered, Token: r.Token, Mark: r.Mark})
	return nil
}

// spoolMessage puts a message into the store, and on its way if it is its turn.
func (s *session) spoolMessage(m *spooled, with []store.Op) store.Mark {
	b, sp := s.broker, s.spool
	value := m.value()
	sp.mu.Lock()
	sp.last++
	n := sp.last
	ops := append(make([]store.Op, 0, 1+len(with)), store.Put(store.UpstreamRequest, sp.client, n, value))
	mark := sp.apply(b.store, append(ops, with...)...)
	if sp.count == 0 {
		sp.oldest = m.at
	}
	sp.count++
	direct := sp.waiting() == 0 && s.line != nil && !s.line.closing && !s.handing && s.refusals == 0 && s.pausedUntil.IsZero() && s.requests.roomFor(n, len(value))
	if !direct {
		sp.push(entry(n))
		if !b.gate.open() {
			sp.drainTo = n
		}
	}
	sp.mu.Unlock()
	b.counts.spooled.Add(1)
	b.counts.spooledNow.Add(1)
	b.counts.octetsNow.Add(int64(len(value)))
	if planted.SpoolDeletedWhenSent && direct {
		b.store.Apply(store.Delete(store.UpstreamRequest, sp.client, n))
	}
	if direct {
		s.requests.add(s.spooledRequest(n, m, len(value), mark))
		s.pump()
	} else if s.line == nil {
		b.dialer.hurry(s)
	}
	s.hunger()
	return mark
}

// spooledRequest is the request for a spooled message.
func (s *session) spooledRequest(n uint64, m *spooled, size int, mark store.Mark) *request {
	r := &request{op: broker.Publish, number: n, own: m.will, qos: m.QoS, retain: m.Retain, id: spoolID(n), size: size, mark: mark}
	if m.released {
		r.state = released
		return r
	}
	if m.will {
		r.qos = min(r.qos, s.limits.maxQoS)
	}
	p := m.Request
	p.QoS = r.qos
	if r.qos == 0 {
		// At most once: it is forgotten before it is sent.
		r.id = 0
		r.mark = s.discard(r)
		r.number = 0
	}
	r.frame = s.appendPublish(nil, &p, r.id)
	return r
}

// discard takes a message out of the store.
func (s *session) discard(r *request, more ...store.Op) store.Mark {
	sp, b := s.spool, s.broker
	sp.mu.Lock()
	defer sp.mu.Unlock()
	mark := sp.apply(b.store, append(more, store.Delete(store.UpstreamRequest, sp.client, r.number))...)
	sp.count--
	b.counts.spooledNow.Add(-1)
	b.counts.octetsNow.Add(-int64(r.size))
	return mark
}

// finished is told what the broker says to a spooled message.
func (s *session) finished(r *request, code broker.Code) {
	counts := &s.broker.counts
	switch {
	case code.Failed() && code.Transient():
		counts.fail(code)
		s.postpone(r, code)
		return
	case code.Failed():
		counts.fail(code)
		s.deadLetter(r, code)
	default:
		counts.answered.Add(1)
		counts.drained.Add(1)
		s.discard(r)
	}
	if r.own {
		s.willDone(code)
	}
	s.refusals, s.pausedUntil = 0, time.Time{}
}

// postpone puts a message back that the broker does not take now, and with it all that
// has not been sent: they stay in order.
func (s *session) postpone(r *request, code broker.Code) {
	s.broker.notice(code, "the broker does not take messages of a client now: they wait", "client", s.id, "code", code)
	s.unload(func(other *request) bool { return other.state == waiting && !other.again })
	s.spool.mu.Lock()
	s.spool.putBack([]entry{entry(r.number)})
	s.spool.mu.Unlock()
	o := &s.broker.options
	s.refusals = min(s.refusals+1, 30)
	s.pausedUntil = time.Now().Add(min(o.ReconnectMax, o.ReconnectMin<<s.refusals))
}

// unload takes those of the spooled messages out of memory that are to go.
func (s *session) unload(which func(*request) bool) {
	if s.spool == nil || s.requests.spooled == 0 {
		return
	}
	q := &s.requests
	var back []entry
	for i := 0; i < len(q.queue); {
		r := q.queue[i]
		if r.number == 0 || !which(r) {
			i++
			continue
		}
		e := entry(r.number)
		if r.state >= received {
			e |= entryReleased
		}
		if r.state >= sent || r.again {
			e |= entryAgain
		}
		back = append(back, e)
		q.remove(i)
	}
	s.spool.mu.Lock()
	s.spool.putBack(back)
	s.spool.mu.Unlock()
}

func everything(*request) bool { return true }

// roomFor reports whether the window has room for a spooled message.
func (q *requests) roomFor(n uint64, octets int) bool {
	if q.spooled == 0 {
		return true
	}
	oldest := uint64(math.MaxUint64)
	for _, r := range q.queue {
		if r.number != 0 {
			oldest = min(oldest, r.number)
		}
	}
	return q.spooled < spoolWindow && q.spooledOctets+octets <= q.most && n-oldest < spoolIDs
}

// release notes that the broker has a QoS 2 message. PUBREL follows when that is durable:
// after a crash the message would be sent again, and the broker would take it for another.
func (s *session) release(l *line, r *request) {
	if r.number == 0 {
		r.state = released
		l.took(appendPubrel(l.room(), r.id, 0))
		s.soil()
		return
	}
	sp, counts := s.spool, &s.broker.counts
	sp.mu.Lock()
	r.mark = sp.apply(s.broker.store, store.Put(store.UpstreamRequest, sp.client, r.number, releasedValue))
	sp.mu.Unlock()
	counts.octetsNow.Add(int64(len(releasedValue) - r.size))
	r.size = len(releasedValue)
	r.state = received
	s.releaseDurable()
}

// releaseDurable sends the PUBRELs whose time has come.
func (s *session) releaseDurable() {
	for _, r := range s.requests.queue[:s.requests.sentCount] {
		if r.state != received {
			continue
		}
		if !s.durable(r.mark) {
			return // nor those behind it, which may have become durable just now [MQTT-4.6.0-4]
		}
		r.state = released
		s.line.took(appendPubrel(s.line.room(), r.id, 0))
		s.soil()
	}
}

// nowDurable is told that more has become durable.
func (s *session) nowDurable() (told bool) {
	if s.line != nil {
		s.pump()
		s.releaseDurable()
		if s.deliveries != nil {
			s.acknowledge(s.line)
			s.completeDurable(s.line)
		}
	}
	told, s.told = s.told, false
	return told
}

// resumeSpool is told whether the broker has the client's session.
func (s *session) resumeSpool(present bool) {
	sp, b := s.spool, s.broker
	sp.mu.Lock()
	var lost []uint64
	if !present {
		lost = sp.lostSession()
	}
	sp.mu.Unlock()
	for _, n := range lost {
		// The broker had the message; nobody knows whether it passed it on. Sending it again
		// might deliver it twice.
		b.counts.uncertain.Add(1)
		s.discard(&request{number: n, size: len(releasedValue)})
	}
}
