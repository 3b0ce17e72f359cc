package session

import (
	"strings"

	"mqttsn-gateway/mqttsn"
)

// A datagram over plain UDP says where it comes from, and nobody knows whether that is true.
// So that nobody can have us flood somebody else, a client at such an address (Path.Forgeable)
// is sent at most MaxAmplification times the octets that have come from there, until it
// answers with a number that only who gets our packets can know: the MsgId of a REGISTER or
// PUBLISH. What would be more waits until then.
//
// Direct answers are at most one and a half times as long as what they answer. They are counted
// and never wait; deliveries and their repetitions do.
//
// A MsgId has 16 bits and can be guessed, with 65,536 acknowledgements of 7 octets. So a proof
// is good for proofWorth octets and no more, and acknowledgements count for nothing in what has
// come: guessing costs more than it brings. Whoever acknowledges its messages never notices.
// To others we send a probe in time, which they answer: see probe.

const (
	// proofWorth is how many octets may be sent to an address after each proof.
	proofWorth = 64 << 10
	// proofLow is what must be left of them, or a client that acknowledges nothing is asked
	// for another: it has still room for what comes until it answers.
	proofLow = proofWorth / 4

	// How many octets packets have; PUBLISH without data.
	emptyPublish   = 7
	pubrelSize     = 4
	disconnectSize = 2
)

// proof is what a session knows of the address of its client.
type proof struct {
	at     instant // when the probe that msgID belongs to was sent
	credit int32   // octets that may be sent there
	came   int32   // octets of the packet that is taken
	frame  int32   // octets that each packet to the client has on top
	msgID  uint16  // of a probe that is not answered; 0: there is none
	probes uint8   // sent since the last proof
	wary   bool    // the address may be forged; if not, nothing else here is used
	proven bool    // it has been proven at least once
}

// Heard tells how many octets came with the next packet, what a forwarder has put around it
// included. It matters only where addresses may be forged.
func (s *Session) Heard(octets int) {
	if s.proof.wary {
		s.proof.came = int32(min(octets, proofWorth))
	}
}

// setProof begins with an address of which nothing is known. What has been sent to another
// one proves nothing here, and neither do numbers that can be reckoned from those.
func (s *Session) setProof(p *Path) {
	s.proof = proof{}
	if !p.Forgeable || s.o.MaxAmplification == 0 {
		return
	}
	s.proof = proof{wary: true, credit: int32(min(max(p.Credit, 0), proofWorth)), frame: int32(p.Frame)}
	if p.Seed != 0 {
		s.msgID, s.stride = p.Seed, strideOf(p.Seed)
	}
	s.hand.regMsgID, s.hand.elsewhere = 0, s.hand.msgID != 0
}

// earn takes the octets of a packet as what may be repaid. Acknowledgements count only by
// what they prove, and SEARCHGW is answered by the caller.
func (s *Session) earn(p mqttsn.Packet) {
	came := s.proof.came
	s.proof.came = 0
	switch p.(type) {
	case *mqttsn.Puback, *mqttsn.Pubrec, *mqttsn.Pubcomp, *mqttsn.Regack, *mqttsn.SearchGW:
		return
	}
	s.proof.credit = min(s.proof.credit+came*int32(s.o.MaxAmplification), proofWorth)
}

// charge takes what this step has sent so far off the credit.
func (s *Session) charge(fx *Effects) {
	octets, packets := len(fx.arena), len(fx.ends)
	s.proof.credit -= int32(octets-fx.chargedOctets) + int32(packets-fx.chargedPackets)*s.proof.frame
	fx.chargedOctets, fx.chargedPackets = octets, packets
}

// affords reports whether a packet of n octets may be sent now, and left after it. A DISCONNECT
// can always be sent then.
func (s *Session) affords(n, left int, fx *Effects) bool {
	if !s.proof.wary {
		return true
	}
	s.charge(fx)
	return int32(n+left+disconnectSize)+2*s.proof.frame <= s.proof.credit
}

// proved takes an acknowledgement that the client can only have made of a packet of ours.
func (s *Session) proved(fx *Effects) {
	if !s.proof.wary {
		return
	}
	s.charge(fx)
	p := &s.proof
	p.credit, p.proven, p.probes, p.msgID = max(p.credit, proofWorth), true, 0, 0
}

