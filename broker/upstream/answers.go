package upstream

import "mqttsn-gateway/broker"

// complete ends the request at i with the broker's answer.
func (s *session) complete(i int, ev broker.Event) {
	r := s.requests.remove(i)
	s.strikes = 0
	s.answer(r, ev)
	s.pump()
}

// answer tells the gateway what has become of a request.
func (s *session) answer(r *request, ev broker.Event) {
	if r.number != 0 {
		s.finished(r, ev.Code)
		return
	}
	counts := &s.broker.counts
	if len(r.with) > 0 && !ev.Code.Failed() {
		ev.Mark = s.apply(r.with...)
	}
	switch {
	case ev.Code.Failed():
		counts.fail(ev.Code)
	case r.op == broker.Publish && r.qos > 0:
		counts.answered.Add(1)
	}
	switch {
	case r.op == broker.Subscribe && !ev.Code.Failed():
		if s.filters == nil {
			s.filters = make(map[string]byte)
		}
		s.filters[r.filter] = r.qos
		ev.Mark = s.keepFilter(r.filter, r.qos)
	case r.op == broker.Unsubscribe && !ev.Code.Failed():
		delete(s.filters, r.filter)
		ev.Mark = s.forgetFilter(r.filter)
	case r.op == broker.Subscribe && r.own:
		s.broker.log.Warn("the broker refuses a subscription that it had granted before", "client", s.id, "filter", r.filter, "code", ev.Code)
		s.close(ev.Code)
		return
	}
	if r.own && r.op == broker.Publish {
		s.willDone(ev.Code)
	}
	if r.own || r.op == broker.Publish && r.qos == 0 {
		return
	}
	ev.Kind, ev.Token = broker.Answered, r.token
	s.tell(ev)
}

// Answers of the broker to requests. An answer to what was not asked is ignored.

func (s *session) puback(in *incoming) {
	if i := s.requests.sentWith(in.id, broker.Publish, sent); i >= 0 && s.requests.queue[i].qos == 1 {
		s.complete(i, broker.Event{Code: in.code})
	}
}

func (s *session) pubrec(l *line, in *incoming) {
	q := &s.requests
	i := q.find(in.id)
	if i < 0 || i >= q.sentCount || q.queue[i].op != broker.Publish || q.queue[i].qos != 2 {
		const unknownID = 0x92
		l.took(appendPubrel(l.room(), in.id, unknownID))
		s.soil()
		return
	}
	r := q.queue[i]
	if r.state == sent && in.code.Failed() {
		s.complete(i, broker.Event{Code: in.code})
		return
	}
	switch r.state {
	case sent:
		q.count(r, -len(r.frame))
		r.frame = nil
		s.release(l, r)
	case released:
		l.took(appendPubrel(l.room(), r.id, 0))
		s.soil()
	}
}

// pubcomp ends a QoS 2 exchange. It is only now that the broker is sure to pass the
// message on: a broker may drop what has not been released when it loses the session.
func (s *session) pubcomp(in *incoming) {
	if i := s.requests.sentWith(in.id, broker.Publish, released); i >= 0 {
		s.complete(i, broker.Event{})
	}
}

func (s *session) suback(in *incoming) {
	if i := s.requests.sentWith(in.id, broker.Subscribe, sent); i >= 0 {
		ev := broker.Event{Code: in.code}
		if !in.code.Failed() {
			ev.Code, ev.QoS = 0, byte(in.code)
		}
		s.complete(i, ev)
	}
}

func (s *session) unsuback(in *incoming) {
	if i := s.requests.sentWith(in.id, broker.Unsubscribe, sent); i >= 0 {
		s.complete(i, broker.Event{Code: in.code})
	}
}

// sentWith finds the request with an identifier, if it is such a one on its way.
func (q *requests) sentWith(id uint16, op broker.Op, st state) int {
	i := q.find(id)
	if i < 0 || i >= q.sentCount || q.queue[i].op != op || q.queue[i].state != st {
		return -1
	}
	return i
}

// resume continues the requests in a session that the broker has kept, or repairs what
// can be repaired in a new one.
func (s *session) resume(present bool) {
	q := &s.requests
	if present {
		return // pump sends PUBLISH with DUP and PUBREL again, by their order
	}
	s.broker.counts.sessionsLost.Add(1)
	s.broker.notice(0, "the broker has lost the session of a client; its subscriptions are made again", "client", s.id)
	for i := 0; i < len(q.queue); {
		r := q.queue[i]
		if r.state == released {
			// The broker had the message; nobody knows whether it passed it on. Sending it
			// again might deliver it twice.
			s.broker.counts.uncertain.Add(1)
			q.remove(i)
			s.answer(r, broker.Event{})
			continue
		}
		r.again = false
		i++
	}
	own := make([]*request, 0, len(s.filters)+len(q.queue))
	for _, filter := range sortedKeys(s.filters) {
		r := s.subscription(broker.Subscribe, filter, s.filters[filter], 0)
		r.own = true
		q.octets += len(r.frame)
		own = append(own, r)
	}
	q.queue = append(own, q.queue...)
}
