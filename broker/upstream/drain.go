package upstream

import (
	"time"

	"mqttsn-gateway/gateway/store"
)

// This file has clients' spools come and go, and drains those whose clients are not there.

const (
	// drainPause is how long a spool without a client waits before it is drained: most
	// clients are there again by then, after a restart. It is doubled, up to drainPauseMax,
	// each time that the broker does not let it.
	drainPause    = 2 * time.Second
	drainPauseMax = time.Hour
	// drainPauseElsewhere is what it is at least when the client is connected elsewhere:
	// draining takes its connection away.
	drainPauseElsewhere = time.Minute
	// sweepTime is how often spools are looked at that may be of no use any more.
	sweepTime = time.Hour
)

// enter is the spool of a client for a session that begins.
func (b *Broker) enter(client string) *spool {
	b.mu.Lock()
	defer b.mu.Unlock()
	sp := b.spools[client]
	if sp == nil {
		if !b.spooling {
			return nil
		}
		sp = b.newSpool(client)
	}
	sp.users++
	return sp
}

// newSpool makes a spool. b.mu is held.
func (b *Broker) newSpool(client string) *spool {
	sp := &spool{client: client, filters: make(map[string]filter), deliveries: &deliveries{numbers: &b.numbers}}
	b.spools[client] = sp
	return sp
}

// exit is told that a session is over that had a spool. b.mu is held.
func (b *Broker) exit(s *session) {
	sp := s.spool
	sp.users--
	if sp.users > 0 || b.closed {
		return
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	switch {
	case sp.waiting() > 0:
		least := drainPause
		if s.elsewhere {
			least = drainPauseElsewhere
		} else if s.welcome {
			sp.pause = 0
		}
		sp.pause = min(max(2*sp.pause, least), drainPauseMax)
		sp.due = time.Now().Add(sp.pause)
		b.undrained[sp] = struct{}{}
	case sp.clean || !sp.reached && len(sp.deliveries.kept) == 0:
		b.forget(sp)
	default:
		sp.pause, sp.ended = 0, time.Now()
		sp.know(b.store)
	}
}

// forget deletes what is left of a client. b.mu and sp.mu are held.
func (b *Broker) forget(sp *spool) {
	ops := []store.Op{store.Delete(store.UpstreamSession, sp.client, 0)}
	for _, f := range sp.filters {
		ops = append(ops, store.Delete(store.UpstreamSession, sp.client, f.slot))
	}
	for _, k := range sp.deliveries.kept {
		ops = append(ops, store.Delete(store.UpstreamDelivery, sp.client, k.number))
	}
	for _, id := range sp.deliveries.unreleased {
		ops = append(ops, store.Delete(store.UpstreamUnreleased, sp.client, uint64(id)))
	}
	sp.apply(b.store, ops...)
	delete(b.spools, sp.client)
}

// tickSpools drains what is due, and forgets clients whose sessions the broker has
// forgotten.
func (b *Broker) tickSpools(now time.Time) {
	b.mu.Lock()
	var due []*spool
	for sp := range b.undrained {
		switch {
		case sp.users > 0:
			delete(b.undrained, sp)
		case !now.Before(sp.due):
			delete(b.undrained, sp)
			sp.users++
			due = append(due, sp)
		}
	}
	if now.Sub(b.swept) >= sweepTime {
		b.swept = now
		for _, sp := range b.spools {
			sp.mu.Lock()
			expiry := b.options.SessionExpiry
			if sp.clean {
				expiry = b.options.CleanSessionExpiry
			}
			if sp.users == 0 && sp.waiting() == 0 && !sp.ended.IsZero() && now.Sub(sp.ended) > expiry {
				b.forget(sp)
			}
			sp.mu.Unlock()
		}
	}
	b.mu.Unlock()
	for _, sp := range due {
		if s := b.drain(sp); s != nil {
			b.dialer.add(s, false)
		}
	}
}

// drain makes a session that sends what is spooled, and leaves. The spool counts it as a
// user already. It is nil if it is too late for that.
func (b *Broker) drain(sp *spool) *session {
	sp.mu.Lock()
	s := &session{broker: b, id: b.options.ClientIDPrefix + sp.client, clean: sp.clean, as: sp.as, accepted: sp.reached, spool: sp, stage: leaving, since: time.Now()}
	sp.mu.Unlock()
	s.begin()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		sp.users--
		return nil
	}
	b.sessions[s] = struct{}{}
	b.leaving[s.id] = s
	return s
}

// begin makes the requests of a new session ready.
func (s *session) begin() {
	q := &s.requests
	q.lastID, q.most = s.broker.firstID(), s.broker.options.WriteBuffer
	if s.spool != nil {
		q.floor = spoolIDs + 1
	}
}

// busySpool reports whether spooled messages keep a leaving session from going.
func (s *session) busySpool() bool {
	sp := s.spool
	if sp == nil {
		return false
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if s.handing {
		return sp.started()
	}
	return sp.waiting() > 0
}

// handOver makes a leaving session finish only what it has begun, for next to go on with
// the rest. It reports whether there is nothing to be finished.
func (s *session) handOver(next *session) bool {
	if s.spool == nil || s.line != nil && s.line.closing {
		return false
	}
	s.handing = true
	s.unload(func(r *request) bool { return r.state == waiting && !r.again })
	if s.line != nil {
		return false
	}
	for _, r := range s.requests.queue {
		if r.number == 0 {
			return false // a will: it comes before what the next one does
		}
	}
	// A session with a clean start would not find what has been begun.
	return !next.fresh || !s.busySpool()
}

// late ends what a leaving session has not finished in time. What is spooled has time.
func (s *session) late() {
	if s.spool == nil || s.line == nil || s.line.closing || s.handing || !s.busySpool() && s.requests.spooled == 0 {
		s.end()
		return
	}
	s.giveUp()
	s.deadline = time.Time{}
	s.pump()
}

// giveUp drops all requests that are not spooled.
func (s *session) giveUp() {
	q := &s.requests
	for i := 0; i < len(q.queue); {
		if q.queue[i].number == 0 {
			s.lose(q.remove(i))
		} else {
			i++
		}
	}
}

// finisher is a session that finishes what was begun with the spooled messages, if anything
// was: the session s, which comes next, would not find it. Nil if there is nothing.
func (s *session) finisher() *session {
	b, sp := s.broker, s.spool
	sp.mu.Lock()
	started := sp.started()
	sp.mu.Unlock()
	if !started {
		return nil
	}
	b.mu.Lock()
	sp.users++
	b.mu.Unlock()
	return b.drain(sp)
}

// handOverAll makes the sessions that leave finish only what they have begun: the rest is
// for the next process.
func (b *Broker) handOverAll() {
	for _, s := range b.all(nil) {
		s.mu.Lock()
		if s.stage == leaving && s.spool != nil {
			if s.handOver(&session{}) {
				s.end()
			} else if s.line != nil {
				s.pump()
			}
		}
		s.mu.Unlock()
	}
}

// oldest is when the oldest spooled message was taken.
func (b *Broker) oldest() (t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, sp := range b.spools {
		sp.mu.Lock()
		if sp.count > 0 && (t.IsZero() || sp.oldest.Before(t)) {
			t = sp.oldest
		}
		sp.mu.Unlock()
	}
	return t
}
