package upstream

import (
	"bytes"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// state is how far a request has come.
type state byte

const (
	waiting  state = iota // for the line, or for the broker's receive maximum
	sent                  // to the broker, which has not answered
	received              // QoS 2, spooled: PUBREC has come, which is not durable yet
	released              // QoS 2: PUBREC has come, PUBREL is sent
)

// request is something that the broker has not answered yet, or a QoS 0 message behind
// such a thing.
type request struct {
	op     broker.Op
	token  broker.Token
	state  state
	qos    byte
	retain bool
	again  bool // it was sent over an earlier connection
	own    bool // of our own making: nobody is told the answer
	id     uint16
	filter string
	frame  []byte // the packet; nil once it will not be sent again
	// Of a spooled message: its number, the octets of its record, and where what the next
	// packet depends on is durable.
	number uint64
	size   int
	mark   store.Mark
	with   []store.Op // what is to be applied when it has succeeded
}

// requests is what one client has asked of the broker and got no answer to, in order.
// The first sentCount of them are on the present connection's way.
type requests struct {
	queue     []*request
	sentCount int
	inFlight  int // PUBLISH of QoS 1 and 2 among them: bounded by the broker's receive maximum
	octets    int // of all frames, without those of spooled messages
	lastID    uint16
	floor     uint16 // identifiers up to it are for spooled messages
	// Spooled messages among them, and the octets of their frames, which most bounds.
	spooled, spooledOctets, most int
	// unsure is how many identifiers are still to be used for the first time in a session
	// that the broker has from before: it may wait for the PUBREL of any of them, and
	// would take a new PUBLISH for the old one.
	unsure int
}

// maxID is the number of packet identifiers: 1 to 65535.
const maxID = 65535

// newID is an identifier that no request has. There are far fewer requests than
// identifiers.
func (q *requests) newID() uint16 {
	for {
		q.lastID = max(q.lastID+1, q.floor)
		if q.unsure > 0 {
			q.unsure--
		}
		if q.lastID != 0 && q.find(q.lastID) < 0 {
			return q.lastID
		}
	}
}

func (q *requests) find(id uint16) int {
	return slices.IndexFunc(q.queue, func(r *request) bool { return r.id == id && id != 0 })
}

func (q *requests) add(r *request) {
	q.queue = append(q.queue, r)
	if r.number != 0 {
		q.spooled++
	}
	q.count(r, len(r.frame))
}

// count counts octets of a frame that have come, or are gone.
func (q *requests) count(r *request, octets int) {
	if r.number != 0 {
		q.spooledOctets += octets
	} else {
		q.octets += octets
	}
}

func (q *requests) remove(i int) *request {
	r := q.queue[i]
	q.queue = slices.Delete(q.queue, i, i+1)
	q.count(r, -len(r.frame))
	if r.number != 0 {
		q.spooled--
	}
	if i < q.sentCount {
		q.sentCount--
		if r.numbered() {
			q.inFlight--
		}
	}
	return r
}

// numbered reports whether r is a PUBLISH that counts for the receive maximum.
func (r *request) numbered() bool { return r.op == broker.Publish && r.qos > 0 }

// rewind makes all requests wait for the next connection.
func (q *requests) rewind() {
	for _, r := range q.queue[:q.sentCount] {
		r.again = true
		if r.state == sent {
			r.state = waiting
		}
	}
	q.sentCount, q.inFlight = 0, 0
}

// publish takes a message: into the write buffer if it may go at once, else into the
// queue. s.mu is held, as in all that follows.
func (s *session) publish(r *broker.Request) error {
	if r.QoS > 0 && s.spool != nil && s.broker.spooling {
		return s.spoolPublish(r)
	}
	if s.busy(len(r.Topic) + len(r.Payload)) {
		return broker.ErrBusy
	}
	q := &s.requests
	if r.QoS == 0 {
		if s.line == nil {
			return broker.ErrBusy // at most once: it is not kept for later
		}
		if len(r.With) > 0 { // a will may have QoS 0
			r.Mark = s.apply(r.With...)
		}
		if q.sentCount == len(q.queue) {
			return s.publishNow(r)
		}
	}
	n := &request{op: broker.Publish, token: r.Token, qos: r.QoS, retain: r.Retain}
	if r.QoS > 0 {
		n.id = q.newID()
		n.with = cloned(r.With)
	}
	n.frame = s.appendPublish(nil, r, n.id)
	q.add(n)
	s.pump()
	return nil
}

// cloned copies changes that are valid only during Do.
func cloned(ops []store.Op) []store.Op {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Value = bytes.Clone(ops[i].Value)
	}
	return ops
}

