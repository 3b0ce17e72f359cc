package upstream

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// refuse answers the Connect with a failure; the session is over.
func (s *session) refuse(code broker.Code) {
	s.broker.counts.fail(code)
	s.tell(broker.Event{Kind: broker.Answered, Token: s.token, Code: code})
	s.end()
}

// useless answers the Connect at once: the broker does not speak MQTT 5.
func (s *session) useless() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == joining {
		s.refuse(codeProtocolVersion)
	}
}

// close tells the gateway that the connection has ended for good; the session is over.
func (s *session) close(code broker.Code) {
	s.tell(broker.Event{Kind: broker.Closed, Code: code})
	s.end()
}

// leave lets go of the session for the gateway, with or without publishing the will.
// What comes with that is applied together with the will.
func (s *session) leave(publishWill bool, with []store.Op) (mark store.Mark) {
	if s.stage != joining && s.stage != joined {
		return 0
	}
	s.to = nil
	if s.spool != nil && s.clean {
		s.dropKept()
	}
	s.deliveries.part()
	s.deliveries = nil
	will := s.will
	s.will = nil
	if !publishWill {
		will = nil
	}
	if will != nil && s.broker.spooling && s.spool != nil && (s.stage == joined || s.knownBefore()) {
		mark = s.spoolWill(will, with)
		will = nil
	} else if len(with) > 0 {
		mark = s.apply(with...)
	}
	if s.stage != joined || s.line == nil && will == nil {
		s.end()
		return mark
	}
	s.stage = leaving
	s.broker.depart(s)
	now := time.Now()
	s.deadline = now.Add(leaveTime)
	if will != nil {
		s.deadline = now.Add(s.broker.options.WillTimeout)
		s.addWill(will)
	}
	if s.line == nil {
		s.hurry()
	}
	s.pump()
	return mark
}

// spoolWill puts the will behind what the client has published.
func (s *session) spoolWill(will *broker.Message, with []store.Op) store.Mark {
	s.broker.counts.wills.Add(1)
	return s.spoolMessage(&spooled{at: time.Now(), will: true, Request: broker.Request{
		Topic: will.Topic, Payload: will.Payload, QoS: will.QoS, Retain: will.Retain, User: s.willUser,
	}}, with)
}

// knownBefore reports whether the client was connected before a crash, and has not been
// since: its will counts.
func (s *session) knownBefore() bool {
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	return s.spool.reached && !s.fresh
}

// addWill puts the will behind what the client has published.
func (s *session) addWill(will *broker.Message) {
	s.broker.counts.wills.Add(1)
	m := broker.Request{Op: broker.Publish, Topic: will.Topic, Payload: will.Payload, QoS: will.QoS, Retain: will.Retain, User: s.willUser}
	if m.QoS > s.limits.maxQoS {
		m.QoS = s.limits.maxQoS
	}
	r := &request{op: broker.Publish, qos: m.QoS, retain: m.Retain, own: true}
	if m.QoS > 0 {
		r.id = s.requests.newID()
	}
	r.frame = s.appendPublish(nil, &m, r.id)
	s.requests.add(r)
}

// willDone is told what has become of a will.
func (s *session) willDone(code broker.Code) {
	if code.Failed() {
		s.broker.counts.willsLost.Add(1)
		s.broker.notice(code, "the broker refuses a will", "client", s.id, "code", code)
	}
}

// settled lets a leaving session go when nothing is left to do.
func (s *session) settled() {
	if s.stage == leaving && len(s.requests.queue) == 0 && !s.busySpool() {
		l := s.line
		l.took(appendDisconnect(l.room(), s.clean))
		l.closing = true
		s.deadline = time.Now().Add(leaveTime)
		s.soil()
	}
}

// hurry makes a session that waits for its next attempt try at once, before others.
func (s *session) hurry() {
	s.retryAt = time.Time{}
	if s.cancel == nil { // else an attempt is under way
		s.broker.dialer.add(s, true)
	}
}

// end is the end of a session. What it still has to say is not said.
func (s *session) end() {
	if s.stage == over {
		return
	}
	s.stage = over
	s.robbed.forget(s.broker)
	s.giveUp()
	if s.line != nil {
		_ = s.line.conn.Close()
		s.detach()
	}
	if s.deliveries != nil {
		s.deliveries.part()
	}
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.to, s.deliveries, s.will, s.willUser, s.requests, s.filters = nil, nil, nil, nil, requests{}, nil
	s.broker.remove(s)
	if s.successor != nil {
		s.broker.dialer.add(s.successor, true)
		s.successor = nil
	}
}

// lose counts a request that comes to nothing.
func (s *session) lose(r *request) {
	switch {
	case r.own && r.op == broker.Publish:
		s.broker.counts.willsLost.Add(1)
		s.broker.notice(broker.CodeServerUnavailable, "a will could not be published in time", "client", s.id)
	case r.op == broker.Publish && r.qos == 0:
		s.broker.counts.lost.Add(1)
	}
}

// precede makes next wait until this session is over; false if it is.
func (s *session) precede(next *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == over {
		return false
	}
	if s.handOver(next) {
		s.end()
		return false
	}
	s.successor = next
	if s.line == nil {
		s.hurry()
	} else {
		s.limit()
		s.pump()
	}
	return true
}

// limit bounds the time of a session that another one waits for: the broker is there, and
// if it does not answer by then, it will not.
func (s *session) limit() {
	if limit := time.Now().Add(s.broker.options.ConnectTimeout / 2); s.deadline.IsZero() || limit.Before(s.deadline) {
		s.deadline = limit
	}
}
