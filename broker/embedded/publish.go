package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// publish passes a message on to whom its route says. When it returns, the message is in
// the queue of every session that gets it with QoS 1 or 2, or was dropped there and
// counted; only then may its publisher be told that the broker has it. The code is what
// the publisher is told.
//
// What of it is to survive a crash is applied to the store in one step, with what
// publication.with has added. Its publisher is answered when p.mark is durable.
func (b *Broker) publish(p *publication, r *route) broker.Code {
	if b.uplink != nil {
		return b.sendUp(p)
	}
	if p.kept == nil && !p.steady { // what many messages share counts for none of them
		p.weigh()
	}
	if p.refuse && b.filled(true) && r.queues() {
		b.refuseFilled()
		return broker.CodeQuota // its publisher keeps it
	}
	if b.storeAtLeast(store.Full) && p.QoS > 0 && !p.accepted && (p.Retain && len(p.Payload) > 0 || r.isDurable()) {
		if planted.DropOnLevelWithoutCount {
			return broker.CodeSuccess
		}
		return b.refuseStoreFull() // its publisher keeps it
	}
	if p.Retain {
		// Subscribers see the messages of a topic in the order in which they replaced
		// each other, so that the last one is the retained one.
		order := b.retaining.of(p.Topic)
		order.Lock()
		defer order.Unlock()
		if !b.retain(p) && p.refuse {
			return broker.CodeQuota
		}
		// Whoever subscribes now finds either the new retained message or is found
		// here, but a route from before may lack one who found the old message.
		r, _ = b.topics.route(p.Topic)
	}
	b.fanOut(p, r)
	if r.nobody() {
		return broker.CodeNoSubscribers
	}
	return broker.CodeSuccess
}

// flushAt is how many octets of one message are copied for its receivers before what was
// copied is sent.
const flushAt = 1 << 20

// fanOut hands a message to the targets of a route.
func (b *Broker) fanOut(p *publication, r *route) {
	copied := 0
	p.many = len(r.targets) > 1
	p.alone = len(r.targets)+len(r.groups) == 1
	for i := range r.targets {
		if copied += len(p.Payload); copied > flushAt {
			b.Flush()
			copied = len(p.Payload)
		}
		t := &r.targets[i]
		if t.rare != nil && p.from == t.to.id {
			if t = t.local(); t == nil {
				continue
			}
		}
		t.to.offer(p, t)
	}
	for i := range r.groups {
		r.groups[i].share(p)
	}
	p.keepQueued(b)
	b.stats.add(&p.tally)
}

// share hands a message to one of a group: to each in turn, of those who are connected and
// keep up, else to one who is to get it later.
func (g *group) share(p *publication) {
	denied := false
	n := len(g.members)
	turn := int(g.turn.Add(1) % uint32(n))
	for i := range n {
		if t := &g.members[(turn+i)%n]; t.to.offerNow(p, t) {
			return
		}
	}
	for i := range n {
		t := &g.members[(turn+i)%n]
		if !t.to.shares(p.Topic) {
			denied = true
		} else if t.to.offer(p, t) {
			return
		}
	}
	if denied {
		g.members[0].to.broker.stats.drop(unreadable)
	}
}

// retain makes the message the retained one of its topic; an empty one removes it
// [MQTT-3.3.1-6]. It reports false if there is no room.
func (b *Broker) retain(p *publication) bool {
	if len(p.Payload) == 0 {
		p.replaced(b, b.retained.remove(p.Topic))
		return true
	}
	if !p.accepted && b.storeAtLeast(store.Full) { // QoS 0: nobody has to be told
		b.stats.drop(storeFull)
		return true
	}
	m := p.keep()
	m.leave(p.origin)
	if b.store != nil {
		m.shared = &shared{origin: p.origin, retained: b.number()}
	}
	old, ok := b.retained.set(m)
	if !ok && b.sweepRetained() {
		old, ok = b.retained.set(m)
	}
	if !ok {
		b.stats.drop(retainedFull)
		return false
	}
	if b.store != nil {
		p.with()
		p.retained = true
		p.replaced(b, old)
	}
	return true
}

// replaced deletes the record of a message that is not retained any more; nil is none.
func (p *publication) replaced(b *Broker, old *message) {
	if old != nil && b.store != nil {
		p.with()
		old.forgetRetained(p.records)
	}
}

// forgetRetained deletes the record of a message that is not retained any more.
func (m *message) forgetRetained(r *records) {
	sh := m.shared
	r.delete(store.MQTTRetained, m.Topic, sh.retained)
	sh.mu.Lock()
	refers := sh.retainedShared
	sh.retainedShared = false
	sh.mu.Unlock()
	if refers {
		m.unshare(r)
	}
}

// sweepRetained forgets the retained messages that have expired, and reports whether there
// was anything.
func (b *Broker) sweepRetained() bool {
	gone := b.retained.sweep(b.now())
	if r := b.gather(); r != nil {
		for _, m := range gone {
			m.forgetRetained(r)
		}
		b.commit(r)
	}
	return len(gone) > 0
}

// publishWill publishes a will, nil for none, and together with that deletes its record and
// applies what else there is: a crash leaves a will that is still to be published, or one
// that was.
func (b *Broker) publishWill(w *will, with ...store.Op) store.Mark {
	if w == nil {
		return b.apply(with...)
	}
	if w.number != 0 {
		with = append(with[:len(with):len(with)], store.Delete(store.MQTTSession, w.message.from, w.number))
	}
	r, code := b.topics.route(w.message.Topic)
	if !code.Failed() && !w.message.origin().mayPublish(w.message.Topic) {
		code = broker.CodeNotAuthorized // not any more
	}
	if code.Failed() {
		b.stats.refuse(code)
		return b.apply(with...)
	}
	if w.expiry.Set {
		w.message.expireAt(b, b.now()+time.Duration(w.expiry.Value)*time.Second)
	}
	w.message.weigh()
	p := newPublication()
	p.carry(&w.message)
	p.accepted = true
	if b.store != nil && len(with) > 0 {
		p.with(with...)
	}
	if !b.publish(p, r).Failed() {
		b.stats.take(p)
	}
	mark := p.mark
	p.release()
	return mark
}
