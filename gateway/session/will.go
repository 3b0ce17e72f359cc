package session

import (
	"bytes"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// The gateway keeps the will, since MQTT ties it to one connection and MQTT-SN to the
// session [SN-6.3]: it is given to the broker with each Connect, and with SetWill when
// it changes in between.

// armedWill is the will for the broker: nil unless it has a topic.
func (s *Session) armedWill() *broker.Message {
	if s.will == nil || s.will.Topic == "" {
		return nil
	}
	return s.will
}

// setWill replaces the stored will and tells the broker.
func (s *Session) setWill(w *broker.Message, fx *Effects) {
	before := s.armedWill()
	s.will = w
	after := s.armedWill()
	switch {
	case before == nil && after == nil:
	case s.link == linkOpen:
		fx.request(broker.Request{Op: broker.SetWill, Will: after})
	case s.link == linkOpening && s.kept != nil:
		s.kept.rewill = true
	}
}

// packetWillTopic takes the answer to WILLTOPICREQ, or a copy of it.
func (s *Session) packetWillTopic(t instant, p *mqttsn.WillTopic, fx *Effects) {
	switch {
	case s.state == Connecting:
		fx.drop(Repeated)
	case len(p.Topic) == 0: // deletes the will, and only the will [SN-5.4.7]
		s.setWill(nil, fx)
		s.pendingWill = nil
		s.proceed(t, fx)
	case !s.acceptsWill(p.QoS, p.Topic):
		fx.drop(InvalidTopic)
		s.refuse(t, mqttsn.NotSupported, fx)
	case !s.mayPublish(string(p.Topic)):
		fx.drop(NotAuthorized)
		s.refuse(t, mqttsn.NotSupported, fx)
	default:
		s.pendingWill = &broker.Message{Topic: string(p.Topic), QoS: byte(p.QoS), Retain: p.Retain}
		s.promptWillMsg(t, fx)
	}
}

// packetWillMsg takes the answer to WILLMSGREQ. Only now the stored will is overwritten.
func (s *Session) packetWillMsg(t instant, p *mqttsn.WillMsg, fx *Effects) {
	if s.state != AwaitingWillMsg {
		fx.drop(Repeated)
		return
	}
	w := s.pendingWill
	s.pendingWill = nil
	if !s.mayPublish(w.Topic) {
		fx.drop(NotAuthorized)
		s.refuse(t, mqttsn.NotSupported, fx)
		return
	}
	w.Payload = bytes.Clone(p.Message)
	s.setWill(w, fx)
	s.proceed(t, fx)
}

// repeatsWill reports whether p is a copy of the last packet of the will procedure: for
// the client it is not over before CONNACK has come [SN-6.13].
func (s *Session) repeatsWill(t instant, p mqttsn.Packet) bool {
	switch p.(type) {
	case *mqttsn.WillTopic, *mqttsn.WillMsg:
		return s.wantWill && s.justAccepted(t)
	}
	return false
}

// packetWillTopicUpd changes the will topic, its QoS and Retain flag, and leaves the
// message; the empty form deletes both [SN-6.4].
func (s *Session) packetWillTopicUpd(p *mqttsn.WillTopicUpd, fx *Effects) {
	code := mqttsn.Accepted
	switch {
	case len(p.Topic) == 0:
		s.setWill(nil, fx)
	case !s.acceptsWill(p.QoS, p.Topic):
		fx.drop(InvalidTopic)
		code = mqttsn.NotSupported
	case !s.mayPublish(string(p.Topic)):
		fx.drop(NotAuthorized)
		code = mqttsn.NotSupported
	default:
		w := &broker.Message{Topic: string(p.Topic), QoS: byte(p.QoS), Retain: p.Retain}
		if s.will != nil {
			w.Payload = s.will.Payload
		}
		s.setWill(w, fx)
	}
	fx.send(mqttsn.WillTopicResp{ReturnCode: code}.Append(fx.arena))
}

// packetWillMsgUpd changes the will message and leaves the rest. Without a will topic
// the message waits for one.
func (s *Session) packetWillMsgUpd(p *mqttsn.WillMsgUpd, fx *Effects) {
	w := &broker.Message{Payload: bytes.Clone(p.Message)}
	if old := s.will; old != nil {
		w.Topic, w.QoS, w.Retain = old.Topic, old.QoS, old.Retain
	}
	code := mqttsn.Accepted
	if w.Topic != "" && !s.mayPublish(w.Topic) {
		fx.drop(NotAuthorized)
		code = mqttsn.NotSupported
	} else {
		s.setWill(w, fx)
	}
	fx.send(mqttsn.WillMsgResp{ReturnCode: code}.Append(fx.arena))
}

func (s *Session) acceptsWill(q mqttsn.QoS, topic []byte) bool {
	return q != mqttsn.QoSMinusOne && len(topic) <= s.o.MaxTopicLength && mqttsn.ValidTopicName(topic)
}
