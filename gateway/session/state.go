package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/mqttsn"
)

// State is the state of a client [SN-6.14], with the steps of the connect procedure
// [SN-6.2] as states of their own.
type State byte

// The states.
const (
	// Disconnected: the client has said goodbye, or was never accepted. The zero State.
	Disconnected State = iota
	// AwaitingWillTopic: CONNECT has come, WILLTOPIC is to come.
	AwaitingWillTopic
	// AwaitingWillMsg: WILLTOPIC has come, WILLMSG is to come.
	AwaitingWillMsg
	// Connecting: the broker is to answer.
	Connecting
	// Active: messages flow both ways.
	Active
	// Asleep: messages wait for the client.
	Asleep
	// Awake: the client is asleep, and collects what waits for it.
	Awake
	// Lost: the client was silent for too long.
	Lost

	// States is how many states there are.
	States = int(iota)
)

var stateNames = [States]string{
	"disconnected", "awaiting_will_topic", "awaiting_will_msg", "connecting", "active", "asleep", "awake", "lost",
}

// String is the state's name in the specification, if it has one there.
func (s State) String() string { return stateNames[s] }

// The functions below are the only ones that change the state. Each sets the deadline
// that belongs to it.

// promptWillTopic asks for the will topic. Its loss is the client's to repair: it sends
// CONNECT again [SN-6.13].
func (s *Session) promptWillTopic(t instant, fx *Effects) {
	s.state = AwaitingWillTopic
	s.dueAt = t.after(s.o.patience())
	fx.send(mqttsn.WillTopicReq{}.Append(fx.arena))
}

// promptWillMsg asks for the will message.
func (s *Session) promptWillMsg(t instant, fx *Effects) {
	s.state = AwaitingWillMsg
	s.dueAt = t.after(s.o.patience())
	fx.send(mqttsn.WillMsgReq{}.Append(fx.arena))
}

// openLink asks the broker for a connection.
func (s *Session) openLink(t instant, fx *Effects) {
	s.state = Connecting
	s.dueAt = t.after(s.o.patience())
	if s.link == linkOpening {
		return // as it is since a crash
	}
	if s.kept != nil {
		s.kept.persisted = false
	}
	s.dial(s.clean, fx)
}

// restore makes the session what it was before a crash. It is not supervised before it is
// resumed.
func (s *Session) restore(r *stateRecord, t instant, now time.Time) {
	s.state = recordStates[r.mode]
	s.clean, s.stored = r.flags&recordClean != 0, r.flags&recordStored != 0
	s.regacked, s.mute = r.flags&recordRegacked != 0, r.flags&recordMute != 0
	s.duration, s.sleepTime, s.topics.last, s.will = r.duration, r.sleepTime, r.topicID, r.will
	if planted.LoseWill {
		s.will = nil
	}
	s.kept = &kept{written: true, epoch: r.epoch, persisted: r.flags&recordPersisted != 0}
	switch s.state {
	case Active:
		s.silence = s.o.keepAlive(s.duration)
		// A clean session has records since its client slept, which may not have heard the
		// CONNACK that it came back with.
		s.roused, s.quiet, s.since = s.clean, s.clean, t
	case Asleep:
		s.silence = s.o.tolerate(s.sleepDuration())
	default:
		s.dueAt = s.expiry(r.expiry, t, now)
	}
	s.kept.was = keptState{stateRecord: *r, due: s.dueAt}
	s.kept.was.expiry = 0
}

// expiry is when a session expires whose record says ms. A clock that was wrong then, or is
// wrong now, keeps nothing longer than it is kept from now on.
func (s *Session) expiry(ms int64, t instant, now time.Time) instant {
	if s.o.Expiry == 0 {
		return 0
	}
	left := s.o.Expiry
	if ms != 0 {
		left = min(left, max(0, time.UnixMilli(ms).Sub(now)))
	}
	return t.after(left)
}

// reactivate goes on with a client that was prompted for its will though it was active,
// and was heard at t.
func (s *Session) reactivate(t instant) {
	s.state, s.copied, s.pendingWill = Active, false, nil
	s.watch(t)
}

// activate accepts the client and goes on with what is in hand and in the queue. CONNACK
// is the first packet that the client gets.
func (s *Session) activate(t instant, fx *Effects) {
	s.state = Active
	s.since, s.quiet, s.copied = t, true, false
	s.stored = s.stored || !s.clean
	if s.stored {
		s.keep()
	}
	s.silence = s.o.keepAlive(s.duration)
	s.watch(t)
	fx.connack(mqttsn.Accepted)
	s.resume(t, fx)
}

