package embedded

import (
	"time"

	"mqttsn-gateway/broker"
)

// publish passes a message on to whom its route says. When it returns, the message is in
// the queue of every session that gets it with QoS 1 or 2, or was dropped there and
// counted; only then may its publisher be told that the broker has it. The code is what
// the publisher is told.
//
// Whoever makes queues durable does it here: what publish has queued is to be on disk
// before its callers acknowledge.
func (b *Broker) publish(p *publication, r *route) broker.Code {
	if p.kept == nil && !p.steady { // what many messages share counts for none of them
		p.weigh()
	}
	if p.refuse && b.filled(true) && r.queues() {
		b.refuseFilled()
		return broker.CodeQuota // its publisher keeps it
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
	b.stats.add(&p.tally)
}

// share hands a message to one of a group: to each in turn, of those who are connected and
// keep up, else to one who is to get it later.
func (g *group) share(p *publication) {
	n := len(g.members)
	turn := int(g.turn.Add(1) % uint32(n))
	for i := range n {
		if t := &g.members[(turn+i)%n]; t.to.offerNow(p, t) {
			return
		}
	}
	for i := range n {
		if t := &g.members[(turn+i)%n]; t.to.offer(p, t) {
			return
		}
	}
}

// retain makes the message the retained one of its topic; an empty one removes it
// [MQTT-3.3.1-6]. It reports false if there is no room.
func (b *Broker) retain(p *publication) bool {
	if len(p.Payload) == 0 {
		b.retained.remove(p.Topic)
		return true
	}
	if b.retained.set(p.keep()) {
		return true
	}
	if b.retained.sweep(b.now()) && b.retained.set(p.keep()) {
		return true
	}
	b.stats.drop(retainedFull)
	return false
}

// publishWill publishes a will; nil is none.
func (b *Broker) publishWill(w *will) {
	if w == nil {
		return
	}
	r, code := b.topics.route(w.message.Topic)
	if code.Failed() {
		b.stats.refuse(code)
		return
	}
	if w.expiry.Set {
		w.message.expireAt(b, b.now()+time.Duration(w.expiry.Value)*time.Second)
	}
	w.message.weigh()
	p := newPublication()
	p.carry(&w.message)
	if !b.publish(p, r).Failed() {
		b.stats.take(p)
	}
	p.release()
}
