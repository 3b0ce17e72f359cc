package session

import (
	"hash/crc32"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// exchange is a QoS 1 or 2 message of the client, by its MsgId: on its way to the
// broker, or waiting for PUBREL, or finished a short while ago.
type exchange struct {
	at      instant // when it was finished
	token   broker.Token
	sum     uint32 // of topic and payload, to tell a copy from another message
	msgID   uint16
	topicID uint16
	qos     mqttsn.QoS
	stage   stage
	orphan  bool // the client may have restarted: no answer before it asks again
	kept    bool // it has a record, or will have one when the broker has the message
}

// stage is how far an exchange has got.
type stage byte

const (
	waiting  stage = iota // for the broker
	received              // by the broker, QoS 2: waiting for PUBREL
	finished
)

// packetPublish passes a message on [SN-6.6]. QoS 1 and 2 are acknowledged when the
// broker has the message, not before.
func (s *Session) packetPublish(t instant, p *mqttsn.Publish, fx *Effects) {
	topic, code := s.publishTopic(p)
	switch {
	case code != mqttsn.Accepted:
		if code == mqttsn.InvalidTopicID {
			fx.drop(UnknownTopic)
		} else {
			fx.drop(InvalidTopic)
		}
		if p.QoS != mqttsn.QoSMinusOne { // ![SN-6.7] its sender expects nothing back
			fx.puback(p.TopicID, p.MsgID, code)
		}
	case p.QoS > mqttsn.QoS0 && p.QoS != mqttsn.QoSMinusOne:
		s.open(t, p, topic, fx)
	case !s.mayPublish(topic):
		s.forbid(p, fx)
	default: // MsgId and DUP mean nothing
		fx.request(broker.Request{Op: broker.Publish, Topic: topic, Payload: p.Data, Retain: p.Retain})
	}
}

// forbid refuses a message that the client may not publish, of any QoS [SN-5.4.13].
func (s *Session) forbid(p *mqttsn.Publish, fx *Effects) {
	fx.drop(NotAuthorized)
	if p.QoS != mqttsn.QoSMinusOne { // ![SN-6.7] its sender expects nothing back
		fx.puback(p.TopicID, p.MsgID, mqttsn.NotSupported)
	}
}

// publishTopic is the topic name that a PUBLISH is for.
func (s *Session) publishTopic(p *mqttsn.Publish) (string, mqttsn.ReturnCode) {
	switch p.TopicIDType {
	case mqttsn.TopicNormal:
		if p.QoS == mqttsn.QoSMinusOne {
			return "", mqttsn.NotSupported // [SN-6.8]
		}
		if topic := s.topics.byID(p.TopicID); topic != nil {
			return topic.name, mqttsn.Accepted
		}
		return "", mqttsn.InvalidTopicID
	case mqttsn.TopicPredefined:
		if name, ok := s.o.Predefined.Name(s.id, p.TopicID); ok {
			return name, mqttsn.Accepted
		}
		return "", mqttsn.InvalidTopicID
	case mqttsn.TopicShort:
		if name := mqttsn.ShortTopicName(p.TopicID); mqttsn.ValidTopicName(name[:]) {
			return shortName(p.TopicID), mqttsn.Accepted
		}
	}
	return "", mqttsn.NotSupported
}

// open takes a QoS 1 or 2 message. Copies are known by MsgId and content and not by
// the DUP flag, which some clients never set. A MsgId that comes with another content
// is another message.
func (s *Session) open(t instant, p *mqttsn.Publish, topic string, fx *Effects) {
	sum := checksum(p)
	x := s.exchangeByID(p.MsgID)
	if x != nil && x.sum == sum && x.qos == p.QoS && s.repeatExchange(t, x, p, fx) {
		fx.drop(Repeated)
		return
	}
	if !s.mayPublish(topic) { // but what the broker has is not refused any more
		s.forbid(p, fx)
		return
	}
	if x == nil {
		if x = s.newExchange(t); x == nil {
			fx.drop(Congestion)
			fx.puback(p.TopicID, p.MsgID, mqttsn.Congestion)
			return
		}
	}
	if x.msgID != p.MsgID || p.QoS != mqttsn.QoS2 {
		s.exchangeOver(x)
	}
	*x = exchange{token: s.nextToken(), sum: sum, msgID: p.MsgID, topicID: p.TopicID, qos: p.QoS}
	fx.request(broker.Request{
		Op: broker.Publish, Token: x.token, Topic: topic, Payload: p.Data, QoS: byte(p.QoS), Retain: p.Retain,
		With: s.exchangeWith(x, fx),
	})
}

// repeatExchange deals with a copy of the message of x, and reports false if it is a new
// message with the same content after all.
func (s *Session) repeatExchange(t instant, x *exchange, p *mqttsn.Publish, fx *Effects) bool {
	recent := t <= x.at.after(s.o.echoes())
	switch {
	case x.stage == waiting:
		x.orphan = false
	case x.stage == received, x.qos == mqttsn.QoS2 && recent:
		// For a finished exchange this is a packet that came late, or a client that
		// uses one MsgId for everything; it gets PUBREC and PUBCOMP either way.
		fx.pubrec(x.msgID)
	case x.qos == mqttsn.QoS1 && p.DUP && recent:
		fx.puback(x.topicID, x.msgID, mqttsn.Accepted)
	default:
		return false
	}
	return true
}

// publishAnswered takes the broker's answer to Publish, and reports false if the token
// is not one of a Publish.
func (s *Session) publishAnswered(t instant, ev *broker.Event, fx *Effects) bool {
	var x *exchange
	for i := range s.up {
		if s.up[i].stage == waiting && s.up[i].token == ev.Token {
			x = &s.up[i]
		}
	}
	if x == nil {
		return false
	}
	code := returnCode(ev.Code)
	topicID, msgID, orphan := x.topicID, x.msgID, x.orphan
	switch {
	case code != mqttsn.Accepted:
		fx.drop(RefusedByBroker)
		s.removeExchange(msgID)
	case x.qos == mqttsn.QoS1:
		x.stage, x.at = finished, t
	default:
		x.stage = received
		if s.kept != nil && !x.kept { // it was asked for before the session was kept
			s.kept.exchanges = append(s.kept.exchanges, msgID)
		}
	}
	switch {
	case orphan:
	case x.qos == mqttsn.QoS2 && code == mqttsn.Accepted:
		fx.pubrec(msgID)
	default: // PUBACK refuses a message of any QoS [SN-5.4.13]
		fx.puback(topicID, msgID, code)
	}
	return true
}

// packetPubrel ends a QoS 2 exchange. One that is not known has ended before: PUBCOMP
// lets the client finish.
func (s *Session) packetPubrel(t instant, p *mqttsn.Pubrel, fx *Effects) {
	switch x := s.exchangeByID(p.MsgID); {
	case x == nil || x.stage == finished:
		fx.drop(Repeated)
	case x.stage == waiting:
		fx.drop(Unexpected) // a copy from an exchange before: PUBREC has not been sent
		return
	default:
		x.stage, x.at = finished, t
		s.exchangeOver(x)
	}
	fx.pubcomp(p.MsgID)
}

func (s *Session) exchangeByID(msgID uint16) *exchange {
	for i := range s.up {
		if s.up[i].msgID == msgID {
			return &s.up[i]
		}
	}
	return nil
}

// newExchange returns room for an exchange, nil if there is none. What is over gives
// way: QoS 1, of which only the last needs to be remembered, and QoS 2 from which no
// copies can come any more. If there is no room without, so does the oldest finished
// QoS 2, and then the oldest that waits for PUBREL: the client, which may have one
// exchange at a time [SN-6.6], has left it behind.
func (s *Session) newExchange(t instant) *exchange {
	over := t.after(-s.o.echoes())
	oldest, left := -1, -1
	for i := range s.up {
		switch x := &s.up[i]; {
		case x.stage == finished && (x.qos == mqttsn.QoS1 || x.at < over):
			return s.reuse(i)
		case x.stage == finished && oldest < 0:
			oldest = i
		case x.stage == received && left < 0:
			left = i
		}
	}
	switch {
	case len(s.up) < s.o.MaxInflightUp:
		s.up = append(s.up, exchange{})
		return &s.up[len(s.up)-1]
	case oldest >= 0:
		return s.reuse(oldest)
	case left >= 0:
		return s.reuse(left)
	}
	return nil
}

// reuse gives the place of an exchange to a new one, at the end: the oldest come first.
func (s *Session) reuse(i int) *exchange {
	s.exchangeOver(&s.up[i])
	copy(s.up[i:], s.up[i+1:])
	return &s.up[len(s.up)-1]
}

func (s *Session) removeExchange(msgID uint16) {
	s.forgetExchanges(func(x *exchange) bool { return x.msgID == msgID })
}

// forgetWaiting forgets what the broker will not answer any more. The client sends it
// again.
func (s *Session) forgetWaiting() {
	s.forgetExchanges(func(x *exchange) bool { return x.stage == waiting })
}

// forgetEchoes prepares for a client that may have restarted and counts its MsgIds from
// the start: what it sends is new, unless it is an open exchange to the octet. What
// waits for PUBREL belongs to the session, and stays.
func (s *Session) forgetEchoes() {
	s.forgetExchanges(func(x *exchange) bool { return x.stage == finished })
	for i := range s.up {
		s.up[i].orphan = s.up[i].stage == waiting
	}
}

func (s *Session) forgetExchanges(f func(*exchange) bool) {
	kept := s.up[:0]
	for i := range s.up {
		if f(&s.up[i]) {
			s.exchangeOver(&s.up[i])
		} else {
			kept = append(kept, s.up[i])
		}
	}
	s.up = kept
	if len(kept) == 0 {
		s.up = nil
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is over what makes a message.
func checksum(p *mqttsn.Publish) uint32 {
	head := uint32(p.TopicIDType)<<17 | uint32(p.TopicID)
	if p.Retain {
		head |= 1 << 16
	}
	return crc32.Update(head, castagnoli, p.Data)
}

// shortNames holds the names of all short topics, one after the other, so that a PUBLISH
// to one makes no new string.
var shortNames = func() string {
	b := make([]byte, 0, 2<<16)
	for id := range 1 << 16 {
		b = append(b, byte(id>>8), byte(id))
	}
	return string(b)
}()

func shortName(id uint16) string { return shortNames[2*int(id) : 2*int(id)+2] }
