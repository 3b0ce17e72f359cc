package embedded

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
)

// Rights are asked for where a message is about to go on, never before: at PUBLISH, when a
// will is published, for each receiver, and again when what was queued or retained is sent.
// So a reload holds from the next message on, and nobody has to look for what it changes.
//
// They are asked with the broker's topic, mount point included, as with Mosquitto: one file
// has the rights of all listeners. The rights of devices are looked at in their sessions of
// the gateway; here they receive everything that they have subscribed to alone.

// origin is who has published a message, as far as it matters later: retained messages and
// wills have it. All messages of a connection share one. It is nil where nobody has rights,
// and for the broker's own.
type origin struct {
	user   string // "" is an anonymous client
	rights *auth.Rights
}

// originOf is the origin of what a client publishes.
func (b *Broker) originOf(clientID, user string) *origin {
	access := b.options.Access
	if access == nil {
		return nil
	}
	return &origin{user: user, rights: access.Rights(auth.Subject{Client: clientID, User: user})}
}

// leave notes where a message comes from of which somebody will ask later. Nobody else has the
// message yet.
func (m *message) leave(o *origin) {
	if o != nil {
		m.shared = &shared{origin: o}
	}
}

// origin is where the message comes from, if it is a retained one or a will.
func (m *message) origin() *origin {
	if m.shared == nil {
		return nil
	}
	return m.shared.origin
}

// mayPublish reports whether the publisher may publish there, at this moment.
func (o *origin) mayPublish(topic string) bool {
	return o == nil || o.rights == nil || o.rights.MayPublish(topic)
}

// mayReceive reports whether the client may be sent messages of a topic. The caller holds
// s.mu.
func (s *session) mayReceive(topic string) bool {
	return s.ties == nil || s.ties.rights == nil || s.ties.rights.MayReceive(topic)
}

// mayReplay reports whether a retained message may be sent to a client with these rights: by
// them, and because its publisher might still publish it. Else who has lost that right would
// keep on speaking to all who come.
func (m *message) mayReplay(to *auth.Rights) bool {
	return (to == nil || to.MayReceive(m.Topic)) && m.origin().mayPublish(m.Topic)
}

// maySubscribe judges a filter by the client's rights: it is refused if it stands for no
// topic that they could ever be sent. The caller holds s.mu.
func (s *session) maySubscribe(filter string) broker.Code {
	if s.tied().rights.MaySubscribe(filter) {
		return broker.CodeSuccess
	}
	s.broker.limited.deny(aclLimit)
	return broker.CodeNotAuthorized
}

// mayShare is mayReceive for messages that go to one of several. Those of devices are looked
// at here as well: what a device refuses in its session has missed all others. The caller
// holds s.mu.
func (s *session) mayShare(topic string) bool {
	return s.mayReceive(topic) && s.tied().turn.MayReceive(topic)
}

// shares is mayShare for who does not hold s.mu.
func (s *session) shares(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayShare(topic)
}
