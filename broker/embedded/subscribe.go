package embedded

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// wanted is one filter of a request to subscribe.
type wanted struct {
	filter   string
	sub      subscription
	handling mqtt.RetainHandling
	code     broker.Code // the answer: a failure, or success
	retained bool        // retained messages are to be sent for it
	last     uint64      // up to that one, see retained
}

// subscribe makes subscriptions, lets the client be answered, for which the mark must be
// durable, and then gives it the retained messages. What else is to be durable with them is
// in with; if one of them is refused, that is not applied. It reports false, having done nothing, if l is not the client's line
// any more.
func (s *session) subscribe(l line, with []store.Op, all []wanted, answer func(store.Mark)) bool {
	s.mu.Lock()
	if s.line != l {
		s.mu.Unlock()
		return false
	}
	r, failed := s.broker.gather(), false
	for i := range all {
		s.add(r, &all[i])
		failed = failed || all[i].code.Failed()
	}
	if !failed {
		r.add(with)
	}
	answer(s.gathered(r))
	s.mu.Unlock()
	for i := range all {
		if all[i].retained && !s.remember(l, &all[i]) {
			break
		}
	}
	return true
}

// remember sends the client, or queues, the retained messages for a new subscription. To
// find them may take a while, in which the session is not locked: what is retained then
// is sent anyway, and is not among them. It reports false if the client has gone and there is much to find, or the
// broker is about to go: else a client could leave us more to do than it took to ask for it.
func (s *session) remember(l line, w *wanted) bool {
	b := s.broker
	if !b.Up() {
		return false
	}
	if s.backlogRoom() <= 0 {
		b.stats.drop(slowClient) // or however many there are
		return true
	}
	part, ok := b.lookUp(s, l, w)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.addBacklog(part)
	if s.line == nil {
		s.dropBacklog()
		s.file()
	}
	var t tally
	s.pump(&t)
	b.stats.add(&t)
	return true
}

// add makes one subscription.
func (s *session) add(r *records, w *wanted) {
	b := s.broker
	if w.code.Failed() {
		return
	}
	if w.code = b.topics.maySubscribe(w.filter); w.code.Failed() {
		return
	}
	if w.code = s.maySubscribe(w.filter); w.code.Failed() {
		return
	}
	if !s.filters.has(w.filter) {
		if what := s.mayAdd(w.filter); what != noLimit {
			b.limited.deny(what)
			w.code = broker.CodeQuota
			return
		}
	}
	w.sub.to = s
	added := b.topics.subscribe(w.filter, w.sub)
	if added {
		s.filters.add(w.filter)
		s.keep(filterCost(w.filter))
	}
	s.noteSubscription(r, w.filter, &w.sub)
	if share, _ := splitShare(w.filter); share != "" {
		return // no retained messages for those who share [MQTT 5, 4.8.2]
	}
	w.retained = w.handling == mqtt.RetainOnSubscribe || w.handling == mqtt.RetainOnNewSubscribe && added
	w.last = b.retained.now() // after the subscription is made, or one in between would be missed
}

// unsubscribe ends subscriptions, together with which with is to be durable, at the mark. It
// reports which of them there were; ok is false, and
// nothing was done, if l is not the client's line any more.
func (s *session) unsubscribe(l line, with []store.Op, filters []string) (existed []bool, mark store.Mark, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != l {
		return nil, 0, false
	}
	r := s.broker.gather()
	r.add(with)
	for _, f := range filters {
		removed := s.broker.topics.unsubscribe(f, s)
		if removed {
			s.dropFilter(r, f)
			s.keep(-filterCost(f))
		}
		existed = append(existed, removed)
	}
	return existed, s.gathered(r), true
}

// subscribe handles SUBSCRIBE. SUBACK goes out before retained messages do.
func (c *client) subscribe(p *mqtt.Subscribe) {
	if !c.takesAnswer(len(p.Subscriptions)) {
		return
	}
	all := make([]wanted, len(p.Subscriptions))
	for i := range p.Subscriptions {
		ask := &p.Subscriptions[i]
		all[i] = wanted{
			filter:   c.listener.mount.filter(ask.Filter),
			handling: ask.RetainHandling,
			sub: subscription{
				id:                p.Properties.SubscriptionID,
				qos:               min(byte(ask.QoS), byte(c.broker.options.MaxQoS)), // [MQTT-3.2.2-10]
				noLocal:           ask.NoLocal,
				retainAsPublished: ask.RetainAsPublished,
			},
		}
	}
	c.session.subscribe(c, nil, all, func(mark store.Mark) {
		codes := make([]mqtt.Code, len(all)) // one for each filter [MQTT-3.8.4-6]
		for i := range all {
			if codes[i] = mqtt.Code(all[i].code); !codes[i].Failed() {
				codes[i] = mqtt.Code(all[i].sub.qos)
			}
		}
		c.sendCodes(mqtt.TypeSuback, p.PacketID, codes, mark)
	})
}

// unsubscribe handles UNSUBSCRIBE.
func (c *client) unsubscribe(p *mqtt.Unsubscribe) {
	if !c.takesAnswer(len(p.Filters)) {
		return
	}
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		filters[i] = c.listener.mount.filter(f)
	}
	existed, mark, ok := c.session.unsubscribe(c, nil, filters)
	if !ok {
		return
	}
	codes := make([]mqtt.Code, len(existed))
	for i, e := range existed {
		if codes[i] = mqtt.CodeSuccess; !e {
			codes[i] = mqtt.CodeNoSubscription
		}
	}
	c.sendCodes(mqtt.TypeUnsuback, p.PacketID, codes, mark) // [MQTT-3.10.4-4]
}
