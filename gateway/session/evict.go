package session

import (
	"time"

	"mqttsn-gateway/broker"
)

// Silent reports whether the client has sent its CONNECT and nothing else, from an address that
// it has not proven: it may be nobody.
func (s *Session) Silent() bool {
	switch s.state {
	case AwaitingWillTopic:
		return s.proof.wary && s.link == linkClosed && !s.stored
	case Active, Lost:
		return s.proof.wary && !s.proof.proven && s.quiet
	}
	return false
}

// Lasts reports whether the session outlives its connection, at the broker too.
func (s *Session) Lasts() bool { return s.stored }

// Evict ends the session: somebody else needs the room. Its client is told, if it is connected;
// its will is not published.
func (s *Session) Evict(now time.Time, fx *Effects) {
	t := s.begin(now, fx)
	if s.state == Active {
		fx.disconnect()
	}
	s.hangUp(broker.Disconnect, fx)
	s.wipe(fx)
	s.clean, s.stored = true, false
	s.disconnect(t, fx)
	s.end(fx)
}
