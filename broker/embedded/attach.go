package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/store"
)

// attachment is what a client wants when it connects.
type attachment struct {
	clean  bool          // forget an earlier session
	expiry time.Duration // how long the session is kept when the client has gone
	window uint16        // how many messages may be in flight to it
	will   *will
	mount  *mount     // nil for none
	with   []store.Op // what is to be durable with it
	as     broker.Principal
	bound  bool         // as has proven that the client id is its own
	rights *auth.Rights // to receive
	turn   *auth.Rights // of a device
}

// attach connects a client, by its line, to its session, resumed or new. There is one
// session for a client id, whoever comes and however many at the same time: another
// connection of that id is ended first [MQTT-3.1.4-3]. The line is told in accept, or
// else the code is a failure.
func (b *Broker) attach(id string, l line, o *attachment) broker.Code {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return broker.CodeServerUnavailable
	}
	s := b.sessions[id]
	var last *will
	if !b.mayTake(s, o) {
		b.mu.Unlock()
		return broker.CodeNotAuthorized
	}
	if !b.mayAttach(s, id, o.will) {
		b.mu.Unlock()
		return broker.CodeQuota
	}
	if s == nil && o.expiry > 0 && b.storeAtLeast(store.Crowded) {
		b.mu.Unlock()
		b.limited.deny(storeLimit)
		return broker.CodeQuota
	}
	r := b.gather()
	if s != nil {
		s.mu.Lock()
		ends := o.clean || !s.isFor(o.as) || s.tied().mount != o.mount || s.endsWith(l) || s.line == nil && s.due <= b.now()
		last = s.supersede(l, ends, r)
		if ends {
			if s.line == nil && s.due <= b.now() {
				b.stats.expired.Add(1)
			}
			s.gather(r)
			s.finish(r)
			s.gather(nil)
			s.mu.Unlock()
			s = nil
		}
	}
	present := s != nil
	if s == nil {
		if len(b.sessions) >= b.options.MaxSessions {
			b.commit(r)
			b.mu.Unlock()
			b.publishWill(last)
			return broker.CodeQuota
		}
		s = &session{broker: b, id: id, ledger: b.newLedger()}
		b.sessions[id] = s
		b.stats.sessions.Add(1)
		s.mu.Lock()
		s.keep(len(id))
	}
	s.attach(l, o, present, r)
	s.mu.Unlock()
	b.mu.Unlock()
	b.publishWill(last)
	return broker.CodeSuccess
}

// mayAttach reports whether there is room for a client with its will and, if it has no
// session yet, for its id. One that leaves no more than it has already needs none. The
// caller holds b.mu.
func (b *Broker) mayAttach(s *session, id string, w *will) bool {
	need := w.cost()
	if s == nil {
		need += len(id)
	} else {
		s.mu.Lock()
		need -= s.will.cost()
		s.mu.Unlock()
	}
	if need <= 0 || b.mayKeep(need) {
		return true
	}
	b.limited.deny(sessionBytesLimit)
	return false
}

// supersede ends what there is of the client before it is connected anew by l; ends says
// that its session ends as well. It returns the will that is to be published now, nil for
// none. The caller holds s.mu.
//
// A connection that is taken over was not ended by its client, so its will is published
// [MQTT-3.1.2-8], unless it has a delay and the session goes on [MQTT-3.1.3-9]. A device
// that connects again over the same Conn was not lost: its old will is just replaced.
func (s *session) supersede(l line, ends bool, r *records) *will {
	w := s.will
	s.setWill(nil)
	if s.line == l {
		s.deleteWill(r, w)
		return nil
	}
	if s.line != nil {
		if c, ok := s.line.(*client); ok {
			c.takenBy = where(l)
		}
		s.line.end(broker.CodeTakenOver)
		s.broker.stats.takeovers.Add(1)
		s.dropBacklog()
	}
	if w != nil && w.delay > 0 && !ends {
		s.deleteWill(r, w)
		return nil
	}
	return w
}

// endsWith reports whether the session has ended with its last connection, now that the
// client comes by l. One of a sleeper that a restart has cut short has not, if it is the
// gateway that goes on with it: broker.Persist. The caller holds s.mu.
func (s *session) endsWith(l line) bool {
	if s.ledger != nil && s.ledger.restored && s.ledger.persisted {
		_, device := l.(*device)
		return !device
	}
	return s.expiry == 0
}

// detach ends a client's connection; lost says that its will is to be published. What with
// has is to be durable with that, at the mark. Nothing happens if the session has another
// line by now.
func (b *Broker) detach(s *session, l line, lost bool, with ...store.Op) store.Mark {
	b.mu.Lock()
	s.mu.Lock()
	if s.line != l {
		s.mu.Unlock()
		b.mu.Unlock()
		return b.apply(with...)
	}
	r := b.gather()
	w := s.will
	s.setWill(nil)
	switch {
	case !lost:
		s.deleteWill(r, w)
		w = nil
	case b.closing:
		if w != nil && w.number != 0 { // after a restart it is the session's still
			w.due = after(b.now(), max(w.delay, restartGrace))
			s.setWill(w)
		}
		w = nil
	}
	s.line = nil
	b.stats.connected.Add(-1)
	s.queue.land()
	s.gather(r)
	s.dropBacklog()
	if s.expiry == 0 { // the session ends now, and with it a will's delay [MQTT-3.1.3-9]
		s.finish(r)
	} else {
		s.due = after(b.now(), s.expiry)
		if w != nil && w.delay > 0 {
			w.due = after(b.now(), w.delay)
			s.setWill(w)
			s.putWill(r)
			w = nil
		}
		s.putSession(r)
		s.file()
	}
	if w == nil || w.number != 0 {
		// A will that the store has is published after a crash, too: whoever is told by
		// with that the client is lost must not arm it again.
		r.add(with)
		with = nil
	}
	mark := s.gathered(r)
	s.mu.Unlock()
	b.mu.Unlock()
	return max(mark, b.publishWill(w, with...))
}

// longestExpiry is how long a session may be kept.
func (b *Broker) longestExpiry() time.Duration {
	if b.options.SessionExpiryMax == 0 {
		return forever
	}
	return b.options.SessionExpiryMax
}

// after is the instant d after now; forever stays forever.
func after(now, d time.Duration) time.Duration {
	if d > forever-now {
		return forever
	}
	return now + d
}

// expireBatch is how many sessions are dealt with before what they led to is sent.
const expireBatch = 100

// expire ends the sessions, publishes the wills and sweeps the queues that are due, as far
// as one batch goes.
func (b *Broker) expire() {
	for range expireBatch {
		now := b.now()
		s := b.deadlines.dueAt(now)
		if s == nil {
			return
		}
		b.mu.Lock()
		s.mu.Lock()
		var w *will
		switch {
		case s.ended:
			w, s.will = s.will, nil // of a session that has ended before a restart
			b.deadlines.remove(s)
		case s.line != nil:
			s.sweep()
			s.file()
		case s.due <= now:
			w = s.will
			r := b.gather()
			s.gather(r)
			s.finish(r)
			s.gathered(r)
			b.stats.expired.Add(1)
		default:
			if s.will != nil && s.will.due <= now {
				w = s.will
				s.setWill(nil)
			}
			s.sweep()
			s.file()
		}
		s.mu.Unlock()
		b.mu.Unlock()
		b.publishWill(w)
	}
}