// appendPublish leaves the user properties out if the message would be too large for the
// broker with them.
func (s *session) appendPublish(out []byte, r *broker.Request, id uint16) []byte {
	before := len(out)
	b := appendPublish(out, r, id)
	if most := s.limits.maxPacket; most > 0 && len(b)-before > most && len(r.User) > 0 {
		bare := *r
		bare.User = nil
		return appendPublish(b[:before], &bare, id)
	}
	return b
}

// publishNow writes a QoS 0 message without a detour.
func (s *session) publishNow(r *broker.Request) error {
	l := s.line
	before := l.waiting()
	b := s.appendPublish(l.room(), r, 0)
	if code := s.limits.refusesPublish(0, r.Retain, len(b)-before); code.Failed() {
		l.took(b[:before])
		s.broker.counts.fail(code)
		return nil
	}
	l.took(b)
	l.qos0++
	s.broker.counts.published.Add(1)
	s.soil()
	return nil
}

// subscribe takes a Subscribe or Unsubscribe.
func (s *session) subscribe(r *broker.Request) error {
	if s.busy(len(r.Topic)) {
		return broker.ErrBusy
	}
	s.requests.add(s.subscription(r.Op, r.Topic, r.QoS, r.Token))
	s.pump()
	return nil
}

func (s *session) subscription(op broker.Op, filter string, qos byte, token broker.Token) *request {
	n := &request{op: op, token: token, qos: qos, filter: filter, id: s.requests.newID()}
	if op == broker.Subscribe {
		n.frame = appendSubscribe(nil, filter, qos, n.id)
	} else {
		n.frame = appendUnsubscribe(nil, filter, n.id)
	}
	return n
}

// busy reports whether there is no room for another request of so many octets. One of
// any size always fits.
func (s *session) busy(octets int) bool {
	o, q := &s.broker.options, &s.requests
	held := q.octets
	if s.line != nil {
		held += s.line.waiting()
	}
	return len(q.queue)-q.spooled >= o.MaxPending || held > 0 && held+octets > o.WriteBuffer
}

// pump moves requests to the write buffer, in order, as far as the broker's receive
// maximum allows.
func (s *session) pump() {
	l, q := s.line, &s.requests
	if l == nil || l.closing {
		return
	}
	for q.sentCount < len(q.queue) {
		r := q.queue[q.sentCount]
		if code := s.limits.refuses(r); code.Failed() {
			q.remove(q.sentCount)
			s.answer(r, broker.Event{Code: code})
			continue
		}
		if r.mark > 0 && r.qos != 1 && !s.durable(r.mark) {
			break
		}
		if r.numbered() {
			if q.inFlight >= s.limits.receiveMaximum { // [MQTT-3.3.4-9]
				break
			}
			q.inFlight++
		}
		s.send(l, r)
		if r.id == 0 {
			q.remove(q.sentCount)
		} else {
			q.sentCount++
		}
	}
	s.hunger()
	s.settled()
}

func (s *session) send(l *line, r *request) {
	b := l.room()
	switch {
	case r.state == released:
		b = appendPubrel(b, r.id, 0)
	case r.numbered() && r.again:
		at := len(b)
		b = append(b, r.frame...)
		b[at] |= 8 // DUP [MQTT-3.3.1-1]
		r.state = sent
	default:
		if r.qos == 2 && r.op == broker.Publish && s.requests.unsure > 0 {
			// Ends what an earlier life of this session has left open under this id.
			b = appendPubrel(b, r.id, 0)
		}
		b = append(b, r.frame...)
		r.state = sent
	}
	l.took(b)
	if r.op == broker.Publish && !r.again {
		s.broker.counts.published.Add(1)
	}
	if r.op == broker.Publish && r.qos == 0 {
		l.qos0++
	}
	s.soil()
}
