package session

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// The text gives retransmission to clients only [SN-6.13]; a gateway that leaves it out
// loses messages. REGISTER, PUBLISH and PUBREL are sent again after TRetry, NRetry
// times, while the client listens. On radios and serial lines TRetry is where it begins:
// see pace.go.
//
// What then? A sleeper has gone back to sleep. An active client may be out of reach:
// the message stays in hand and nothing is sent until the client shows life, with any
// packet whatever. If it never does, supervision ends the connection.

// maxRounds is how often a whole series of REGISTERs is sent for one message to a
// client that is alive when each but the first begins, and answers nothing or
// "congestion". Some clients do not know REGISTER; and a network that loses three
// packets of ten both ways loses twenty in a row one time in a million.
const maxRounds = 5

// retry acts on that timer.
func (s *Session) retry(t instant, fx *Effects) {
	s.retryAt = 0
	h := &s.hand
	switch {
	case !h.taken():
		s.hand = hand{} // the pause is over
	case int(h.tries) >= s.o.NRetry:
		s.exhausted(t, fx)
	default:
		h.tries++
		s.unanswered()
		s.step(t, fx)
	}
	s.next(t, fx)
	if s.hand.phase == idle {
		s.line.at = 0 // nothing waits: what comes next is not late
	}
}

// exhausted decides about a message that the client has not answered NRetry+1 times.
func (s *Session) exhausted(t instant, fx *Effects) {
	h := &s.hand
	h.tries = 0
	if h.phase != pausing {
		s.line.forget() // it was out of reach; what it will be when it is back is not known
	}
	if h.phase == registering || h.crowded {
		h.rounds++
		if h.rounds >= maxRounds && (h.crowded || !s.regacked) {
			s.mute = !h.crowded
			s.giveUp(broker.CodeUnspecified, Unregistrable, fx)
			return
		}
	}
	switch {
	case s.state == Awake:
		s.fallAsleep(t) // quietly: PINGRESP would say that nothing waits
	case h.phase == proving && h.qos == 0:
		s.giveUp(broker.CodeUnspecified, Unproven, fx)
	case h.qos == 0:
		s.giveUp(broker.CodeUnspecified, Unregistrable, fx)
	}
}

// paused reports whether the message in hand waits for a sign of life.
func (s *Session) paused() bool {
	return s.state == Active && s.hand.phase != idle && s.retryAt == 0
}

// resume begins a new series for the message in hand, and goes on with the queue.
func (s *Session) resume(t instant, fx *Effects) {
	if h := &s.hand; h.taken() {
		h.tries, h.regMsgID = 0, 0
		s.step(t, fx)
	} else {
		s.hand = hand{}
	}
	s.next(t, fx)
}

// hold lets a client that reported congestion alone for TRetry.
func (s *Session) hold(t instant) {
	s.hand.phase, s.hand.regMsgID = pausing, 0
	s.retryAt = 0
	if s.listening() {
		s.retryAt = t.after(s.o.TRetry)
	}
}

// packetPuback takes the answer to a QoS 1 PUBLISH, or a refusal of any [SN-6.10].
func (s *Session) packetPuback(t instant, p *mqttsn.Puback, fx *Effects) {
	h := &s.hand
	switch {
	case p.MsgID == 0:
		s.refusedQoS0(t, p)
		return
	case s.probeAnswered(t, p.MsgID, fx):
		return
	case h.msg == nil || !h.sent || h.msgID != p.MsgID || h.phase == releasing:
		fx.drop(Unexpected)
		return
	}
	s.answered(t, publishing)
	s.acknowledged(fx)
	switch p.ReturnCode {
	case mqttsn.Accepted:
		if h.qos == 2 {
			fx.drop(Unexpected) // only PUBREC accepts QoS 2; it comes with the next copy
			return
		}
		s.done(fx)
	case mqttsn.Congestion:
		s.refused()
		s.hold(t)
	case mqttsn.InvalidTopicID:
		s.correct(t, fx)
	default:
		s.giveUp(broker.CodeUnspecified, RefusedByClient, fx)
	}
	s.next(t, fx)
}

// correct deals with a topic id that the client does not know: the mapping is told
// again, and the message sent once more [SN-6.10].
func (s *Session) correct(t instant, fx *Effects) {
	h := &s.hand
	topic := s.topics.byID(h.topicID)
	switch {
	case h.phase == registering, h.renewed && h.qos == 2 && h.tries == 0:
		// The copy of a refusal that was heard before.
		fx.drop(Repeated)
	case h.form != mqttsn.TopicNormal, h.renewed, topic == nil:
		s.giveUp(broker.CodeUnspecified, RefusedByClient, fx)
	default:
		s.topicIsNow(topic, topic.is&^confirmed)
		h.renewed, h.tries = true, 0
		s.refused()
		if s.listening() {
			s.step(t, fx)
		}
	}
}

// refused prepares the message in hand to be sent once more after a refusal. QoS 1 gets
// a new MsgId, so that a late copy of the refusal is not taken for the answer to it.
// QoS 2 keeps the one it has: the client may yet get and accept a copy that is under way,
// and must know the next for the same message.
func (s *Session) refused() {
	if s.hand.qos < 2 {
		s.hand.msgID, s.hand.sent = 0, false
	}
}

// refusedQoS0 takes the refusal of a QoS 0 message, which is known only by its topic.
func (s *Session) refusedQoS0(t instant, p *mqttsn.Puback) {
	switch p.ReturnCode {
	case mqttsn.Congestion:
		if s.hand.phase == idle || s.hand.phase == pacing {
			s.hold(t)
		}
	case mqttsn.InvalidTopicID:
		if topic := s.topics.byID(p.TopicID); topic != nil {
			s.topicIsNow(topic, topic.is&^confirmed)
		}
	}
}

// packetPubrec takes the first answer to a QoS 2 PUBLISH: the client has the message.
// For one that is not known, PUBREL lets the client finish. One that was on its way before a
// crash is known, but not which message that is: the broker brings it again, and the client
// has to know it until then.
func (s *Session) packetPubrec(t instant, p *mqttsn.Pubrec, fx *Effects) {
	h := &s.hand
	if h.msg == nil || h.qos != 2 || !h.sent || h.msgID != p.MsgID {
		fx.drop(Repeated)
		if !s.owesID(p.MsgID) {
			fx.pubrel(p.MsgID)
		}
		return
	}
	s.acknowledged(fx)
	first := h.phase != releasing
	if first {
		s.answered(t, publishing)
		h.phase, h.tries, h.regMsgID = releasing, 0, 0
		if s.settle(broker.CodeSuccess, fx) {
			s.handWith(fx)
		}
	} else {
		fx.Retransmissions++
	}
	fx.pubrel(h.msgID)
	if s.listening() {
		s.arm(t, first, fx)
	}
}

// packetPubcomp takes the end of a QoS 2 exchange.
func (s *Session) packetPubcomp(t instant, p *mqttsn.Pubcomp, fx *Effects) {
	if s.hand.phase != releasing || s.hand.msgID != p.MsgID {
		fx.drop(Unexpected)
		return
	}
	s.answered(t, releasing)
	s.acknowledged(fx)
	s.done(fx)
	s.next(t, fx)
}