// acknowledged takes the acknowledgement of the message in hand, which proves something if
// its MsgId has been told to this address alone.
func (s *Session) acknowledged(fx *Effects) {
	if !s.hand.elsewhere {
		s.proved(fx)
	}
}

// awaitProof keeps the message in hand back until its client has proven its address, or more
// has come from there.
func (s *Session) awaitProof(t instant, fx *Effects) {
	if s.hand.phase != proving {
		fx.Unproven++
	}
	s.hand.phase = proving
	s.probe(t, fx)
	if s.retryAt == 0 {
		s.retryAt = t.after(s.o.TRetry)
	}
}

// goOn looks whether the message that waits for a proof may leave by now.
func (s *Session) goOn(t instant, fx *Effects) {
	if s.hand.phase == proving && s.listening() {
		s.step(t, fx)
		s.next(t, fx)
	}
}

// spend is told of a QoS 0 message of n octets that has been sent: nobody acknowledges it, so
// the client is asked for a proof before the next ones would have to wait.
func (s *Session) spend(t instant, n int, fx *Effects) {
	if !s.proof.wary {
		return
	}
	s.charge(fx)
	low := int32(proofLow)
	if !s.proof.proven {
		low = int32(n+s.probeSize()+disconnectSize) + 3*s.proof.frame
	}
	if s.proof.credit < low {
		s.probe(t, fx)
	}
}

// probe asks the client for a proof of its address, unless one is under way: a REGISTER for a
// topic that it subscribed to, which it knows or might be told any time. Some clients do
// not know REGISTER. Every second probe is a PUBLISH with QoS 1 and the topic id 0,
// which nobody has, and is answered with PUBACK "invalid topic id" [SN-6.10].
func (s *Session) probe(t instant, fx *Effects) {
	p := &s.proof
	if !p.wary || p.msgID != 0 && t < p.at.after(s.o.TRetry) {
		return
	}
	var name string
	if p.probes%2 == 0 {
		name = s.probeName()
		if !s.affords(packetSize(4+len(name)), 0, fx) || !s.fits(4+len(name)) {
			name = ""
		}
	}
	if name == "" && !s.affords(emptyPublish, 0, fx) {
		return // the next packet of the client brings more
	}
	if p.msgID == 0 {
		p.msgID = s.nextMsgID()
	}
	if topic := s.probeTopic(name); topic != nil {
		fx.send(mqttsn.Register{TopicID: topic.id, MsgID: p.msgID, TopicName: []byte(name)}.Append(fx.arena))
	} else {
		fx.send(mqttsn.Publish{QoS: mqttsn.QoS1, MsgID: p.msgID}.Append(fx.arena))
	}
	p.at = t
	p.probes++
	fx.Probes++
}

// probeTopic is the topic of a name for a probe; nil if there is none.
func (s *Session) probeTopic(name string) *topic {
	if name == "" {
		return nil
	}
	return s.addTopic(name)
}

// probeName is a topic name of which the client may be sent messages, by its subscriptions;
// "" if it has none by name. It is as long as the filter in SUBSCRIBE, three times which
// is more than enough for it.
func (s *Session) probeName() string {
	for i := range s.subs {
		switch sub := &s.subs[i]; {
		case sub.form != mqttsn.TopicNormal || strings.HasPrefix(sub.filter, "$share/"):
		case sub.plain():
			return sub.filter
		default:
			return strings.Map(func(r rune) rune {
				if r == '+' || r == '#' {
					return '0'
				}
				return r
			}, sub.filter)
		}
	}
	return ""
}

// probeSize is how many octets a QoS 0 message has to leave for a probe.
func (s *Session) probeSize() int {
	for i := range s.subs {
		if sub := &s.subs[i]; sub.form == mqttsn.TopicNormal && !strings.HasPrefix(sub.filter, "$share/") {
			return max(emptyPublish, packetSize(4+len(sub.filter)))
		}
	}
	return emptyPublish
}

// probeAnswered takes the answer to a probe, whatever it says, and reports whether it is one.
func (s *Session) probeAnswered(t instant, msgID uint16, fx *Effects) bool {
	if s.proof.msgID == 0 || s.proof.msgID != msgID {
		return false
	}
	s.proved(fx)
	s.goOn(t, fx)
	return true
}
