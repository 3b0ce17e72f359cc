package embedded

import (
	"fmt"
	"slices"
	"time"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// restartGrace is how long the broker waits after a restart for clients that were connected
// before: their wills are not published, and the sessions of sleepers not ended, before
// they had the time to come back.
const restartGrace = time.Minute

// spaceNames are for errors.
var spaceNames = map[store.Space]string{
	store.MQTTSession: "MQTTSession", store.MQTTSubscription: "MQTTSubscription", store.MQTTDelivery: "MQTTDelivery",
	store.MQTTFlight: "MQTTFlight", store.MQTTReceived: "MQTTReceived", store.MQTTMessage: "MQTTMessage",
	store.MQTTRetained: "MQTTRetained",
}

// loading is what is read from the store at the start.
type loading struct {
	b        *Broker
	now      clock
	waste    []store.Op // deletions of what a crash has left behind
	last     uint64     // the highest number
	messages map[uint64]*message
	flights  map[store.Key]delivery   // what is known of deliveries besides
	wills    map[string]uint64        // of sessions, by client id
	origins  map[auth.Subject]*origin // of messages
	tally    tally
}

// load makes the broker what it was when the last change became durable. Nothing that was
// acknowledged is left out, whatever the limits are now. A record that cannot be read is an
// error that names it: nobody guesses what it was.
func (b *Broker) load() error {
	if b.store == nil {
		return nil
	}
	l := &loading{
		b: b, now: b.clock(),
		messages: make(map[uint64]*message), flights: make(map[store.Key]delivery), wills: make(map[string]uint64),
		origins: make(map[auth.Subject]*origin),
	}
	for _, part := range []struct {
		space store.Space
		read  func(k store.Key, v []byte) error
	}{
		{store.MQTTMessage, l.message},
		{store.MQTTSession, l.session},
		{store.MQTTSubscription, l.subscription},
		{store.MQTTFlight, l.flight},
		{store.MQTTDelivery, l.delivery},
		{store.MQTTReceived, l.received},
		{store.MQTTRetained, l.retained},
	} {
		err := b.store.All(part.space, func(k store.Key, v []byte) error {
			if err := part.read(k, v); err != nil {
				return fmt.Errorf("the record %s of client %q, number %d, cannot be read: %w; start the release that wrote it, or move the state directory away to start without what it holds",
					spaceNames[k.Space], k.Client, k.Number, err)
			}
			l.last = max(l.last, k.Number)
			return nil
		})
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	l.finish()
	return nil
}

// finish deletes what nothing refers to, and files what is due.
func (l *loading) finish() {
	b := l.b
	for n, m := range l.messages {
		if m.shared.holders == 0 {
			l.drop(store.Key{Space: store.MQTTMessage, Number: n})
		}
	}
	for k := range l.flights {
		l.drop(k)
	}
	b.numbers.last.Store(max(b.numbers.last.Load(), l.last))
	b.numbers.reserved.Store(b.numbers.last.Load())
	b.apply(l.waste...)
	b.stats.add(&l.tally)
	for _, s := range b.sessions {
		s.mu.Lock()
		s.file()
		s.mu.Unlock()
	}
}

// drop deletes a record that belongs to nothing any more.
func (l *loading) drop(k store.Key) { l.waste = append(l.waste, store.Op{Key: k}) }

// owner is the session of a record, which has that number or was made in the session that
// has it, nil if that has ended.
func (l *loading) owner(k store.Key, since uint64) *session {
	s := l.b.sessions[k.Client]
	if s == nil || since < s.ledger.since {
		l.drop(k)
		return nil
	}
	return s
}

func (l *loading) message(k store.Key, v []byte) error {
	if k.Number == 0 {
		n, err := decodeReserved(v)
		l.b.numbers.last.Store(n)
		return err
	}
	m, err := decodeShared(v, l.now)
	if err == nil {
		m.shared = &shared{number: k.Number, origin: l.origin(m)}
		l.messages[k.Number] = m
	}
	return err
}

// session reads a session or, with a number, a will. A session comes before its will.
func (l *loading) session(k store.Key, v []byte) error {
	if k.Number != 0 {
		return l.will(k, v)
	}
	saved, err := decodeSession(v)
	if err != nil {
		return err
	}
	b := l.b
	s := &session{
		broker: b, id: k.Client, ledger: new(ledger),
		expiry: saved.expiry, window: saved.window,
	}
	g := s.ledger
	g.durable, g.restored, g.since = true, true, saved.since
	g.persisted, g.device = saved.flags&sessionPersisted != 0, saved.flags&sessionDevice != 0
	g.received = receivedValue(g.since)
	s.tie(l.tiesOf(&saved, s.id))
	switch {
	case g.persisted:
		s.due = after(l.now.now, restartGrace)
	case saved.flags&sessionConnected != 0 || s.expiry == forever:
		s.due = after(l.now.now, s.expiry)
	default:
		s.due = l.now.now + max(saved.due.after(l.now.wall), 0)
	}
	b.sessions[s.id] = s
	b.stats.sessions.Add(1)
	s.keep(len(s.id))
	l.wills[s.id] = saved.will
	l.last = max(l.last, saved.since)
	return nil
}

// will reads a will. One that is not that of the session any more was about to be
// published.
func (l *loading) will(k store.Key, v []byte) error {
	saved, err := decodeWill(v, l.now)
	if err != nil {
		return err
	}
	b, w := l.b, saved.will
	w.message.leave(l.origin(&w.message))
	w.number = k.Number
	w.due = l.now.now + restartGrace
	s := b.sessions[k.Client]
	if s == nil || l.wills[k.Client] != k.Number {
		s = &session{broker: b, id: k.Client, ended: true, will: w}
		b.deadlines.file(s, w.due)
		return nil
	}
	left := w.delay
	if saved.away {
		left = saved.due.after(l.now.wall)
	}
	w.due = after(l.now.now, max(left, restartGrace))
	w.delay = max(w.delay, restartGrace) // who comes back does not find it published
	s.setWill(w)
	return nil
}

func (l *loading) subscription(k store.Key, v []byte) error {
	filter, sub, err := decodeSubscription(v)
	s := l.owner(k, k.Number)
	if err != nil || s == nil {
		return err
	}
	sub.to = s
	if l.b.topics.subscribe(filter, sub) {
		s.filters.add(filter)
		s.ledger.numbers = append(s.ledger.numbers, k.Number)
		s.keep(filterCost(filter))
		if up := l.b.uplink; up != nil {
			up.Subscribe(filter, "", sub.qos, nil)
		}
	}
	return nil
}

func (l *loading) flight(k store.Key, v []byte) error {
	id, released, err := decodeFlight(v)
	l.flights[k] = delivery{id: id, released: released}
	return err
}

func (l *loading) delivery(k store.Key, v []byte) error {
	d, number, err := decodeDelivery(v, l.now)
	if err != nil {
		return err
	}
	d.number, d.record = k.Number, kept
	if number != 0 {
		if d.message = l.messages[number]; d.message == nil {
			return fmt.Errorf("message %d, to which it refers, is missing", number)
		}
		d.record |= sharedKept
	}
	s := l.owner(k, k.Number)
	if s == nil {
		return nil
	}
	flight := store.Key{Space: store.MQTTFlight, Client: k.Client, Number: k.Number}
	if f, ok := l.flights[flight]; ok {
		d.id, d.released = f.id, f.released
		d.record |= flightKept
		delete(l.flights, flight)
	}
	if number != 0 {
		d.message.shared.holders++
	}
	// The client may have it already, if it had an identifier; a device, in any case.
	d.sent = d.id != 0 || d.qos == 2 && s.ledger.device
	if d.id != 0 {
		s.lastID = d.id
		if s.ledger.scattered == nil {
			s.ledger.scattered = make(idSet)
		}
		s.ledger.scattered.add(d.id)
	}
	if !d.sent {
		l.b.stats.restored.Add(1)
	}
	s.enqueue(d, &l.tally)
	if planted.QueueOrderReversed {
		slices.Reverse(s.queue.items)
	}
	return nil
}

func (l *loading) received(k store.Key, v []byte) error {
	since, err := decodeReceived(v)
	if err != nil {
		return err
	}
	s := l.owner(k, since)
	if s == nil {
		return nil
	}
	if s.received == nil {
		s.received = make(idSet)
	}
	if s.received.add(uint16(k.Number)) {
		s.keep(idPageCost)
	}
	return nil
}

// retained reads a retained message. Of two of the same topic the later one counts.
func (l *loading) retained(k store.Key, v []byte) error {
	m, number, err := decodeRetained(v, l.now)
	if err != nil {
		return err
	}
	if number == 0 {
		m.Topic = k.Client
		m.shared = &shared{origin: l.origin(m)}
	} else if m = l.messages[number]; m == nil {
		return fmt.Errorf("message %d, to which it refers, is missing", number)
	}
	m.shared.retained = k.Number
	if number != 0 {
		m.shared.holders++
		m.shared.retainedShared = true
	}
	r := &l.b.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.find(m.Topic)
	r.put(m, old)
	if old != nil {
		l.drop(store.Key{Space: k.Space, Client: k.Client, Number: old.shared.retained})
		if old.shared.retainedShared {
			old.shared.holders--
		}
	}
	if m.expires != 0 && m.expires <= l.now.now {
		r.root.remove(r, m.Topic)
		l.drop(k)
		if number != 0 {
			m.shared.holders--
		}
	}
	return nil
}
