package embedded

import (
	"sync"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// ledger is what a session has besides if there is a store. All but inbound is under the
// session's lock.
type ledger struct {
	durable bool // the store has the session
	// persisted says that it has it although the session ends with its connection: the
	// client is asleep, see broker.Persist.
	persisted bool
	restored  bool       // it was loaded, and its client has not come back
	device    bool       // the client is a device, or was
	since     uint64     // when it began: numbers of before belong to an earlier session of the client
	mark      store.Mark // where all is durable that was applied for it
	numbers   []uint64   // of the subscriptions' records, as filters.list
	received  []byte     // the value of received identifiers' records
	scattered idSet      // packet identifiers of deliveries that were loaded
	// gathering takes what is applied for the session; nil: each by itself.
	gathering *records

	// inbound is held by who passes on a QoS 2 message of an MQTT client's, from when its
	// identifier is noted until it is applied, and by who releases one: a client that has
	// come back meanwhile is not answered before. It comes before all other locks.
	inbound sync.Mutex
}

// newLedger is for a new session; nil without a store.
func (b *Broker) newLedger() *ledger {
	if b.store == nil {
		return nil
	}
	return &ledger{since: b.number()}
}

// isDurable reports whether the session survives a crash. The caller holds s.mu.
func (s *session) isDurable() bool { return s.ledger != nil && s.ledger.durable }

// mark is where all is durable that was applied for the session. The caller holds s.mu.
func (s *session) mark() store.Mark {
	if s.ledger == nil {
		return 0
	}
	return s.ledger.mark
}

// reached notes that something was applied for the session. The caller holds s.mu.
func (s *session) reached(mark store.Mark) {
	if s.ledger != nil {
		s.ledger.mark = max(s.ledger.mark, mark)
	}
}

// gather lets r take what is applied for the session, until gathered. The caller holds
// s.mu.
func (s *session) gather(r *records) {
	if s.ledger != nil {
		s.ledger.gathering = r
	}
}

// gathered ends what gather has begun, and applies it. The caller holds s.mu.
func (s *session) gathered(r *records) store.Mark {
	s.gather(nil)
	mark := s.broker.commit(r)
	s.reached(mark)
	return mark
}

// putSession writes down the session. The caller holds s.mu.
func (s *session) putSession(r *records) {
	if !s.isDurable() {
		return
	}
	l := s.ledger
	v := savedSession{since: l.since, expiry: s.expiry, window: s.window, owner: s.tied().owner}
	if s.will != nil {
		v.will = s.will.number
	}
	if m := s.tied().mount; m != nil {
		v.mount = m.point
	}
	if l.device {
		v.flags |= sessionDevice
	}
	if l.persisted {
		v.flags |= sessionPersisted
	}
	now := s.broker.clock()
	if s.line != nil {
		v.flags |= sessionConnected
	} else {
		v.due = in(s.due-now.now, now.wall)
	}
	at := len(r.buf)
	r.buf = appendSession(r.buf, &v)
	r.put(store.MQTTSession, s.id, 0, at)
}

// putWill writes down the will, if there is one. It is a record of its own, with a number
// of its own, so that who publishes it can delete just that in the same step. The caller
// holds s.mu.
func (s *session) putWill(r *records) {
	if !s.isDurable() || s.will == nil {
		return
	}
	if s.will.number == 0 {
		s.will.number = s.broker.number()
	}
	s.will.message.from = s.id
	now := s.broker.clock()
	w := savedWill{will: s.will, away: s.line == nil}
	if w.away {
		w.due = in(s.will.due-now.now, now.wall)
	}
	at := len(r.buf)
	r.buf = appendWill(r.buf, &w, now)
	r.put(store.MQTTSession, s.id, s.will.number, at)
}

// deleteWill deletes the record of a will that is not to be published.
func (s *session) deleteWill(r *records, w *will) {
	if w != nil && w.number != 0 {
		r.delete(store.MQTTSession, s.id, w.number)
		w.number = 0
	}
}

// replaceWill is setWill with what the store is to know. The caller holds s.mu.
func (s *session) replaceWill(w *will, with []store.Op) store.Mark {
	r := s.broker.gather()
	r.add(with)
	s.deleteWill(r, s.will)
	s.setWill(w)
	s.putWill(r)
	s.putSession(r)
	return s.gathered(r)
}

// keepFrom makes the session durable from now on, with all that it has. The caller holds
// s.mu.
func (s *session) keepFrom(r *records) {
	l := s.ledger
	l.durable = true
	l.received = receivedValue(l.since)
	s.putWill(r)
	s.putSession(r)
	for i, filter := range s.filters.list {
		l.numbers = append(l.numbers, s.broker.number())
		sub := s.broker.topics.of(filter, s)
		s.putSubscription(r, i, &sub)
	}
	s.received.each(func(id uint16) {
		r.ops = append(r.ops, s.receivedOp(id))
	})
	for i := range s.queue.len() {
		if d := s.queue.at(i); d.qos > 0 {
			s.putDelivery(r, d)
		}
	}
}

// keepAttached writes down that the client is connected. The caller holds s.mu.
func (s *session) keepAttached(r *records, device bool) {
	l := s.ledger
	if l == nil {
		return
	}
	l.device, l.restored = device, false
	switch {
	case s.expiry > 0 || l.persisted:
		if !l.durable {
			s.keepFrom(r)
			return
		}
		s.putWill(r)
		s.putSession(r)
	case l.durable:
		s.forgetFrom(r) // the session ends with the connection now
	}
}

// forgetFrom deletes all that the store has of the session, but for its will. The caller
// holds s.mu.
func (s *session) forgetFrom(r *records) {
	l := s.ledger
	r.delete(store.MQTTSession, s.id, 0)
	for _, n := range l.numbers {
		r.delete(store.MQTTSubscription, s.id, n)
	}
	s.received.each(func(id uint16) { r.delete(store.MQTTReceived, s.id, uint64(id)) })
	for i := range s.queue.len() {
		s.discard(r, s.queue.at(i))
	}
	l.durable, l.persisted, l.numbers = false, false, nil
}

func (s *session) putSubscription(r *records, i int, sub *subscription) {
	at := len(r.buf)
	r.buf = appendSubscription(r.buf, s.filters.list[i], sub)
	r.put(store.MQTTSubscription, s.id, s.ledger.numbers[i], at)
}

// noteSubscription writes down a subscription that was made or changed. The caller holds
// s.mu.
func (s *session) noteSubscription(r *records, filter string, sub *subscription) {
	if !s.isDurable() {
		return
	}
	i, _ := s.filters.find(filter)
	if l := s.ledger; i == len(l.numbers) {
		l.numbers = append(l.numbers, s.broker.number())
	}
	s.putSubscription(r, i, sub)
}

// dropFilter takes out a filter that the client does not subscribe to any more. The caller
// holds s.mu.
func (s *session) dropFilter(r *records, filter string) {
	if i, ok := s.filters.find(filter); ok && s.isDurable() {
		n := s.ledger.numbers // in the order of filters.list
		r.delete(store.MQTTSubscription, s.id, n[i])
		n[i] = n[len(n)-1]
		s.ledger.numbers = n[:len(n)-1]
	}
	s.filters.remove(filter)
}

// receivedOp is the record of a QoS 2 message from the client that it has not released.
func (s *session) receivedOp(id uint16) store.Op {
	return store.Put(store.MQTTReceived, s.id, uint64(id), s.ledger.received)
}

// forgetReceived forgets the record of a QoS 2 message that the client has released.
// PUBCOMP is sent once that is durable. The caller holds s.mu.
func (s *session) forgetReceived(id uint16) store.Mark {
	if !s.isDurable() {
		return 0
	}
	r := s.broker.gather()
	r.delete(store.MQTTReceived, s.id, uint64(id))
	return s.gathered(r)
}

// persist makes a session that ends with its connection survive the process all the same:
// broker.Persist. The caller holds s.mu.
func (s *session) persist(with []store.Op) store.Mark {
	r := s.broker.gather()
	if l := s.ledger; l != nil && !l.durable {
		l.persisted = true
		s.keepFrom(r)
	}
	r.add(with)
	return s.gathered(r)
}

// storeAtLeast reports whether the store has come to a level.
func (b *Broker) storeAtLeast(l store.Level) bool { return b.store != nil && b.store.Level() >= l }

// refuseStoreFull counts a message that the store has no room for.
func (b *Broker) refuseStoreFull() broker.Code {
	b.stats.drop(storeFull)
	return broker.CodeQuota
}
