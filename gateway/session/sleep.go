package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// packetPingreq answers PINGREQ; for a sleeper it is the wish to be given what waits
// for it [SN-6.14]. Whether it carries the ClientID makes no difference here: the
// caller has found the session by it, or by the peer.
func (s *Session) packetPingreq(t instant, fx *Effects) {
	switch s.state {
	case Active:
		fx.pingresp()
	case Asleep:
		s.wake(t, fx)
	case Awake:
		// The client has heard nothing and asks again: it gets the packet in hand once
		// more. What it has acknowledged is not repeated.
		if s.hand.taken() {
			s.step(t, fx)
		}
		s.next(t, fx)
	}
}

// packetDisconnect takes the wish to sleep, or the end of the connection. A Duration of
// 0 is read as the latter.
func (s *Session) packetDisconnect(t instant, p *mqttsn.Disconnect, fx *Effects) {
	if p.HasDuration && p.Duration > 0 { // ![SN-5.4.21] the field alone means sleep
		s.sleepTime = p.Duration
		s.sleep(t, fx)
		return
	}
	fx.disconnect()
	s.hangUp(broker.Disconnect, fx)
	s.disconnect(t, fx)
}

// sleepDuration is how long the client said it would sleep, within bounds.
func (s *Session) sleepDuration() time.Duration {
	return min(time.Duration(s.sleepTime)*time.Second, s.o.MaxSleep)
}

// endWake tells the client that nothing more waits for it; it is asleep again.
func (s *Session) endWake(t instant, fx *Effects) {
	fx.pingresp()
	s.fallAsleep(t)
}
