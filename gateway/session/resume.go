package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// After a crash a client that was connected does not know of it. Its session is what it
// was; only the connection with the broker has to be opened again, which takes a moment, or
// for as long as the broker is away. Until then the client is not supervised, what it sends
// for the broker is not answered, so that it sends it again, and a sleeper that asks is told
// after a while that there is nothing.

// Resume begins to serve a session that Load has made: an active or sleeping client is
// connected with the broker again, and supervised from when it is; a session that has
// expired meanwhile is gone.
func (s *Session) Resume(now time.Time, fx *Effects) {
	t := s.begin(now, fx)
	switch s.state {
	case Active, Asleep:
		s.reopen(t, fx)
	default:
		if s.dueAt.due(t) {
			s.overdue(t, fx)
		}
	}
	s.end(fx)
}

// Stored reports whether the store has the session: a client whose session does not survive
// a crash need not be found again either.
func (s *Session) Stored() bool { return s.kept != nil }

// notOpened decides what becomes of the client whose connection the broker has refused. One
// that was connected before a crash waits for another attempt, unless that is no use: a
// broker that is away for as long as we are is no reason to lose a sleeper.
func (s *Session) notOpened(t instant, code broker.Code, fx *Effects) {
	switch s.state {
	case Connecting:
		s.refuse(t, returnCode(code), fx)
	case Active, Asleep, Awake:
		if code.Transient() || code == broker.CodeUnspecified {
			s.reopenLater(t, fx)
			return
		}
		if code != broker.CodeTakenOver && s.state != Asleep {
			fx.disconnect()
		}
		s.disconnect(t, fx)
	}
}

// reopen connects a client with the broker that was connected before a crash. Until that
// has come about it is not supervised, and neither is it lost: the broker may be away.
func (s *Session) reopen(t instant, fx *Effects) {
	s.dueAt = t.after(s.o.patience())
	s.dial(s.clean && !s.kept.persisted, fx)
}

// reopenLater leaves the broker alone for a while. A client that is awake goes on sleeping,
// and asks again.
func (s *Session) reopenLater(t instant, fx *Effects) {
	s.dueAt = t.after(s.o.patience())
	if s.state == Awake {
		s.endWake(t, fx)
	}
}

// reopened goes on with a client that is connected with the broker again. A sleeper that
// has asked already stays awake until its messages had time to come.
func (s *Session) reopened(t instant, fx *Effects) {
	if s.state != Active {
		s.persist(fx)
		s.since = t.after(s.o.redelivery())
	}
	if s.state == Awake {
		s.dueAt, s.since = s.since, t.after(s.o.MaxAwakeTime)
	} else {
		s.watch(t)
	}
	if s.state != Asleep {
		s.resume(t, fx)
	}
}

// asksBroker reports whether a packet leads to a request that the broker has to be
// connected for.
func asksBroker(p mqttsn.Packet) bool {
	switch p.(type) {
	case *mqttsn.Publish, *mqttsn.Subscribe, *mqttsn.Unsubscribe:
		return true
	}
	return false
}
