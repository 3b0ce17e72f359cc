package upstream

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// This file is what the store knows of a client's session with the broker: s.mu is held.

// enterSpool finds what is known of the client before the session begins. It reports
// whether a session of another life has to be thrown away.
func (s *session) enterSpool(first bool) {
	sp := s.spool
	sp.mu.Lock()
	if first && !s.fresh && sp.clean {
		// Its session was to end, unless the client does not know that we were away.
		s.clean, s.fresh = sp.persist, !sp.persist
	}
	sp.clean, sp.ended, sp.as = s.clean, time.Time{}, s.as
	if s.fresh {
		sp.reached, sp.unsure, sp.persist = false, false, false
	}
	sp.pause = 0
	if !s.fresh {
		for name, f := range sp.filters {
			if s.filters == nil {
				s.filters = make(map[string]byte)
			}
			s.filters[name] = f.qos
		}
	}
	sp.mu.Unlock()
	if s.fresh {
		s.forgetFilters()
		s.dropKept()
	}
}

// join answers the Connect with success.
func (s *session) join(present bool) {
	s.stage = joined
	ev := broker.Event{Kind: broker.Answered, Token: s.token, SessionPresent: present}
	if s.spool != nil {
		mark := s.know()
		if !s.clean {
			ev.Mark = mark
		}
	}
	s.tell(ev)
	s.passOn()
}

// know writes down what is known of the session.
func (s *session) know() store.Mark {
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	return s.spool.know(s.broker.store)
}

// reached notes that the broker has accepted the client for the first time in this
// session. If it has a session from before that we know nothing of, identifiers may be in
// use there.
func (s *session) reached(present bool) {
	sp := s.spool
	if sp == nil {
		if present {
			s.requests.unsure = wholeLap
		}
		return
	}
	sp.mu.Lock()
	sp.unsure = present && (sp.unsure || !sp.reached)
	if sp.unsure {
		s.requests.unsure = wholeLap
	}
	sp.reached = true
	sp.mu.Unlock()
	if !present {
		s.forgetFilters()
	}
	if s.stage != joining { // else join does
		s.know()
	}
}

// acceptOffline answers the Connect before the broker does, if that is allowed.
func (s *session) acceptOffline() bool {
	if s.spool == nil || !s.broker.offline {
		return false
	}
	s.forgetFilters() // the gateway asks for its subscriptions again
	s.since = time.Now()
	s.join(false)
	return true
}

// keepFilter and forgetFilter write a subscription down, so that it can be made again
// after a crash.
func (s *session) keepFilter(name string, qos byte) store.Mark {
	sp := s.spool
	if sp == nil || s.stage != joined {
		return 0
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	f, known := sp.filters[name]
	if known && f.qos == qos {
		return sp.mark
	}
	if !known {
		sp.slot++
		f.slot = sp.slot
	}
	f.qos = qos
	sp.filters[name] = f
	return sp.apply(s.broker.store, store.Put(store.UpstreamSession, sp.client, f.slot, appendFilter(nil, name, qos)))
}

func (s *session) forgetFilter(name string) store.Mark {
	sp := s.spool
	if sp == nil || s.stage != joined {
		return 0
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	f, known := sp.filters[name]
	if !known {
		return 0
	}
	delete(sp.filters, name)
	return sp.apply(s.broker.store, store.Delete(store.UpstreamSession, sp.client, f.slot))
}

func (s *session) forgetFilters() {
	for name := range s.filters {
		delete(s.filters, name)
	}
	sp := s.spool
	sp.mu.Lock()
	defer sp.mu.Unlock()
	var ops []store.Op
	for _, f := range sp.filters {
		ops = append(ops, store.Delete(store.UpstreamSession, sp.client, f.slot))
	}
	if len(ops) > 0 {
		sp.apply(s.broker.store, ops...)
	}
	clear(sp.filters)
}

// persist has a clean session found again after a crash.
func (s *session) persist(r *broker.Request) {
	if s.spool == nil {
		if len(r.With) > 0 {
			r.Mark = s.apply(r.With...)
		}
		return
	}
	sp := s.spool
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.persist = true
	ops := append([]store.Op{store.Put(store.UpstreamSession, sp.client, 0, sp.sessionValue())}, r.With...)
	r.Mark = sp.apply(s.broker.store, ops...)
}
