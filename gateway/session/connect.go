package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// packetConnect takes a CONNECT, which may come in any state [SN-6.2, 6.3].
func (s *Session) packetConnect(t instant, p *mqttsn.Connect, fx *Effects) {
	switch {
	case p.ProtocolID != mqttsn.ProtocolID || !s.o.AcceptsClientID(p.ClientID):
		fx.drop(Unexpected)
		fx.connack(mqttsn.NotSupported)
		fx.Gone = s.state == Disconnected && !s.stored
		return
	case s.repeats(t, p):
		fx.drop(Repeated)
		if s.state == Active {
			s.acceptAgain(t, fx)
		}
		return
	case s.mayRepeat(t, p):
		s.copied, s.retryAt, s.pendingWill = true, 0, nil
		s.promptWillTopic(t, fx)
		return
	}
	s.copied = false
	// A sleeper that only wants to be active again has its memory, and what it knows of
	// topic ids still holds.
	resumes := (s.state == Asleep || s.state == Awake) && !p.CleanSession && !p.Will
	switch s.state {
	case AwaitingWillTopic, AwaitingWillMsg, Connecting: // the same once more, or another try
	default:
		s.roused = s.state == Asleep || s.state == Awake || s.roused && s.justAccepted(t)
	}
	s.takeOver(p, fx)
	if !resumes {
		s.doubtTopics()
		s.mute, s.hand.renewed, s.hand.told = false, false, false
	}
	s.duration, s.wantClean, s.wantWill = p.Duration, p.CleanSession, p.Will
	s.retryAt, s.pendingWill = 0, nil
	s.forgetAsks()
	s.forgetEchoes()
	if p.Will {
		s.promptWillTopic(t, fx)
		return
	}
	s.proceed(t, fx)
}

// repeats reports whether a CONNECT is a copy of the last, sent because the answer is
// still to come or was lost. A client that wants to be prompted for its will is always
// prompted: see mayRepeat.
func (s *Session) repeats(t instant, p *mqttsn.Connect) bool {
	switch s.state {
	case Connecting:
		return s.equalsLast(p)
	case Active:
		return s.equalsLast(p) && !p.Will && s.justAccepted(t)
	}
	return false
}

// equalsLast reports whether a CONNECT is the same as the last.
func (s *Session) equalsLast(p *mqttsn.Connect) bool {
	same := p.Duration == s.duration && p.CleanSession == s.wantClean && p.Will == s.wantWill
	return same && !s.moved // from elsewhere it may be another client's
}

// mayRepeat reports whether a CONNECT with Will is either a copy of the one that was
// accepted last, which its client knows, or comes from a client that has restarted since, and
// waits for WILLTOPICREQ. It is prompted, and its session is what it is: if it says anything
// but its will it has its CONNACK, and has been active all the time.
func (s *Session) mayRepeat(t instant, p *mqttsn.Connect) bool {
	return p.Will && s.equalsLast(p) && (s.copied || s.justAccepted(t))
}

// justAccepted reports whether CONNACK may have been lost: nothing has been heard since.
func (s *Session) justAccepted(t instant) bool {
	return s.state == Active && s.quiet && t <= s.since.after(s.o.echoes())
}

// acceptAgain repeats CONNACK.
func (s *Session) acceptAgain(t instant, fx *Effects) {
	s.watch(t)
	fx.connack(mqttsn.Accepted)
}

// takeOver settles what becomes of what the session has, by CleanSession [SN-6.3], and
// of an open broker connection. The client is alive, so no will is published.
func (s *Session) takeOver(p *mqttsn.Connect, fx *Effects) {
	if s.link == linkOpening && s.state == Connecting {
		s.hangUp(broker.Disconnect, fx)
	}
	switch {
	case p.CleanSession:
		s.hangUp(broker.Disconnect, fx)
		s.wipe(fx)
		s.clean, s.stored, s.roused = true, false, false
	case s.link == linkClosed:
		s.clean = false
	case s.clean && !s.roused:
		// From now on the session shall outlive its connection, which the broker can
		// only be told with a new one. What it holds for the client is lost to it, so
		// the session keeps what it has and subscribes again.
		s.hangUp(broker.Disconnect, fx)
		s.disown()
		s.clean = false
	}
}

