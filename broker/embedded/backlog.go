package embedded

import "weak"

// backlog holds the retained messages that a client is still to get for its new
// subscriptions. They are sent as fast as the client takes them, however many there are:
// unlike others they do not come faster than that.
type backlog struct {
	parts []retainedPart
	len   int // sum of the parts'
}

// retainedPart is what one subscription asks for. It does not keep the messages: one that
// is replaced meanwhile need not be sent any more.
type retainedPart struct {
	messages []weak.Pointer[message]
	own      []*message // those among them that nobody else keeps, the broker's own
	rare     *rare      // for the subscription identifier; nil for none
	qos      byte
}

// retainedCost is what a message in a backlog counts against max_queued_bytes_total.
const retainedCost = 8

// keepsFilled is how many retained messages a new subscription gets at most while there is
// no room for more in all queues together.
const keepsFilled = 1000

// backlogRoom is how many retained messages the client may be to get on top of those that
// it is already.
func (s *session) backlogRoom() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomBehind()
}

func (s *session) roomBehind() int {
	room := s.broker.options.MaxRetainedMessages + sysTopics
	if s.backlog != nil {
		room -= s.backlog.len
	}
	return room
}

// addBacklog notes retained messages to be sent. The caller holds s.mu.
func (s *session) addBacklog(part retainedPart) {
	b := s.broker
	n := len(part.messages)
	if room := s.roomBehind(); n > room {
		// The client subscribes again and again and does not read.
		b.stats.dropped[slowClient].Add(uint64(n - room))
		n = room
	}
	if n > keepsFilled && b.filled(false) {
		b.stats.dropped[brokerFull].Add(uint64(n - keepsFilled))
		n = keepsFilled
	}
	if n == 0 {
		return
	}
	part.messages = part.messages[:n]
	if s.backlog == nil {
		s.backlog = new(backlog)
	}
	s.backlog.parts = append(s.backlog.parts, part)
	s.backlog.len += n
	b.stats.held.Add(int64(retainedCost * n))
}

// next is the message that is to be sent next, and how; nil if it need not be sent.
func (l *backlog) next(s *session) (*message, delivery) {
	p := &l.parts[0]
	m := p.messages[0].Value()
	switch {
	case m == nil || !s.broker.retained.current(m):
		// It has been replaced, and the client got or gets the new one.
		return nil, delivery{}
	case !m.mayReplay(s.tied().rights): // any more: part has asked as well
		s.broker.stats.drop(unreadable)
		return nil, delivery{}
	case m.expires != 0 && m.expires <= s.broker.now():
		s.broker.stats.drop(expired)
		return nil, delivery{}
	}
	return m, delivery{message: m, rare: p.rare, qos: s.broker.outgoing(m.QoS, p.qos), retain: true} // [MQTT-3.3.1-9]
}

// skip goes on to the next message.
func (l *backlog) skip(s *session) {
	p := &l.parts[0]
	p.messages = p.messages[1:]
	l.len--
	s.broker.stats.held.Add(-retainedCost)
	if len(p.messages) == 0 {
		l.parts[0] = retainedPart{}
		l.parts = l.parts[1:]
	}
	if l.len == 0 {
		s.backlog = nil
	}
}

// sendBacklog sends or queues the next retained message. It reports false if there was
// no room for it. The caller holds s.mu.
func (s *session) sendBacklog(t *tally) bool {
	m, d := s.backlog.next(s)
	switch {
	case m == nil:
	case d.qos > 0:
		s.keepOne(d, t) // there is room: all that was queued is in flight
	default:
		switch why := s.passKept(&d, t); why {
		case slowClient:
			return false
		case noReason:
			t.sent[0]++
		default:
			s.broker.stats.drop(why)
		}
	}
	s.backlog.skip(s)
	return true
}

// dropBacklog is for when the client goes: its session keeps what fits into its queue.
// The caller holds s.mu.
func (s *session) dropBacklog() {
	var t tally
	for s.backlog != nil {
		switch m, d := s.backlog.next(s); {
		case m == nil:
		case d.qos == 0:
			s.broker.stats.drop(clientAway)
		case !s.full(m):
			s.keepOne(d, &t)
		}
		s.backlog.skip(s)
	}
	s.broker.stats.add(&t)
}
