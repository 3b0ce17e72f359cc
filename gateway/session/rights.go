package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// Rights are what a client may do. What they say may change at any time, and counts from
// then on, for messages that wait already, too.
type Rights interface {
	// MayPublish reports whether the client may publish to a topic.
	MayPublish(topic string) bool
	// MayReceive reports whether the client may be sent a message of a topic.
	MayReceive(topic string) bool
	// MaySubscribe reports whether there is any topic that filter fits and the client may
	// be sent messages of. The filter of a shared subscription has its "$share/NAME/".
	MaySubscribe(filter string) bool
}

// SetRights gives the client rights. Without it, and with nil, it may do everything.
func (s *Session) SetRights(r Rights) { s.rights = r }

func (s *Session) mayPublish(topic string) bool {
	return s.rights == nil || s.rights.MayPublish(topic)
}

func (s *Session) mayReceive(topic string) bool {
	return s.rights == nil || s.rights.MayReceive(topic)
}

func (s *Session) maySubscribe(filter string) bool {
	return s.rights == nil || s.rights.MaySubscribe(filter)
}

// permittedWill is the will for the broker, unless the client may not publish it any more.
func (s *Session) permittedWill(fx *Effects) *broker.Message {
	w := s.armedWill()
	if w != nil && !s.mayPublish(w.Topic) {
		fx.drop(NotAuthorized)
		return nil
	}
	return w
}

// Revoke ends the connection of a client that may have none any more: it is told, and lost.
// What is stored of its session stays.
func (s *Session) Revoke(now time.Time, fx *Effects) {
	if s.state == Disconnected || s.state == Lost {
		return
	}
	t := s.begin(now, fx)
	fx.drop(Revoked)
	switch s.state {
	case Connecting:
		s.refuse(t, mqttsn.NotSupported, fx)
	case AwaitingWillTopic, AwaitingWillMsg:
		fx.connack(mqttsn.NotSupported)
		s.lose(t, fx)
	case Asleep: // is told when it asks
		s.lose(t, fx)
	default:
		fx.disconnect()
		s.lose(t, fx)
	}
	s.end(fx)
}
