package session

import (
	"strings"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// hand is the one message that the client is being given: its REGISTER or its PUBLISH
// waits for an answer. All others queue behind it.
type hand struct {
	delivery
	msgID    uint16 // of its PUBLISH, the same for every copy; 0 before the first
	regMsgID uint16 // of the REGISTER that waits for REGACK
	topicID  uint16 // of REGISTER or PUBLISH, if form is normal
	form     mqttsn.TopicIDType
	phase    phase
	tries    uint8 // how often the packet that waits for an answer was sent again
	rounds   uint8 // how often REGISTER was given up
	sent     bool  // a PUBLISH with msgID has been sent
	renewed  bool  // the client did not know the topic id, and is told again
	told     bool  // and has answered REGACK
	crowded  bool  // the client answered REGISTER with "congestion"
	acked    bool  // the broker was told that the client has it
	once     bool  // no copy of the packet that waits for an answer was sent before; paced lines only
	// elsewhere: msgID was told to another address, and who knows it proves nothing here.
	elsewhere bool
}

// taken reports whether something is in hand: a message, or since a crash only its PUBREL.
func (h *hand) taken() bool { return h.msg != nil || h.phase == releasing }

// phase is what the message in hand waits for.
type phase byte

const (
	idle        phase = iota // nothing is in hand
	registering              // REGACK
	publishing               // PUBACK or PUBREC
	releasing                // PUBCOMP
	pausing                  // the client to have room again; maybe with no message in hand
	pacing                   // the line to be free, with no message in hand
	proving                  // the client to prove its address
)

// delivered takes a message of the broker.
func (s *Session) delivered(t instant, ev *broker.Event, fx *Effects) {
	d := delivery{msg: ev.Message, token: ev.Token, qos: min(ev.QoS, 2), retain: ev.Retain, owned: ev.QoS > 0}
	if h := &s.hand; d.owned && h.taken() && h.owned && h.token == d.token {
		// The same message again, after a new connection: it keeps its MsgId.
		fx.drop(Redelivered)
		if h.acked {
			h.acked = false
			if s.settle(broker.CodeSuccess, fx) {
				s.handWith(fx)
			}
		}
		return
	}
	if s.hand.phase == idle && s.queue.len() == 0 && s.listening() && !s.holding() {
		s.take(d)
		s.step(t, fx)
		return
	}
	s.enqueue(t, d, fx)
}

// enqueue adds a message to the queue. What has expired and QoS 0 make room; if that is
// not enough, QoS 1 and 2 are refused to the broker: the limit is there to save the gateway.
func (s *Session) enqueue(t instant, d delivery, fx *Effects) {
	o := s.o
	if !s.mayReceive(d.msg.Topic) {
		s.refuseDelivery(&d, broker.CodeNotAuthorized, Withheld, fx)
		return
	}
	if !s.fits(5 + len(d.msg.Payload)) {
		s.refuseDelivery(&d, broker.CodePacketTooLarge, TooLarge, fx) // no use to keep it
		return
	}
	if s.queue.len() >= o.MaxQueuedMessages || int(s.queue.bytes)+d.size() > o.MaxQueuedBytes {
		s.purge(t, fx)
	}
	if d.qos == 0 && s.queue.qos0 >= int32(o.MaxQueuedQoS0) {
		fx.drop(QoS0Overflow)
		if !s.queue.dropQoS0() {
			return
		}
	}
	for s.queue.len() >= o.MaxQueuedMessages || int(s.queue.bytes)+d.size() > o.MaxQueuedBytes {
		if d.size() > o.MaxQueuedBytes || !s.queue.dropQoS0() {
			s.refuseDelivery(&d, broker.CodeQuota, QueueFull, fx)
			return
		}
		fx.drop(QoS0Overflow)
	}
	s.queue.push(d)
}

// purge drops what has expired while it waited.
func (s *Session) purge(t instant, fx *Effects) {
	if s.queue.mortal == 0 {
		return
	}
	s.queue.keep(func(d *delivery) bool {
		if !s.expired(t, d.msg) {
			return true
		}
		s.refuseDelivery(d, broker.CodeUnspecified, Expired, fx)
		return false
	})
}

func (s *Session) expired(t instant, m *broker.Message) bool {
	return !m.Expires.IsZero() && s.clock(m.Expires) <= t
}

// refuseDelivery drops a message that is not to be in the queue.
func (s *Session) refuseDelivery(d *delivery, code broker.Code, why Reason, fx *Effects) {
	fx.drop(why)
	if d.owned {
		fx.request(broker.Request{Op: broker.Ack, Token: d.token, Code: code})
		if s.forgetOwed(d) {
			s.handWith(fx)
		}
	}
}

// listening reports whether the client may be sent messages.
func (s *Session) listening() bool { return s.state == Active || s.state == Awake }

// next goes on with the queue, one QoS 1 or 2 message at a time, and no faster than the
// line. When there is no more for a client that was woken, or it has had its share, it is
// told so [SN-6.14].
func (s *Session) next(t instant, fx *Effects) {
	if !s.listening() || s.holding() {
		return
	}
	for s.hand.phase == idle {
		if s.state == Awake && (s.drainLeft <= 0 || t >= s.since) {
			break
		}
		if s.line.busy(t) {
			s.yield()
			break
		}
		d, ok := s.queue.pop()
		if !ok {
			break
		}
		s.drainLeft--
		s.take(d)
		s.step(t, fx)
	}
	if s.state == Awake && s.hand.phase == idle && (s.dueAt == 0 || s.drainLeft <= 0 || t >= s.since) {
		s.endWake(t, fx)
	}
}

// step sends what the message in hand needs next: PUBREL, or REGISTER if the client does
// not know the topic id [SN-6.10], or PUBLISH. A message that cannot be delivered leaves
// the hand.
func (s *Session) step(t instant, fx *Effects) {
	h := &s.hand
	if h.phase == releasing {
		if s.affords(pubrelSize, 0, fx) {
			fx.Retransmissions++
			fx.pubrel(h.msgID)
		}
		s.arm(t, false, fx)
		return
	}
	if !h.sent && s.expired(t, h.msg) { // [MQTT-3.3.2-5]
		s.giveUp(broker.CodeUnspecified, Expired, fx)
		return
	}
	if !s.mayReceive(h.msg.Topic) { // the right may be gone since it was queued, or sent first
		s.giveUp(broker.CodeNotAuthorized, Withheld, fx)
		return
	}
	a := s.address(h.msg.Topic)
	h.form, h.topicID = a.form, a.id
	switch {
	case a.refused:
		s.giveUp(broker.CodeUnspecified, RefusedByClient, fx)
	case a.full:
		s.giveUp(broker.CodeQuota, TopicTableFull, fx)
	case a.known && (h.told || !h.renewed): // a SUBACK since then may have been lost, too
		s.sendPublish(t, fx)
	case s.mute:
		s.giveUp(broker.CodeUnspecified, Unregistrable, fx)
	default:
		s.sendRegister(t, fx)
	}
}

func (s *Session) sendRegister(t instant, fx *Effects) {
	h := &s.hand
	if !s.fits(4 + len(h.msg.Topic)) {
		s.giveUp(broker.CodePacketTooLarge, TooLarge, fx)
		return
	}
	if !s.affords(packetSize(4+len(h.msg.Topic)), 0, fx) {
		s.awaitProof(t, fx)
		return
	}
	first := h.regMsgID == 0
	if first {
		h.regMsgID = s.nextMsgID()
	} else {
		fx.Retransmissions++
	}
	h.phase = registering
	fx.send(mqttsn.Register{TopicID: h.topicID, MsgID: h.regMsgID, TopicName: []byte(h.msg.Topic)}.Append(fx.arena))
	s.arm(t, first, fx)
}

func (s *Session) sendPublish(t instant, fx *Effects) {
	h := &s.hand
	if !s.fits(5 + len(h.msg.Payload)) {
		s.giveUp(broker.CodePacketTooLarge, TooLarge, fx)
		return
	}
	left := 0
	if h.qos == 0 && s.proof.wary {
		left = s.probeSize()
	}
	if !s.affords(packetSize(5+len(h.msg.Payload)), left, fx) {
		s.awaitProof(t, fx)
		return
	}
	if h.qos > 0 && h.msgID == 0 {
		h.msgID, h.elsewhere = s.nextMsgID(), false
	}
	if h.sent {
		fx.Retransmissions++
	}
	fx.send(mqttsn.Publish{
		DUP:         h.sent && !s.o.NoDUP, // DUP is per hop: the broker's means nothing here
		QoS:         mqttsn.QoS(h.qos),
		Retain:      h.retain,
		TopicIDType: h.form,
		TopicID:     h.topicID,
		MsgID:       h.msgID,
		Data:        h.msg.Payload,
	}.Append(fx.arena))
	if h.qos == 0 {
		s.spend(t, packetSize(5+len(h.msg.Payload)), fx)
		s.done(fx)
		if s.line.rate > 0 {
			s.pace(t, fx)
		}
		return
	}
	first := !h.sent
	h.phase, h.sent = publishing, true
	s.arm(t, first, fx)
}

// fits reports whether a packet with a body of n octets is within the MTU.
func (s *Session) fits(n int) bool { return packetSize(n) <= int(s.mtu) }

// packetSize is how many octets a packet has with a body of n.
func packetSize(n int) int {
	if n > 255-2 {
		n += 2 // the Length takes 3 octets [SN-5.2.1]
	}
	return n + 2
}

// address is how a topic is addressed to the client.
type address struct {
	form    mqttsn.TopicIDType
	id      uint16
	known   bool // to the client; else REGISTER comes first
	refused bool // by the client
	full    bool // no topic id is left
}

// address finds the form in which the client subscribed to a topic [SN-6.10]. What only
// matches a filter with wildcards gets a normal id, but for a short topic, which needs
// no REGISTER [SN-6.7].
func (s *Session) address(name string) address {
	topic := s.topics.use(name)
	if topic == nil || topic.is&subscribed == 0 {
		for i := range s.subs {
			if sub := &s.subs[i]; sub.form != mqttsn.TopicNormal && sub.filter == name {
				return address{form: sub.form, id: sub.id, known: true}
			}
		}
		if id, ok := mqttsn.ShortTopic(name); ok && s.o.ShortTopicsForWildcards {
			return address{form: mqttsn.TopicShort, id: id, known: true} // ![SN-6.9]
		}
	}
	if topic == nil {
		// A copy, for the message's name may be part of something larger.
		if topic = s.addTopic(strings.Clone(name)); topic == nil {
			return address{full: true}
		}
	}
	return address{id: topic.id, known: topic.is&confirmed != 0, refused: topic.is&refused != 0}
}

// settle tells the broker what has become of the message in hand, once, and reports
// whether it did so now.
func (s *Session) settle(code broker.Code, fx *Effects) bool {
	h := &s.hand
	if !h.owned || h.acked {
		return false
	}
	h.acked = true
	fx.request(broker.Request{Op: broker.Ack, Token: h.token, Code: code})
	return true
}

// done ends the delivery of the message in hand.
func (s *Session) done(fx *Effects) {
	if s.hand.msg != nil {
		fx.Delivered++
	}
	s.settle(broker.CodeSuccess, fx)
	s.hand, s.retryAt = hand{}, 0
}

// giveUp ends the message in hand without delivery. The broker is told, or its window
// would never move again.
func (s *Session) giveUp(code broker.Code, why Reason, fx *Effects) {
	fx.drop(why)
	settled := s.settle(code, fx)
	s.hand, s.retryAt = hand{}, 0
	if settled {
		s.handWith(fx)
	}
}

// handBack leaves to the broker what it will deliver again after the next connection.
// The client may have seen the message in hand, so its MsgId is kept: if it comes again,
// it is the same. What the broker does not have stays too.
func (s *Session) handBack(fx *Effects) {
	s.retryAt = 0
	s.queue.keep(func(d *delivery) bool {
		switch {
		case d.qos == 0:
			fx.drop(Disconnection)
		case d.owned:
			fx.Returned++
		default:
			return true
		}
		return false
	})
	switch h := &s.hand; {
	case !h.taken():
		s.hand = hand{}
	case h.qos == 0:
		fx.drop(Disconnection)
		s.hand = hand{}
	case h.msgID == 0 && h.owned:
		fx.Returned++
		s.hand = hand{}
	}
}

// letGo gives the message in hand up to the broker: the client gets it elsewhere.
func (s *Session) letGo(fx *Effects) {
	if k := s.kept; k != nil {
		k.letGo()
	}
	if s.hand.phase == releasing {
		s.done(fx) // the client has it
		return
	}
	s.hand.msgID, s.hand.sent = 0, false
}

// disown keeps all deliveries as the session's own: the broker has forgotten its
// session, and its tokens mean nothing any more.
func (s *Session) disown() {
	s.queue.keep(func(d *delivery) bool {
		d.owned = false
		return true
	})
	s.hand.owned = false
	s.disownOwed()
}
