package embedded

import (
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// forever is the expiry of a session that never does.
const forever time.Duration = 1<<63 - 1

// line is what a session's client is connected by: a device or an MQTT client. All
// methods are called with the session's lock held and return at once.
type line interface {
	// accept answers the client's request to connect.
	accept(s *session, present bool)
	// pass hands over a QoS 0 message. It reports why it could not.
	pass(p *publication, retain bool, r *rare) reason
	// send hands over a QoS 1 or 2 message; again says that it may have been sent
	// before. noRoom leaves it in the queue, any other reason drops it.
	send(d *delivery, again bool) reason
	// end tells the client that its connection is over, and why.
	end(code broker.Code)
	// lost reports whether the connection is over, or nothing can be sent by it.
	// It may be called without the lock.
	lost() bool
}

// session is what the broker keeps for one client id, whichever protocol its client
// speaks. It is in the broker's table for as long as it has not ended.
type session struct {
	broker *Broker
	id     string
	// ties are under the lock, but for the mount point, which never changes. nil for none,
	// as most sessions have.
	ties *ties

	mu       sync.Mutex
	line     line // nil while the client is away
	will     *will
	filters  filters // of the subscriptions
	queue    queue
	backlog  *backlog      // retained messages for new subscriptions; nil for none
	received idSet         // QoS 2 messages from the client that it has not released
	expiry   time.Duration // how long the session outlives its connection
	due      time.Duration // when it ends if the client stays away
	lastID   uint16
	window   uint16 // how many deliveries may be in flight
	ended    bool
	told     bool    // the log was told, for this connection, that the queue is full
	lost     uint32  // messages that found no room
	kept     int32   // octets that it counts, see max_session_bytes_total
	sweepAt  uint32  // when the queue is swept next, see sweep; 0: it need not be
	ledger   *ledger // nil without a store

	// Of topics, under its lock: where the session stands in the route that is being
	// made in this round.
	round uint64
	slot  int32

	// Of deadlines, under its lock.
	filed   int32
	filedAt time.Duration
}

// will is a message to be published when its client is lost.
type will struct {
	message message
	number  uint64                // of its record, 0 for none
	expiry  mqtt.Optional[uint32] // of the message, in seconds from its publication on
	delay   time.Duration
	due     time.Duration // when it is published, while the client is away
}

// offer takes a message for the client. It reports false if the session has ended.
func (s *session) offer(p *publication, t *target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(p, s.broker.outgoing(p.QoS, t.qos), p.Retain && t.retainAsPublished, t.rare)
	return !s.ended
}

// offerNow is offer for a client that is there and keeps up; else it reports false.
func (s *session) offerNow(p *publication, t *target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == nil || !s.mayShare(p.Topic) || !s.hasRoom(&p.message) || s.broker.filled(s.keepsUp()) {
		return false
	}
	qos, retain := s.broker.outgoing(p.QoS, t.qos), p.Retain && t.retainAsPublished
	if s.isQueued(qos) {
		s.take(p, qos, retain, t.rare)
		return true
	}
	why := s.line.pass(p, retain, t.rare)
	if why == slowClient || why == clientAway {
		return false
	}
	s.passed(p, why)
	return true
}

// passed counts a QoS 0 message that was handed over, or why not.
func (s *session) passed(p *publication, why reason) {
	if why != noReason {
		s.broker.stats.drop(why)
	} else {
		p.tally.sent[0]++
	}
}

// take hands a message over or queues it. The caller holds s.mu.
func (s *session) take(p *publication, qos byte, retain bool, r *rare) {
	b := s.broker
	switch {
	case s.ended: // its subscription has ended with it
	case !s.mayReceive(p.Topic):
		b.stats.drop(unreadable)
	case s.isQueued(qos):
		if s.full(&p.message) {
			return
		}
		if qos > 0 && p.QoS == 0 && !p.accepted && s.isDurable() && b.storeAtLeast(store.Full) {
			b.stats.drop(storeFull)
			return
		}
		d := delivery{message: p.keep(), rare: r, qos: qos, retain: retain}
		if qos > 0 && s.isDurable() {
			s.promise(p, d)
			return
		}
		s.enqueue(d, &p.tally)
		s.pump(&p.tally)
	case s.line == nil:
		b.stats.drop(clientAway)
	default:
		s.passed(p, s.line.pass(p, retain, r))
	}
}

// hasRoom reports whether there is room in the queue for a message. The caller holds
// s.mu.
func (s *session) hasRoom(m *message) bool {
	return s.fits(m) || s.sweep() && s.fits(m)
}

func (s *session) fits(m *message) bool {
	o, q := &s.broker.options, &s.queue
	waiting := q.len() - int(q.sent)
	if s.line == nil {
		waiting = max(waiting-int(s.window), 0) // as if they had been in flight
	}
	return waiting < o.MaxQueuedMessages && (q.bytes == 0 || q.bytes+m.size() <= o.MaxQueuedBytes)
}

// keepsUp reports whether the client gets messages as soon as they come. The caller holds
// s.mu.
func (s *session) keepsUp() bool {
	return s.line != nil && s.queue.len() == int(s.queue.sent) && s.open()
}

// full reports, and counts, that there is no room for a message, in the queue or in all
// queues together. The caller holds s.mu.
func (s *session) full(m *message) bool {
	switch {
	case !s.hasRoom(m):
		s.broker.stats.drop(queueFull)
		if !s.told {
			s.told = true
			s.broker.complain(s.id)
		}
	case s.broker.filled(s.keepsUp()):
		s.broker.refuseFilled()
	default:
		return false
	}
	s.lost++
	return true
}

// enqueue queues a QoS 1 or 2 message. The caller holds s.mu.
func (s *session) enqueue(d delivery, t *tally) {
	if s.ledger != nil && d.number == 0 {
		d.number = s.broker.number()
	}
	s.queue.push(d)
	t.queued++
	t.queuedBytes += int64(d.message.size())
	t.held += d.message.hold()
	s.sweepAt = sooner(s.sweepAt, d.message.expires)
}

// remove takes the delivery number i out of the queue. The caller holds s.mu.
func (s *session) remove(i int, t *tally) {
	d := s.queue.at(i)
	if d.record&kept != 0 {
		s.discardNow(d)
		if d.id != 0 {
			s.ledger.scattered.remove(d.id)
		}
	}
	m := d.message
	t.queued--
	t.queuedBytes -= int64(m.size())
	t.held -= m.letGo()
	s.queue.remove(i)
}

// pump hands over what waits, as far as the window allows. The caller holds s.mu.
func (s *session) pump(t *tally) {
	if s.line != nil {
		for s.sendQueue(t) && s.backlog != nil && s.sendBacklog(t) {
		}
	}
	if s.sweepAt != 0 && s.queue.len() > int(s.queue.sent) {
		s.file()
	}
}

// sendQueue hands over what the queue holds, and reports whether there is room for more.
func (s *session) sendQueue(t *tally) bool {
	q := &s.queue
	for int(q.sent) < q.len() {
		if !s.open() {
			return false
		}
		d := q.at(int(q.sent))
		if s.ties != nil && d.record&pending == 0 && !d.released && !s.mayReceive(d.message.Topic) {
			s.drop(int(q.sent), unreadable, d.sent, t)
			continue
		}
		if d.qos == 0 {
			if !s.passQueued(t) {
				return false
			}
			continue
		}
		if d.record&pending != 0 {
			return false // its publisher goes on with the queue
		}
		if m := d.message; !d.sent && m.expires != 0 && m.expires <= s.broker.now() {
			s.drop(int(q.sent), expired, false, t)
			continue
		}
		last := s.lastID
		if d.id == 0 && !s.usesTokens() {
			id, ok := s.nextID()
			if !ok {
				return false
			}
			d.id, s.lastID = id, id
			if d.qos == 2 && d.record&kept != 0 {
				s.noteFlight(d)
				last = id
			}
		}
		switch why := s.line.send(d, d.sent); why {
		case noReason:
			if !d.sent {
				d.sent = true
				t.sent[d.qos]++
			}
			if planted.DeleteBeforePuback {
				s.discardNow(d)
			}
			q.fly()
		case noRoom:
			if s.lastID != last {
				d.id, s.lastID = 0, last
			}
			return false
		default:
			s.lastID = last
			s.drop(int(q.sent), why, d.sent, t)
		}
	}
	return s.open()
}

// usesTokens reports whether the client knows its deliveries by their numbers.
func (s *session) usesTokens() bool { return s.ledger != nil && s.ledger.device }

// nextID is the next packet identifier. ok is false if the oldest delivery was not
// acknowledged while all others were used: the window is closed.
func (s *session) nextID() (id uint16, ok bool) {
	q := &s.queue
	id = s.lastID%0xFFFF + 1
	if s.ledger == nil || len(s.ledger.scattered) == 0 {
		return id, q.len() == 0 || id != q.at(0).id
	}
	// Those from before a restart may be in any order.
	for range 0xFFFF {
		if _, used := q.find(id); !used {
			return id, true
		}
		id = id%0xFFFF + 1
	}
	return 0, false
}

// drop takes the delivery number i out of the queue, for a reason. One that was sent
// before counts as sent, not as dropped as well.
func (s *session) drop(i int, why reason, sent bool, t *tally) {
	s.remove(i, t)
	if !sent {
		s.broker.stats.drop(why)
	}
}

// complete removes the delivery number i, which the client has acknowledged, and goes on.
// What else is to be durable with it is in with. The caller holds s.mu.
func (s *session) complete(i int, t *tally, with ...store.Op) store.Mark {
	var mark store.Mark
	if len(with) > 0 || s.queue.at(i).record&kept != 0 {
		r := s.broker.gather()
		r.add(with)
		s.gather(r)
		s.remove(i, t)
		s.gather(nil)
		mark = s.broker.commit(r) // nobody waits for that who waits for s.mark
	} else {
		s.remove(i, t)
	}
	s.pump(t)
	return mark
}

// attach connects the client: what it had not acknowledged comes again, then what waits.
// The caller holds s.mu.
func (s *session) attach(l line, o *attachment, present bool, r *records) {
	if s.line == nil {
		s.broker.stats.arrive()
	}
	_, device := l.(*device)
	expiry := o.expiry
	if s.ledger != nil && s.ledger.restored && s.ledger.persisted {
		expiry = 0 // it ends as it would have ended
	}
	s.setWill(o.will)
	s.tie(ties{mount: o.mount, owner: s.ownerWith(o.as), rights: o.rights, turn: o.turn})
	s.line, s.expiry, s.window = l, expiry, o.window
	s.told = false
	s.queue.land()
	var t tally
	s.gather(r)
	s.keepAttached(r, device)
	r.add(o.with)
	if device {
		// A device completes QoS 2 in one step. What an MQTT client of the same name had
		// received but not completed is complete.
		for i := 0; i < s.queue.len(); {
			if !s.queue.at(i).released {
				i++
				continue
			}
			s.remove(i, &t)
		}
	}
	s.gathered(r)
	l.accept(s, present)
	s.pump(&t)
	s.file()
	s.broker.stats.add(&t)
}

// finish ends the session and forgets all of it, but for what the store has of a will that
// is to be published. The caller holds the broker's lock and s.mu.
func (s *session) finish(r *records) {
	s.dropBacklog()
	if s.isDurable() {
		s.forgetFrom(r)
	}
	delete(s.broker.sessions, s.id)
	s.broker.stats.sessions.Add(-1)
	if s.line != nil {
		s.broker.stats.connected.Add(-1)
	}
	s.ended, s.line, s.will = true, nil, nil
	s.keep(-int(s.kept))
	for _, f := range s.filters.list {
		s.broker.topics.unsubscribe(f, s)
	}
	var t tally
	for s.queue.len() > 0 {
		s.drop(0, sessionEnded, s.queue.at(0).sent, &t)
	}
	s.broker.stats.add(&t)
	s.filters, s.queue, s.received, s.backlog = filters{}, queue{}, nil, nil
	s.broker.deadlines.remove(s)
}
