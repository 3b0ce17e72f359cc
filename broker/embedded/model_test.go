package embedded

import (
	"maps"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// model is what the broker should do, written as simply as possible: one thing after the
// other, without sharing, caching or batching. It holds what FuzzHistories needs.
type model struct {
	window, room int // max_inflight_messages, max_queued_messages
	queueQoS0    bool
	upgradeQoS   bool
	stored       bool // there is a store, so that there can be restarts
	several      bool // the message may be for more than one receiver, and there is a store
	later        []*modelSession
	groups       map[string]*modelGroup // by filter
	sessions     map[string]*modelSession
	retained     map[string]*modelMessage
	received     [3]uint64
	sent         [3]uint64
	dropped      map[string]uint64
}

type modelMessage struct {
	topic, payload, from string
	qos                  byte
	retain               bool
}

// large is a payload that is above the maximum packet size of a client that has one.
func (m *modelMessage) large() bool { return len(m.payload) > historyPacket }

// modelSession is a session, with what its client is to be sent next in out.
type modelSession struct {
	id       string
	online   bool
	lasting  bool // it outlives the connection
	device   bool
	subs     map[string]modelSubscription
	queue    []*modelDelivery
	backlog  []*modelDelivery
	received map[uint16]bool
	will     *modelMessage
	delayed  bool // the will is not published if the client comes back
	// persisted says that the session survives a restart although it is not lasting, and
	// restored that it has, and its client has not come back.
	persisted, restored bool
	nextID              uint16
	window              int
	small               bool // the client has a maximum packet size
	out                 []modelDelivery
}

type modelSubscription struct {
	qos                        byte
	id                         uint32
	noLocal, retainAsPublished bool
}

// modelDelivery is a message on its way to a client, or the PUBREL for it.
type modelDelivery struct {
	message  *modelMessage
	qos      byte
	retain   bool
	ids      []uint32
	id       uint16 // 0: not sent yet
	again    bool
	recorded bool // the store has the identifier
	sent     bool
	token    broker.Token   // to a device, with a store; 0: not known
	self     *modelDelivery // of what was sent
	inFlight bool
	released bool
}

func newModel(window, room int) *model {
	return &model{
		window: window, room: room,
		sessions: make(map[string]*modelSession),
		retained: make(map[string]*modelMessage),
		dropped:  make(map[string]uint64),
		groups:   make(map[string]*modelGroup),
	}
}

// modelConnect is what a client wants when it connects.
type modelConnect struct {
	clean, lasting bool
	will           *modelMessage
	window         int  // receive maximum
	small          bool // maximum packet size
}

// connect attaches a client, by the line that it had before (same) or another one. It
// reports whether there was a session.
func (m *model) connect(id string, device, same bool, c *modelConnect) (present bool) {
	clean, lasting, will := c.clean, c.lasting, c.will
	s := m.sessions[id]
	var last *modelMessage
	if s != nil {
		ends := clean || !s.lasting && (!s.restored || !device)
		last, s.will = s.will, nil
		if s.online && same || s.delayed && !ends {
			last = nil // a device that connects again was not lost
		} else if s.online {
			m.dropBacklog(s)
		}
		s.delayed = false
		if ends {
			m.finish(s)
			s = nil
		}
	}
	present = s != nil
	if s == nil {
		s = &modelSession{id: id, subs: make(map[string]modelSubscription), received: make(map[uint16]bool)}
		m.sessions[id] = s
	}
	if s.restored && !s.lasting {
		lasting = false // it ends as it would have ended
	}
	s.online, s.device, s.lasting, s.will, s.out = true, device, lasting, will, nil
	s.restored = false
	s.window, s.small = min(m.window, c.window), c.small
	s.land()
	if device {
		s.queue = slices.DeleteFunc(s.queue, func(d *modelDelivery) bool { return d.released })
	}
	m.pump(s)
	m.publishWill(last)
	return present
}

// leave detaches a client; lost says that its will is published.
func (m *model) leave(id string, lost bool) {
	s := m.sessions[id]
	will := s.will
	s.will, s.online, s.out = nil, false, nil
	s.land()
	m.dropBacklog(s)
	if !s.lasting {
		m.finish(s)
	}
	if lost {
		m.publishWill(will)
	}
}

func (m *model) publishWill(will *modelMessage) {
	if will != nil {
		m.publish(will)
	}
}

func (m *model) finish(s *modelSession) {
	m.dropBacklog(s)
	for _, d := range s.queue {
		if !d.sent {
			m.dropped["session_ended"]++
		}
	}
	delete(m.sessions, s.id)
	for filter := range s.subs {
		m.unshare(s, filter)
	}
}

func (s *modelSession) land() {
	for _, d := range s.queue {
		d.inFlight = false
	}
}

func (s *modelSession) flying() (n int) {
	for _, d := range s.queue {
		if d.inFlight {
			n++
		}
	}
	return n
}

// enqueue queues a delivery if there is room.
func (m *model) enqueue(s *modelSession, d *modelDelivery) {
	if m.hasRoom(s) {
		m.push(s, d)
	} else {
		m.dropped["queue_full"]++
	}
}

// push queues a delivery. With a store it is given its identifier at once if it is about to
// be sent, so that it is in its record.
func (m *model) push(s *modelSession, d *modelDelivery) {
	n := len(s.queue)
	if m.stored && d.qos > 0 && (s.lasting || s.persisted) && s.online && !s.device && n < s.window && (n == 0 || s.queue[n-1].id != 0) {
		d.id, d.recorded = s.newID(), true
	}
	s.queue = append(s.queue, d)
}

// newID is the next packet identifier that is free.
func (s *modelSession) newID() uint16 {
	for {
		s.nextID = s.nextID%0xFFFF + 1
		if !slices.ContainsFunc(s.queue, func(d *modelDelivery) bool { return d.id == s.nextID }) {
			return s.nextID
		}
	}
}

func (m *model) hasRoom(s *modelSession) bool {
	waiting := len(s.queue) - s.flying()
	if !s.online {
		waiting -= s.window // as if they had been in flight
	}
	return waiting < m.room
}

// offer hands a message over or queues it.
func (m *model) offer(s *modelSession, d *modelDelivery) {
	late := !s.online || len(s.queue) > s.flying()
	switch {
	case d.qos > 0 || m.queueQoS0 && late:
		m.enqueue(s, d)
		if m.several && d.qos > 0 && (s.lasting || s.persisted) {
			m.later = append(m.later, s) // when it is in all queues, and so in the store
		} else if s.online {
			m.pump(s)
		}
	case !s.online:
		m.dropped["client_away"]++
	default:
		m.pass(s, d)
	}
}

// pass sends a message with QoS 0.
func (m *model) pass(s *modelSession, d *modelDelivery) {
	if s.small && d.message.large() {
		m.dropped["packet_too_large"]++
		return
	}
	m.sent[0]++
	s.out = append(s.out, *d)
}

func (m *model) dropBacklog(s *modelSession) {
	for _, d := range s.backlog {
		switch {
		case m.retained[d.message.topic] != d.message: // it was replaced
		case d.qos == 0:
			m.dropped["client_away"]++
		default:
			m.enqueue(s, d)
		}
	}
	s.backlog = nil
}

// pump sends what the window allows: the queue first, then retained messages.
func (m *model) pump(s *modelSession) {
	for {
		for _, d := range slices.Clone(s.queue) {
			if d.inFlight {
				continue
			}
			if s.flying() >= s.window {
				return
			}
			if d.qos == 0 {
				s.forget(d)
				m.pass(s, d)
				continue
			}
			d.again = d.sent
			if d.qos == 2 && d.id == 0 && m.stored && (s.lasting || s.persisted) && !s.device {
				d.id, d.recorded = s.newID(), true
			}
			if s.small && d.message.large() && !d.released {
				s.forget(d)
				if !d.again {
					m.dropped["packet_too_large"]++
				}
				continue
			}
			if d.id == 0 && (!m.stored || !s.device) {
				d.id = s.newID()
			}
			if !d.sent {
				m.sent[d.qos]++
			}
			d.inFlight, d.sent, d.self = true, true, d
			s.out = append(s.out, *d)
		}
		if len(s.backlog) == 0 || s.flying() >= s.window {
			return
		}
		d := s.backlog[0]
		s.backlog = s.backlog[1:]
		switch {
		case m.retained[d.message.topic] != d.message: // it was replaced
		case d.qos > 0:
			m.push(s, d)
		default:
			m.pass(s, d)
		}
	}
}

func (s *modelSession) forget(d *modelDelivery) {
	s.queue = slices.DeleteFunc(s.queue, func(other *modelDelivery) bool { return other == d })
}

// subscribe makes a subscription; retained says whether retained messages are sent for it
// if it is new, and if it replaces one.
func (m *model) subscribe(id, filter string, sub modelSubscription, ifNew, ifOld bool) {
	s := m.sessions[id]
	_, old := s.subs[filter]
	s.subs[filter] = sub
	if slices.Contains(historyShares, filter) {
		if !old {
			m.join(s, filter)
		}
	} else if old && ifOld || !old && ifNew {
		for topic, p := range m.retained {
			if !mqtt.Match(filter, topic) || sub.noLocal && p.from == id {
				continue
			}
			d := &modelDelivery{message: p, qos: m.outgoing(p.qos, sub.qos), retain: true}
			if sub.id != 0 {
				d.ids = []uint32{sub.id}
			}
			s.backlog = append(s.backlog, d)
		}
	}
	m.pump(s)
}

// acked completes a delivery.
func (m *model) acked(id string, d *modelDelivery) {
	s := m.sessions[id]
	s.forget(d)
	m.pump(s)
}

// restart crashes the broker and starts another one: what was not to survive is gone, and
// the counters start anew.
func (m *model) restart() {
	m.received, m.sent, m.dropped = [3]uint64{}, [3]uint64{}, make(map[string]uint64)
	for id, s := range m.sessions {
		if !s.lasting && !s.persisted {
			delete(m.sessions, id)
			continue
		}
		s.online, s.out, s.backlog, s.restored = false, nil, nil, true
		s.delayed = s.will != nil
		s.nextID = 0
		s.queue = slices.DeleteFunc(s.queue, func(d *modelDelivery) bool { return d.qos == 0 })
		s.land()
		for _, d := range s.queue {
			if !d.recorded {
				d.id = 0
			} else {
				s.nextID = d.id
			}
			d.sent = d.recorded || d.qos == 2 && s.device
		}
	}
	m.groups = make(map[string]*modelGroup)
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[id]
		for _, filter := range historyShares {
			if _, ok := s.subs[filter]; ok {
				m.join(s, filter)
			}
		}
	}
}
