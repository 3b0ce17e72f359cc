package session

import (
	"slices"

	"mqttsn-gateway/gateway/store"
)

// A QoS 2 message on its way to the client has a record from before its first PUBLISH until
// PUBCOMP. After a crash the broker brings it again, or has handed it over for good: then
// only PUBREL is left to be sent, and that comes before anything else.

// maxOwed bounds how many messages are owed; what is
// beyond it would get a new MsgId.
const maxOwed = 8

// recordHand writes which QoS 2 message the client may have seen, and under which MsgId. If
// the broker does not have it, then after a crash nobody does: all that can be done is to
// release the MsgId.
func (s *Session) recordHand(fx *Effects) {
	k, h := s.kept, &s.hand
	var now handRecord
	if h.taken() && h.qos == 2 && h.msgID != 0 {
		now = handRecord{token: h.token, msgID: h.msgID, releasing: h.phase == releasing || !h.owned}
	}
	if now != k.hand {
		if k.hand.msgID != 0 && k.hand.msgID != now.msgID {
			k.hands = append(k.hands, k.hand.msgID)
		}
		k.hand = now
		if now.msgID != 0 {
			start := len(fx.values)
			fx.values = now.append(fx.values)
			fx.put(store.SessionHand, s.id, uint64(now.msgID), start)
		}
	}
	for _, id := range k.hands {
		fx.erase(store.SessionHand, s.id, uint64(id))
	}
	k.hands = k.hands[:0]
}

// handWith lets the record of the hand become durable together with the request made last.
func (s *Session) handWith(fx *Effects) {
	if s.kept != nil {
		n := len(fx.Records)
		s.recordHand(fx)
		fx.enclose(n)
	}
}

// take takes a message into the hand. One that was there before a crash keeps its MsgId, and
// counts as sent.
func (s *Session) take(d delivery) {
	s.hand = hand{delivery: d}
	if k := s.kept; k != nil && len(k.owed) > 0 {
		s.recall()
	}
}

func (s *Session) recall() {
	k, h := s.kept, &s.hand
	i := k.owes(&h.delivery)
	if i < 0 {
		return
	}
	if k.hand.msgID != 0 {
		k.hands = append(k.hands, k.hand.msgID)
	}
	k.hand = k.owed[i]
	h.msgID, h.sent = k.hand.msgID, true
	k.owed = slices.Delete(k.owed, i, i+1)
}

// owes is where among those owed a message is, or negative.
func (k *kept) owes(d *delivery) int {
	return slices.IndexFunc(k.owed, func(r handRecord) bool { return d.owned && d.qos == 2 && r.token == d.token })
}

// forgetOwed ends a message that is owed: the client will not get it.
func (s *Session) forgetOwed(d *delivery) bool {
	k := s.kept
	if k == nil {
		return false
	}
	i := k.owes(d)
	if i >= 0 {
		k.hands = append(k.hands, k.owed[i].msgID)
		k.owed = slices.Delete(k.owed, i, i+1)
	}
	return i >= 0
}

// letGo forgets what is owed: the client gets it elsewhere.
func (k *kept) letGo() {
	for _, r := range k.owed {
		k.hands = append(k.hands, r.msgID)
	}
	k.owed = nil
}

// disownOwed gives up waiting for what is owed, because the broker does not know it any
// more. Of the latest the client may still wait for PUBREL.
func (s *Session) disownOwed() {
	k := s.kept
	if k == nil || len(k.owed) == 0 {
		return
	}
	last := len(k.owed) - 1
	if s.hand.phase == idle {
		s.hand = hand{delivery: delivery{qos: 2}, msgID: k.owed[last].msgID, phase: releasing, sent: true, acked: true}
	}
	k.owed = slices.DeleteFunc(k.owed, func(r handRecord) bool { return r.msgID == s.hand.msgID })
	k.letGo()
}

// inUse reports whether a MsgId of ours stands for a message.
func (s *Session) inUse(msgID uint16) bool {
	if msgID == s.hand.msgID || msgID == s.hand.regMsgID || msgID == s.proof.msgID {
		return true
	}
	return s.owesID(msgID)
}

// owesID reports whether a MsgId of ours stands for a message that is owed.
func (s *Session) owesID(msgID uint16) bool {
	return s.kept != nil && slices.ContainsFunc(s.kept.owed, func(r handRecord) bool { return r.msgID == msgID })
}
