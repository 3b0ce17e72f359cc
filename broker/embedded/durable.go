package embedded

import (
	"sync"

	"mqttsn-gateway/gateway/store"
)

// What the store knows of a delivery.
const (
	pending    = 1 << iota // its publisher is about to apply its record
	kept                   // it has a record
	sharedKept             // which refers to the record of the message
	flightKept             // and there is one for its packet identifier
)

// shared is a message as a record of its own, to which others refer: those of deliveries,
// and that of the retained message. Without a store nothing of it counts but its origin.
type shared struct {
	mu      sync.Mutex
	number  uint64 // of the record, 0 for none
	holders int    // how many refer to it

	origin *origin // of a retained message or a will; it never changes

	retained       uint64 // the number of the retained message's record, 0 for none
	retainedShared bool   // it refers to the message
}

// unshare notes that one less will refer to the message's record once r is applied.
func (m *message) unshare(r *records) {
	if r != nil {
		r.left = append(r.left, m)
	}
}

// letGo deletes the records of messages to which nobody refers any more. What has referred
// to them was deleted before, one for each time that a message is in the list: whoever
// looks after a crash never misses a message. One that nobody refers to is no harm.
func (b *Broker) letGo(left []*message) {
	for _, m := range left {
		sh := m.shared
		sh.mu.Lock()
		if sh.holders--; sh.holders == 0 {
			b.apply(store.Delete(store.MQTTMessage, "", sh.number))
			sh.number = 0
		}
		sh.mu.Unlock()
	}
}

// queuing is a delivery that waits in a queue for its record to be applied.
type queuing struct {
	to       *session
	delivery delivery
}

// promise queues a QoS 1 or 2 message of a durable session. It is sent when its record is
// applied: no acknowledgement can come before. A message for one receiver only is applied
// at once, others when they are in all queues. The caller holds s.mu.
func (s *session) promise(p *publication, d delivery) {
	d.number, d.record = s.broker.number(), pending
	s.identify(&d)
	s.enqueue(d, &p.tally)
	p.with()
	p.records.queued = append(p.records.queued, queuing{s, d})
	if !p.alone {
		return
	}
	q := &p.records.queued[0]
	p.applyQueued(s.broker)
	s.queue.at(s.queue.len() - 1).record = q.delivery.record
	s.reached(p.mark)
	p.settled(s.broker)
	s.pump(&p.tally)
}

// identify gives a delivery its packet identifier before it is sent, if it is about to be,
// so that it is in its record. The caller holds s.mu.
func (s *session) identify(d *delivery) {
	q := &s.queue
	n := q.len()
	if s.line == nil || s.ledger.device || n >= int(s.window) || n > 0 && q.at(n-1).id == 0 {
		return
	}
	if id, ok := s.nextID(); ok {
		d.id, s.lastID = id, id
	}
}

// keepQueued applies what a publish has put into queues, and what else is to be durable
// with it, and lets the queues go on.
func (p *publication) keepQueued(b *Broker) {
	if p.records == nil {
		return
	}
	p.applyQueued(b)
	for i := range p.records.queued {
		q := &p.records.queued[i]
		q.to.applied(q, p)
	}
	p.settled(b)
}

// settled gives back what is applied.
func (p *publication) settled(b *Broker) {
	b.letGo(p.records.left)
	p.records.release()
	p.records = nil
}

// applyQueued applies what a publish has put into queues, and what else is to be durable
// with it: one record of the message if there are several who refer to it.
func (p *publication) applyQueued(b *Broker) {
	r, now := p.records, b.clock()
	holders := len(r.queued)
	if p.retained {
		holders++
	}
	var number uint64
	if holders > 1 {
		number = p.kept.share(b, r, holders, now)
		defer p.kept.shared.mu.Unlock() // others may refer to it once it is applied
	}
	for i := range r.queued {
		q := &r.queued[i]
		if q.delivery.record = kept; number != 0 {
			q.delivery.record |= sharedKept
		}
		at := len(r.buf)
		r.buf = appendDelivery(r.buf, &q.delivery, number, now)
		r.put(store.MQTTDelivery, q.to.id, q.delivery.number, at)
	}
	if p.retained {
		sh := p.kept.shared
		sh.retainedShared = number != 0
		at := len(r.buf)
		r.buf = appendRetained(r.buf, p.kept, number, now)
		r.put(store.MQTTRetained, p.kept.Topic, sh.retained, at)
	}
	if p.safe != nil {
		p.mark = p.safe(r.ops)
	} else {
		p.mark = b.apply(r.ops...)
	}
}