// wipe forgets what belongs to a session, as if the client had never been here.
func (s *Session) wipe(fx *Effects) {
	n := s.queue.len()
	if s.hand.msg != nil {
		n++
	}
	fx.Drops[Cleared] += uint32(n)
	s.unkeep(fx)
	s.queue, s.hand = queue{}, hand{}
	s.topics.wipe()
	s.subs, s.up = nil, nil
	s.will = nil
	s.regacked = false
}

// proceed goes on after the client has said all that it had to say: the connection is
// opened, or if it is open the client is accepted at once.
func (s *Session) proceed(t instant, fx *Effects) {
	if s.link == linkOpen {
		s.activate(t, fx)
		return
	}
	s.openLink(t, fx)
}

// dial asks the broker for a connection.
func (s *Session) dial(clean bool, fx *Effects) {
	s.link = linkOpening
	s.connect = s.nextToken()
	if s.kept != nil {
		s.kept.rewill = false
	}
	fx.request(broker.Request{Op: broker.Connect, Token: s.connect, CleanSession: clean, Will: s.permittedWill(fx)})
}

// connectAnswered takes the broker's answer to Connect.
func (s *Session) connectAnswered(t instant, ev *broker.Event, fx *Effects) {
	if ev.Code.Failed() {
		s.link = linkClosed
		fx.drop(RefusedByBroker)
		s.notOpened(t, ev.Code, fx)
		return
	}
	s.link = linkOpen
	if s.kept != nil && s.kept.rewill {
		s.kept.rewill = false
		fx.request(broker.Request{Op: broker.SetWill, Will: s.permittedWill(fx)})
	}
	if !ev.SessionPresent && s.state != Connecting && s.clean && s.kept != nil && s.kept.persisted {
		// The broker has not kept the clean session, and shall not keep the one that it has
		// made now.
		s.kept.persisted = false
		s.hangUp(broker.Disconnect, fx)
		s.reopen(t, fx)
		return
	}
	if !ev.SessionPresent {
		s.disown()
		for i := range s.subs {
			// Unasked for by the client, so nobody waits for the answer.
			fx.request(broker.Request{
				Op: broker.Subscribe, Token: s.nextToken(), Topic: s.subs[i].filter, QoS: byte(s.subs[i].qos),
			})
		}
	}
	switch s.state {
	case Connecting:
		s.activate(t, fx)
	case Active, Asleep, Awake:
		s.reopened(t, fx)
	}
}

// refuse ends the connect procedure with a reason.
func (s *Session) refuse(t instant, c mqttsn.ReturnCode, fx *Effects) {
	s.hangUp(broker.Disconnect, fx)
	fx.connack(c)
	s.disconnect(t, fx)
}

// hangUp closes the broker connection, if there is one, with Disconnect or Abandon.
func (s *Session) hangUp(op broker.Op, fx *Effects) {
	if s.link == linkClosed {
		return
	}
	fx.request(broker.Request{Op: op})
	s.link = linkClosed
	s.forgetAnswers()
}

// closed takes the end of the connection from the broker's side.
func (s *Session) closed(t instant, code broker.Code, fx *Effects) {
	opening := s.link == linkOpening
	s.link = linkClosed
	s.forgetAnswers()
	if code == broker.CodeTakenOver {
		// The client is connected elsewhere, and gets there what it has not
		// acknowledged here. When it comes back, that is another message.
		s.letGo(fx)
	}
	switch {
	case opening:
		s.notOpened(t, max(code, broker.CodeUnspecified), fx)
	case (s.state == AwaitingWillTopic || s.state == AwaitingWillMsg) && !s.copied:
		s.handBack(fx) // the connect procedure opens a new one
	default:
		// To its address belongs now perhaps the new connection of a client that has
		// moved, which a DISCONNECT would kill. A sleeper is told when it asks.
		if code != broker.CodeTakenOver && s.state != Asleep {
			fx.disconnect()
		}
		s.disconnect(t, fx)
	}
}

// forgetAnswers forgets what the broker would have answered: it will not any more.
func (s *Session) forgetAnswers() {
	s.forgetAsks()
	s.forgetWaiting()
}

// keepAlive is how long a client with a keep alive of that many seconds may be silent;
// 0 for ever.
func (o *Options) keepAlive(seconds uint16) time.Duration {
	if seconds == 0 {
		return o.MaxKeepAlive // ![SN-5.4.4] 0 means unsupervised, but a datagram peer leaves no trace
	}
	return o.tolerate(time.Duration(seconds) * time.Second)
}
