package session

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// packetRegister gives a topic name of the client an id [SN-6.5]. A name that has one
// keeps it, so that a lost REGACK does no harm. The TopicId that came means nothing.
func (s *Session) packetRegister(p *mqttsn.Register, fx *Effects) {
	if len(p.TopicName) > s.o.MaxTopicLength || !mqttsn.ValidTopicName(p.TopicName) { // no wildcards [SN-6.10]
		fx.drop(InvalidTopic)
		fx.regack(0, p.MsgID, mqttsn.NotSupported)
		return
	}
	name := string(p.TopicName)
	if !s.mayPublish(name) {
		fx.drop(NotAuthorized)
		fx.regack(0, p.MsgID, mqttsn.NotSupported)
		return
	}
	topic := s.addTopic(name)
	if topic == nil {
		fx.drop(Congestion)
		fx.regack(0, p.MsgID, mqttsn.Congestion)
		return
	}
	s.topicIsNow(topic, topic.is&^refused|pinned|confirmed)
	fx.regack(topic.id, p.MsgID, mqttsn.Accepted)
}

// packetRegack takes the answer to our REGISTER.
func (s *Session) packetRegack(t instant, p *mqttsn.Regack, fx *Effects) {
	h := &s.hand
	if s.probeAnswered(t, p.MsgID, fx) {
		return
	}
	if h.regMsgID == 0 || h.regMsgID != p.MsgID {
		fx.drop(Unexpected)
		return
	}
	s.answered(t, registering)
	s.proved(fx)
	h.regMsgID = 0
	s.regacked = true
	topic := s.topics.byID(h.topicID)
	switch p.ReturnCode {
	case mqttsn.Accepted:
		if topic != nil {
			s.topicIsNow(topic, topic.is|confirmed)
		}
		h.rounds, h.tries, h.crowded, h.told = 0, 0, false, true
		if s.listening() {
			s.step(t, fx)
		}
	case mqttsn.Congestion: // ![SN-6.10] any rejection means unsubscribe; this one will pass
		h.crowded = true
		s.hold(t)
	default:
		if topic != nil {
			s.renounce(topic, fx)
		}
		s.giveUp(broker.CodeUnspecified, RefusedByClient, fx)
	}
	s.next(t, fx)
}

// renounce takes the rejection of a topic name as unsubscribing from it [SN-6.10]. A
// subscription with wildcards that matches it goes on for other names.
func (s *Session) renounce(topic *topic, fx *Effects) {
	wasSubscribed := topic.is&subscribed != 0
	s.topicIsNow(topic, topic.is&^subscribed|refused)
	if !wasSubscribed {
		return
	}
	s.removeSubscription(topic.name)
	// The client did not ask for it, so nobody waits for the answer.
	fx.request(broker.Request{Op: broker.Unsubscribe, Token: s.nextToken(), Topic: topic.name})
}