// share is the number of the message's record, which is made if there is none, for so many
// to refer to it. m.shared is locked then.
func (m *message) share(b *Broker, r *records, holders int, now clock) uint64 {
	if m.shared == nil {
		m.shared = new(shared) // nobody else looks at it before a record refers to it
	}
	sh := m.shared
	sh.mu.Lock()
	sh.holders += holders
	if sh.number == 0 {
		sh.number = b.number()
		at := len(r.buf)
		r.buf = appendShared(r.buf, m, now)
		r.put(store.MQTTMessage, "", sh.number, at)
	}
	return sh.number
}

// applied notes that the record of a delivery is applied, and goes on with the queue.
func (s *session) applied(q *queuing, p *publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := s.queue.len() - 1; i >= 0; i-- {
		if d := s.queue.at(i); d.number == q.delivery.number {
			d.record = q.delivery.record
			s.reached(p.mark)
			s.pump(&p.tally)
			return
		}
	}
	// The session has ended meanwhile, and the delivery with it.
	r := s.broker.gather()
	s.discard(r, &q.delivery)
	s.broker.commit(r)
}

// putDelivery adds the record of a delivery that is in the queue, or about to be, other
// than from a publish. The caller holds s.mu.
func (s *session) putDelivery(r *records, d *delivery) {
	b, now := s.broker, s.broker.clock()
	var number uint64
	d.record = kept
	if sh := d.message.shared; sh != nil && d.message.stored != 0 {
		// A retained message, which many may get. Its record must be applied before
		// anybody else refers to it.
		own := b.gather()
		number = d.message.share(b, own, 1, now)
		b.commit(own)
		sh.mu.Unlock()
		d.record |= sharedKept
	}
	at := len(r.buf)
	r.buf = appendDelivery(r.buf, d, number, now)
	r.put(store.MQTTDelivery, s.id, d.number, at)
}

// discard deletes the records of a delivery. The caller holds s.mu, or nobody else knows
// of it any more.
func (s *session) discard(r *records, d *delivery) {
	if d.record&kept == 0 {
		return
	}
	r.delete(store.MQTTDelivery, s.id, d.number)
	if d.record&flightKept != 0 {
		r.delete(store.MQTTFlight, s.id, d.number)
	}
	if d.record&sharedKept != 0 {
		d.message.unshare(r)
	}
	d.record = 0
}

// discardNow is discard for who does not gather. The caller holds s.mu.
func (s *session) discardNow(d *delivery) {
	if r := s.ledger.gathering; r != nil {
		s.discard(r, d)
		return
	}
	r := s.broker.gather()
	s.discard(r, d)
	s.broker.commit(r)
}

// keepOne queues a message other than from a publish. The caller holds s.mu.
func (s *session) keepOne(d delivery, t *tally) {
	if d.qos > 0 && s.isDurable() {
		d.number = s.broker.number()
		s.identify(&d)
		r := s.ledger.gathering
		if r == nil {
			r = s.broker.gather()
			defer func() { s.reached(s.broker.commit(r)) }()
		}
		s.putDelivery(r, &d)
	}
	s.enqueue(d, t)
}

// noteFlight writes down the packet identifier of a QoS 2 delivery, and whether it is
// released: what the client must not be told before it is durable. The caller holds s.mu.
func (s *session) noteFlight(d *delivery) store.Mark {
	if d.record&kept == 0 {
		return 0
	}
	d.record |= flightKept
	r := s.broker.gather()
	at := len(r.buf)
	r.buf = appendFlight(r.buf, d)
	r.put(store.MQTTFlight, s.id, d.number, at)
	mark := s.broker.commit(r)
	s.reached(mark)
	return mark
}

// release notes that the client has a QoS 2 message. PUBREL is sent once that is durable.
// The caller holds s.mu.
func (s *session) release(d *delivery) store.Mark {
	d.released = true
	return s.noteFlight(d)
}
