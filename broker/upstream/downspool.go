package upstream

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// This file is a message's way from the broker through the store to the gateway: s.mu is
// held everywhere but in loadDown.
//
// QoS 2 messages are kept at once: PUBREC promises that. QoS 1 messages are held
// un-acknowledged, and kept only when the client does not take them and the broker sends
// no more for that.

// shelveAfter is how long the receive maximum may be used up before QoS 1 messages are kept.
const shelveAfter = time.Second

// kept is a message from the broker that is in the store.
type kept struct {
	number  uint64
	mark    store.Mark // where it is durable
	octets  int
	taken   bool            // by the gateway, which is to acknowledge it
	begun   bool            // the gateway may have begun with it before a crash
	message *broker.Message // nil: only in the store
}

// promise is a PUBCOMP that is to be sent once something is durable.
type promise struct {
	id   uint16
	mark store.Mark
}

func (s *session) keeps() bool { return s.spool != nil && s.deliveries != nil && s.broker.spooling }

// mayKeep reports whether another message of so many octets may be kept. One of any size
// always fits.
func (s *session) mayKeep(octets int) bool {
	o, d := &s.broker.options, s.deliveries
	return len(d.kept) < o.MaxQueuedMessages && (len(d.kept) == 0 || d.keptOctets+octets <= o.MaxQueuedBytes) &&
		s.broker.store.Level() < store.Full
}

// shelve puts messages that the broker has not been acknowledged into the store: those of
// QoS 2, or all. Then they can be.
func (s *session) shelve(all bool) {
	d, b := s.deliveries, s.broker
	var ops []store.Op
	count := 0
	first := len(d.open)
	for i := range d.open {
		e := &d.open[i]
		if e.acked || e.message == nil || e.qos == 1 && !all {
			continue
		}
		octets := size(e.message)
		if !s.mayKeep(octets) {
			break
		}
		ops = append(ops, store.Put(store.UpstreamDelivery, s.spool.client, e.number, appendKept(nil, e.qos, e.message)))
		if e.qos == 2 {
			ops = append(ops, store.Put(store.UpstreamUnreleased, s.spool.client, uint64(e.id), releasedValue[:1]))
		}
		d.keep(kept{number: e.number, octets: octets, taken: e.taken, message: e.message})
		d.waiting = slices.DeleteFunc(d.waiting, func(w arrival) bool {
			if w.number == e.number {
				d.octets -= size(w.Message)
			}
			return w.number == e.number
		})
		e.acked, e.code, e.message = true, 0, nil
		count++
		first = min(first, i)
	}
	if len(ops) == 0 {
		return
	}
	mark := s.apply(ops...)
	for i := range d.open[first:] {
		e := &d.open[first+i]
		if k := d.find(e.number); e.acked && e.mark == 0 && k != nil {
			e.mark, k.mark = mark, mark
		}
	}
	b.counts.kept.Add(uint64(count))
	s.passOn()
	for i := range d.kept {
		d.kept[i].message = nil // what was not passed on is read when its turn comes
	}
}

func (d *deliveries) keep(k kept) {
	at, _ := slices.BinarySearchFunc(d.kept, k.number, func(k kept, n uint64) int { return cmp.Compare(k.number, n) })
	d.kept = slices.Insert(d.kept, at, k)
	d.keptOctets += k.octets
}

// find is the kept message with a number; nil if there is none.
func (d *deliveries) find(number uint64) *kept {
	at, ok := slices.BinarySearchFunc(d.kept, number, func(k kept, n uint64) int { return cmp.Compare(k.number, n) })
	if !ok {
		return nil
	}
	return &d.kept[at]
}

// unkeep forgets a kept message.
func (d *deliveries) unkeep(i int) {
	k := d.kept[i]
	d.kept = slices.Delete(d.kept, i, i+1)
	d.keptOctets -= k.octets
	if k.taken {
		d.unanswered--
	}
}

// nextKept is the first kept message that the gateway has not been given; -1 if there is
// none, or if one that is not kept comes before it.
func (d *deliveries) nextKept() int {
	i := slices.IndexFunc(d.kept, func(k kept) bool { return !k.taken })
	if i >= 0 && len(d.waiting) > 0 && d.waiting[0].number < d.kept[i].number {
		return -1
	}
	return i
}

func (s *session) wantsDown() bool {
	d := s.deliveries
	if s.stage != joined || d == nil || len(d.kept) == 0 || d.unanswered >= s.broker.options.ReceiveMaximum {
		return false
	}
	i := d.nextKept()
	return i >= 0 && d.kept[i].message == nil
}

// nextDown are the numbers of the kept messages to be read next.
func (s *session) nextDown() (numbers []uint64) {
	if !s.wantsDown() {
		return nil
	}
	d := s.deliveries
	most := min(feedBatch, s.broker.options.ReceiveMaximum-d.unanswered)
	for _, k := range d.kept[d.nextKept():] {
		if len(numbers) == most {
			break
		}
		if !k.taken && k.message == nil {
			numbers = append(numbers, k.number)
		}
	}
	return numbers
}