// sleep answers a DISCONNECT with Duration. What is in hand stays there; nothing is sent
// to the client until it asks.
func (s *Session) sleep(t instant, fx *Effects) {
	s.state = Asleep
	s.silence = s.o.tolerate(s.sleepDuration())
	s.retryAt, s.since = 0, 0
	s.watch(t)
	s.keep()
	s.persist(fx)
	fx.disconnect()
}

// wake starts to hand over what waits for a sleeping client. Nothing supervises it in
// this state [SN-6.14], but every step has its own bound: the packet in hand its
// retransmissions, the whole its number of messages and its time.
func (s *Session) wake(t instant, fx *Effects) {
	s.state = Awake
	if planted.PingrespFirst {
		fx.pingresp()
	}
	switch {
	case s.link == linkClosed:
		s.reopen(t, fx)
	case s.link == linkOpening:
		s.dueAt = t.after(s.o.patience())
	case t < s.since:
		s.dueAt = s.since
	default:
		s.dueAt = 0
	}
	s.since = t.after(s.o.MaxAwakeTime)
	s.drainLeft = int32(min(max(s.o.MaxAwakeMessages, s.queue.len()), 1<<30))
	s.resume(t, fx)
}

// fallAsleep ends the wake of a client and starts its sleep timer anew [SN-6.14].
func (s *Session) fallAsleep(t instant) {
	s.state, s.since = Asleep, 0
	s.watch(t)
}

// disconnect ends the connection; the link is closed already. A session that outlives it
// is kept, and not supervised [SN-6.14] but for its expiry.
func (s *Session) disconnect(t instant, fx *Effects) {
	s.state = Disconnected
	s.rest(t, fx)
}

// lose ends the connection of a client that is silent for too long: the broker publishes
// its will.
func (s *Session) lose(t instant, fx *Effects) {
	open := s.link != linkClosed
	publishes := s.armedWill() == nil || s.mayPublish(s.will.Topic)
	if publishes {
		s.hangUp(broker.Abandon, fx)
	} else {
		fx.drop(NotAuthorized)
		s.hangUp(broker.Disconnect, fx)
	}
	s.state = Lost
	s.rest(t, fx)
	if open && publishes {
		s.allWith(fx) // so that the will is published once
	}
}

// rest is what Disconnected and Lost have in common. A session with CleanSession set ends
// with its connection, and one that was never accepted leaves nothing.
func (s *Session) rest(t instant, fx *Effects) {
	s.dueAt, s.since, s.pendingWill, s.copied = 0, 0, nil, false
	s.handBack(fx)
	switch {
	case !s.stored || s.clean:
		fx.Gone = true
	case s.o.Expiry > 0:
		s.dueAt = t.after(s.o.Expiry)
	}
}

// overdue acts on the deadline of the state.
func (s *Session) overdue(t instant, fx *Effects) {
	s.dueAt = 0
	switch s.state {
	case AwaitingWillTopic, AwaitingWillMsg:
		switch {
		case s.copied: // it has its CONNACK, and nothing to say
			s.reactivate(t.after(-s.o.patience()))
			if s.dueAt.due(t) {
				s.overdue(t, fx)
				return
			}
			s.resume(t, fx)
		case s.link != linkClosed:
			s.lose(t, fx) // it has given up
		default:
			s.disconnect(t, fx)
		}
	case Connecting:
		s.refuse(t, mqttsn.Congestion, fx)
	case Active, Asleep, Awake:
		s.overdueConnected(t, fx)
	case Disconnected, Lost:
		fx.Gone = true
	}
}

// overdueConnected is overdue for a client that has a connection. Without one to the broker
// since a crash, that is tried again.
func (s *Session) overdueConnected(t instant, fx *Effects) {
	switch {
	case s.link != linkOpen:
		s.hangUp(broker.Disconnect, fx)
		s.reopen(t, fx)
		if s.state == Awake {
			s.endWake(t, fx) // it asks again
		}
	case s.state == Awake:
		s.next(t, fx) // nothing more has come
	case s.state == Active:
		fx.disconnect() // the client may hear us and learn that it has to CONNECT
		s.lose(t, fx)
	default:
		s.lose(t, fx)
	}
}

// heard takes a packet as a sign of life.
func (s *Session) heard(t instant) {
	s.quiet = false
	if s.state != Awake {
		s.watch(t)
	}
}

// watch starts the supervision of an active or sleeping client anew, if it is connected.
func (s *Session) watch(t instant) {
	if s.link != linkOpen {
		return
	}
	s.dueAt = 0
	if s.silence > 0 {
		s.dueAt = t.after(s.silence)
	}
}
