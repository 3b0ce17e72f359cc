package embedded

import (
	"strings"

	"mqttsn-gateway/broker"
)

// Whose a session is. A client id is only a name, and whoever takes a session over gets the
// messages that wait in it, has its subscriptions, and cuts off the client that was there. So
// a session remembers who has proven to be whom when it was made:
//
//   - one of an identity, that is of a device with a key or certificate of its own, is for
//     that identity, and for an MQTT client that has logged in as the device's user, with a
//     password;
//   - one of a user is for that user, by whatever it comes, while there is a password_file:
//     without one a user name proves nothing. But a device with an identity ends it, and
//     begins anew;
//   - one that nobody has proven anything for is for everybody, and belongs from then on to
//     who takes it first.
//
// Mosquitto lets any user take any session. We do not: an access list that says what a user
// may read would be worth little if another user's session had it waiting.

// proven is what a device has proven of itself: without an identity nothing, since the
// user of its listener is there for all who come by it.
func proven(p broker.Principal) broker.Principal {
	if p.Identity == "" {
		return broker.Principal{}
	}
	return p
}

// isFor reports whether the session is for who comes as p. The caller holds s.mu.
func (s *session) isFor(p broker.Principal) bool {
	o, checked := s.tied().owner, s.broker.options.Access.Checks()
	switch {
	case o == nil:
		return true
	case o.Identity != "" && p.Identity == o.Identity:
		return true
	case o.Identity != "":
		return checked && p.Identity == "" && p.User != "" && p.User == o.User
	}
	return !checked || p.User == o.User
}

// isLeft reports whether the session is nobody's any more: its time is over, or its user has
// gone from the access files. The caller holds s.mu.
func (s *session) isLeft() bool {
	o := s.tied().owner
	return s.line == nil && s.due <= s.broker.now() ||
		o != nil && o.Identity == "" && !s.broker.options.Access.Known(o.User)
}

// yields reports whether the session is one that an MQTT client has begun. It may choose any
// client id, while the gateway lets a device use only those of its identity: who chooses that
// of a device must not keep it out. The caller holds s.mu.
func (s *session) yields() bool {
	o := s.tied().owner
	return o != nil && (o.Identity == "" || strings.HasPrefix(o.Identity, certificateIdentity))
}

// mayTake reports whether a client that wants o may take the place of its session, nil if
// there is none. If that is not for it, it ends. The caller holds b.mu.
func (b *Broker) mayTake(s *session, o *attachment) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isFor(o.as) || s.isLeft() || o.bound && s.yields()
}

// ownerWith is whose the session is when its client, for which it is, has come as p; nil is
// nobody's. The caller holds s.mu.
func (s *session) ownerWith(p broker.Principal) *broker.Principal {
	o := s.tied().owner
	switch {
	case o != nil && (o.Identity != "" || s.broker.options.Access == nil):
		return o
	case p == broker.Principal{}:
		return nil
	}
	return &p
}
