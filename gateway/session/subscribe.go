package session

import (
	"slices"
	"strings"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// subscription is what the client has subscribed to, and in which form: messages come
// to it in the same [SN-6.10].
type subscription struct {
	filter string
	id     uint16 // of a predefined or short topic
	form   mqttsn.TopicIDType
	qos    mqttsn.QoS
	number uint32 // of its record; 0 if it has none
}

// ask is a SUBSCRIBE or UNSUBSCRIBE that the broker has not answered.
type ask struct {
	subscription
	token       broker.Token
	msgID       uint16
	unsubscribe bool
}

// packetSubscribe passes a SUBSCRIBE on [SN-6.9].
func (s *Session) packetSubscribe(t instant, p *mqttsn.Subscribe, fx *Effects) {
	sub, code := s.topicOf(p.TopicIDType, p.TopicID, p.TopicName)
	sub.qos = p.QoS
	switch {
	case p.QoS == mqttsn.QoSMinusOne:
		fx.drop(InvalidTopic)
		s.rejectSubscribe(&sub, p.MsgID, mqttsn.NotSupported, fx)
	case code == mqttsn.InvalidTopicID:
		fx.drop(UnknownTopic)
		s.rejectSubscribe(&sub, p.MsgID, code, fx)
	case code != mqttsn.Accepted:
		fx.drop(InvalidTopic)
		s.rejectSubscribe(&sub, p.MsgID, code, fx)
	case !s.maySubscribe(sub.filter):
		fx.drop(NotAuthorized)
		s.rejectSubscribe(&sub, p.MsgID, mqttsn.NotSupported, fx)
	case s.asked(p.MsgID, sub.filter, false):
		fx.drop(Repeated) // the answer is to come
	case len(s.asks) >= s.o.MaxInflightUp || !s.roomFor(&sub):
		fx.drop(Congestion)
		s.rejectSubscribe(&sub, p.MsgID, mqttsn.Congestion, fx)
	default:
		a := ask{subscription: sub, token: s.nextToken(), msgID: p.MsgID}
		s.await(t, a)
		fx.request(broker.Request{Op: broker.Subscribe, Token: a.token, Topic: sub.filter, QoS: byte(sub.qos)})
	}
}

// packetUnsubscribe passes an UNSUBSCRIBE on. Its answer has no return code, so what
// cannot be meant is acknowledged like the rest.
func (s *Session) packetUnsubscribe(t instant, p *mqttsn.Unsubscribe, fx *Effects) {
	sub, code := s.topicOf(p.TopicIDType, p.TopicID, p.TopicName)
	switch {
	case code != mqttsn.Accepted:
		fx.drop(UnknownTopic)
		fx.unsuback(p.MsgID)
	case s.asked(p.MsgID, sub.filter, true):
		fx.drop(Repeated)
	case len(s.asks) >= s.o.MaxInflightUp:
		fx.drop(Congestion) // without an answer the client asks again
	default:
		s.removeSubscription(sub.filter)
		if topic := s.topics.byName(sub.filter); topic != nil {
			s.topicIsNow(topic, topic.is&^subscribed) // the id stays valid for publishing
		}
		a := ask{subscription: sub, token: s.nextToken(), msgID: p.MsgID, unsubscribe: true}
		s.await(t, a)
		fx.request(broker.Request{Op: broker.Unsubscribe, Token: a.token, Topic: sub.filter})
	}
}

// topicOf makes out what a SUBSCRIBE or UNSUBSCRIBE is about.
func (s *Session) topicOf(form mqttsn.TopicIDType, id uint16, name []byte) (subscription, mqttsn.ReturnCode) {
	sub := subscription{form: form, id: id}
	switch form {
	case mqttsn.TopicPredefined:
		filter, ok := s.o.Predefined.Name(s.id, id)
		if !ok {
			return sub, mqttsn.InvalidTopicID
		}
		sub.filter = filter
		return sub, mqttsn.Accepted
	case mqttsn.TopicShort:
		short := mqttsn.ShortTopicName(id)
		name = short[:]
	case mqttsn.TopicReserved:
		return sub, mqttsn.NotSupported
	}
	if len(name) > s.o.MaxTopicLength || !mqttsn.ValidTopicFilter(name) {
		return sub, mqttsn.NotSupported
	}
	sub.filter = string(name)
	return sub, mqttsn.Accepted
}

// plain reports whether a subscription by name is to one topic, which then gets an id.
// What a shared subscription delivers has another name than the filter.
func (sub *subscription) plain() bool {
	return sub.form == mqttsn.TopicNormal && !strings.ContainsAny(sub.filter, "+#") &&
		!strings.HasPrefix(sub.filter, "$share/")
}

// roomFor reports whether the limits allow one more subscription.
func (s *Session) roomFor(sub *subscription) bool {
	n := len(s.subs)
	for i := range s.asks {
		if !s.asks[i].unsubscribe {
			n++
		}
	}
	if n >= s.o.MaxSubscriptions && !slices.ContainsFunc(s.subs, func(o subscription) bool { return o.filter == sub.filter }) {
		return false
	}
	return !sub.plain() || s.topics.byName(sub.filter) != nil || s.topics.room(s.o.MaxTopics)
}

// await notes a request to the broker.
func (s *Session) await(t instant, a ask) {
	s.asks = append(s.asks, a)
	s.answerAt = t.after(s.o.patience())
}

// asked reports whether the same request waits for its answer.
func (s *Session) asked(msgID uint16, filter string, unsubscribe bool) bool {
	return slices.ContainsFunc(s.asks, func(a ask) bool {
		return a.msgID == msgID && a.filter == filter && a.unsubscribe == unsubscribe
	})
}

// askAnswered takes the broker's answer to Subscribe or Unsubscribe.
func (s *Session) askAnswered(t instant, ev *broker.Event, fx *Effects) {
	i := slices.IndexFunc(s.asks, func(a ask) bool { return a.token == ev.Token })
	if i < 0 {
		return // not waited for
	}
	a := s.asks[i]
	s.asks = slices.Delete(s.asks, i, i+1)
	if len(s.asks) == 0 {
		s.forgetAsks()
	}
	if a.unsubscribe {
		fx.unsuback(a.msgID)
	} else {
		s.subscribeAnswered(&a, ev, fx)
	}
	s.next(t, fx)
}

func (s *Session) subscribeAnswered(a *ask, ev *broker.Event, fx *Effects) {
	if ev.Code.Failed() {
		fx.drop(RefusedByBroker)
		s.rejectSubscribe(&a.subscription, a.msgID, returnCode(ev.Code), fx)
		return
	}
	var id uint16
	if a.form == mqttsn.TopicPredefined {
		id = a.id
	}
	if a.plain() {
		topic := s.addTopic(a.filter)
		if topic == nil {
			// The room was taken meanwhile.
			fx.drop(Congestion)
			fx.request(broker.Request{Op: broker.Unsubscribe, Token: s.nextToken(), Topic: a.filter})
			s.rejectSubscribe(&a.subscription, a.msgID, mqttsn.Congestion, fx)
			return
		}
		s.topicIsNow(topic, topic.is&^refused|pinned|subscribed|confirmed)
		a.filter, id = topic.name, topic.id
	}
	s.addSubscription(a.subscription)
	granted := mqttsn.QoS(min(ev.QoS, 2))
	fx.send(mqttsn.Suback{QoS: granted, TopicID: id, MsgID: a.msgID}.Append(fx.arena))
}

// addSubscription notes a subscription, in the place of an equal one.
func (s *Session) addSubscription(sub subscription) {
	for i := range s.subs {
		if old := &s.subs[i]; old.filter == sub.filter && old.form == sub.form {
			if sub.number = old.number; *old != sub {
				*old = sub
				s.subscriptionChanged(old)
			}
			return
		}
	}
	s.subs = append(s.subs, sub)
	s.subscriptionChanged(&s.subs[len(s.subs)-1])
}

// removeSubscription forgets a filter in all its forms: to the broker they are one.
func (s *Session) removeSubscription(filter string) {
	s.subs = slices.DeleteFunc(s.subs, func(sub subscription) bool {
		if sub.filter != filter {
			return false
		}
		s.subscriptionChanged(&sub)
		return true
	})
}

// rejectSubscribe answers a SUBSCRIBE that failed. Its TopicId is then not defined; the one of a
// predefined topic is repeated.
func (s *Session) rejectSubscribe(sub *subscription, msgID uint16, c mqttsn.ReturnCode, fx *Effects) {
	var id uint16
	if sub.form == mqttsn.TopicPredefined {
		id = sub.id
	}
	fx.send(mqttsn.Suback{TopicID: id, MsgID: msgID, ReturnCode: c}.Append(fx.arena))
}

// holding reports whether deliveries wait because a SUBSCRIBE is not answered: its
// messages mean nothing to a client that has not got the topic id yet.
func (s *Session) holding() bool {
	return slices.ContainsFunc(s.asks, func(a ask) bool { return !a.unsubscribe })
}

// forgetAsks gives up waiting for the broker. The client asks again, or has given up.
func (s *Session) forgetAsks() {
	s.asks, s.answerAt = nil, 0
}
