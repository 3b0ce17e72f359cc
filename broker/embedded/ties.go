package embedded

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
)

// ties are what a session is tied to. They are few where nobody has rights.
type ties struct {
	mount  *mount            // that its subscriptions were made below; nil for none
	owner  *broker.Principal // nil: it is nobody's, see own
	rights *auth.Rights      // to receive; nil: all, and always of a device
	turn   *auth.Rights      // of a device, to take its turn in shared subscriptions; nil: all
}

// none are the ties of a session that has none. They never change.
var none ties

// tied is what the session is tied to, to be looked at. The caller holds s.mu.
func (s *session) tied() *ties {
	if s.ties == nil {
		return &none
	}
	return s.ties
}

// tie replaces what the session is tied to. The caller holds s.mu.
func (s *session) tie(t ties) {
	switch {
	case t == none:
		s.ties = nil
	case s.ties == nil || *s.ties != t:
		s.ties = &t
	}
}

// tiesOf are the ties of a session, with the rights that its client has now.
func (l *loading) tiesOf(saved *savedSession, clientID string) ties {
	t := ties{mount: l.b.mountAt(saved.mount), owner: saved.owner}
	if saved.flags&sessionDevice == 0 {
		who := auth.Subject{Client: clientID}
		if t.owner != nil {
			who.User = t.owner.User
		}
		t.rights = l.b.options.Access.Rights(who)
	}
	return t
}

// origin is where a message comes from, with the rights that its publisher has now; nil if
// it was published when nobody had any.
func (l *loading) origin(m *message) *origin {
	if m.origin() == nil {
		return nil
	}
	who := auth.Subject{Client: m.from, User: m.origin().user}
	o := l.origins[who]
	if o == nil {
		o = &origin{user: who.User, rights: l.b.options.Access.Rights(who)}
		l.origins[who] = o
	}
	return o
}
