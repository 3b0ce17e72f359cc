package embedded

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// wanted is one filter of a request to subscribe.
type wanted struct {
	filter   string
	sub      subscription
	handling mqtt.RetainHandling
	code     broker.Code // the answer: a failure, or success
	retained []*message  // to be sent for it
}

// subscribe makes subscriptions, lets the client be answered, and then gives it the
// retained messages. It reports false, having done nothing, if l is not the client's line
// any more.
func (s *session) subscribe(l line, all []wanted, answer func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != l {
		return false
	}
	for i := range all {
		s.add(&all[i])
	}
	answer()
	for i := range all {
		w := &all[i]
		var r *rare
		if w.sub.id != 0 {
			r = &rare{ids: []uint32{w.sub.id}}
		}
		for _, m := range w.retained {
			if !w.sub.noLocal || m.from != s.id {
				s.addBacklog(retainedItem{m, r, min(m.QoS, w.sub.qos)}) // [MQTT-3.3.1-9]
			}
		}
	}
	var t tally
	s.pump(&t)
	s.broker.stats.add(&t)
	return true
}

// add makes one subscription, and collects the retained messages for it.
func (s *session) add(w *wanted) {
	b := s.broker
	if w.code.Failed() {
		return
	}
	if w.code = b.topics.maySubscribe(w.filter); w.code.Failed() {
		return
	}
	if s.filters.len() >= b.options.MaxSubscriptions && !s.filters.has(w.filter) {
		w.code = broker.CodeQuota
		return
	}
	w.sub.to = s
	added := b.topics.subscribe(w.filter, w.sub)
	if added {
		s.filters.add(w.filter)
	}
	if share, _ := splitShare(w.filter); share != "" {
		return // no retained messages for those who share [MQTT 5, 4.8.2]
	}
	if w.handling == mqtt.RetainOnSubscribe || w.handling == mqtt.RetainOnNewSubscribe && added {
		// After the subscription is made: what is retained from now on is sent anyway.
		w.retained = b.retained.match(w.filter, b.now())
		if isSys(w.filter) {
			w.retained = append(w.retained, b.sys.match(w.filter)...)
		}
	}
}

// unsubscribe ends subscriptions. It reports which of them there were; ok is false, and
// nothing was done, if l is not the client's line any more.
func (s *session) unsubscribe(l line, filters []string) (existed []bool, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != l {
		return nil, false
	}
	for _, f := range filters {
		removed := s.broker.topics.unsubscribe(f, s)
		if removed {
			s.filters.remove(f)
		}
		existed = append(existed, removed)
	}
	return existed, true
}