// loadDown reads a kept message and passes it on; false if that was not possible.
func (s *session) loadDown(n uint64, now time.Time) bool {
	b, key := s.broker, store.Key{Space: store.UpstreamDelivery, Client: s.spool.client, Number: n}
	value, err := b.store.Read(key, nil)
	var m *broker.Message
	if err == nil {
		m, err = readKept(value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deliveries
	if s.stage != joined || d == nil {
		return false
	}
	i := slices.IndexFunc(d.kept, func(k kept) bool { return k.number == n })
	switch {
	case i < 0:
		return false
	case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrValue):
		b.counts.damaged.Add(1)
		b.log.Error("a kept message is damaged: it is not delivered", "client", s.id, "number", n, "error", err)
		d.unkeep(i)
	case err != nil:
		b.notice(0, "a kept message cannot be read; it is tried again", "client", s.id, "error", err)
		return false
	case !m.Expires.IsZero() && !now.Before(m.Expires) && !d.kept[i].begun:
		b.counts.expiredDown.Add(1)
		s.apply(store.Op{Key: key})
		d.unkeep(i)
	default:
		d.kept[i].message = m
	}
	s.passOn()
	return true
}

// ackKept takes the gateway's acknowledgement of a kept message.
func (s *session) ackKept(d *deliveries, r *broker.Request) bool {
	i := slices.IndexFunc(d.kept, func(k kept) bool { return tokenOf(k.number) == r.Token })
	if i < 0 {
		return false
	}
	ops := append(make([]store.Op, 0, 1+len(r.With)), store.Delete(store.UpstreamDelivery, s.spool.client, d.kept[i].number))
	r.Mark = s.apply(append(ops, r.With...)...)
	d.unkeep(i)
	return true
}

// ackEnded is ackKept after the session has ended by itself, which the gateway may not have
// heard yet: what was kept would come again after a crash, though the gateway has it. It
// reports false if the message is not kept, or is another session's by now.
func (s *session) ackEnded(r *broker.Request) bool {
	if s.stage != over || s.spool == nil {
		return false
	}
	b, sp := s.broker, s.spool
	b.mu.Lock() // so that nobody enters
	defer b.mu.Unlock()
	return sp.users == 0 && b.spools[sp.client] == sp && s.ackKept(sp.deliveries, r)
}

// completeDurable sends the PUBCOMPs whose time has come.
func (s *session) completeDurable(l *line) {
	d := s.deliveries
	for len(d.promises) > 0 && s.durable(d.promises[0].mark) {
		l.took(appendPubcomp(l.room(), d.promises[0].id, 0))
		d.promises = d.promises[1:]
		s.soil()
	}
}

// tickDown keeps QoS 1 messages that the client does not take.
func (s *session) tickDown(now time.Time) {
	d := s.deliveries
	if !s.keeps() || len(d.open) == 0 {
		return
	}
	unacked := 0
	for i := range d.open {
		if !d.open[i].acked {
			unacked++
		}
	}
	switch {
	case unacked < s.broker.options.ReceiveMaximum:
		d.usedUp = time.Time{}
	case d.usedUp.IsZero():
		d.usedUp = now
	case now.Sub(d.usedUp) >= shelveAfter:
		d.shelving = true
	}
	if unacked > 0 {
		s.shelve(d.shelving && unacked >= s.broker.options.ReceiveMaximum)
		if s.line != nil {
			s.acknowledge(s.line)
		}
	}
}

// forgetSession forgets what the broker has forgotten: the identifiers that it has not
// released. What is kept is ours to deliver all the same.
func (s *session) forgetSession() {
	if s.spool != nil {
		var ops []store.Op
		for _, id := range s.deliveries.unreleased {
			ops = append(ops, store.Delete(store.UpstreamUnreleased, s.spool.client, uint64(id)))
		}
		if len(ops) > 0 {
			s.apply(ops...)
		}
	}
	s.deliveries.forget()
}

// dropKept deletes what is kept of a session that ends.
func (s *session) dropKept() {
	d := s.deliveries
	var ops []store.Op
	for _, k := range d.kept {
		ops = append(ops, store.Delete(store.UpstreamDelivery, s.spool.client, k.number))
	}
	if len(ops) > 0 {
		s.apply(ops...)
	}
	d.kept, d.keptOctets = nil, 0
}

// apply changes the store, after what was applied for this client before.
func (s *session) apply(ops ...store.Op) store.Mark {
	if s.spool == nil {
		return s.broker.store.Apply(ops...)
	}
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	return s.spool.apply(s.broker.store, ops...)
}

// tokenOf is the token of a delivery with a number: the same after a crash.
func tokenOf(number uint64) broker.Token { return broker.Token(uint32(number)) }
