package upstream

import (
	"math/rand/v2"
	"time"

	"mqttsn-gateway/broker"
)

// conn is one client's Conn: a name, and at most one session at a time.
type conn struct {
	broker     *Broker
	id         string
	to         broker.Receiver
	session    *session
	deliveries *deliveries // handed on from session to session
}

// Do asks for something: broker.Conn.
func (c *conn) Do(r *broker.Request) error {
	if r.Op == broker.Connect {
		return c.connect(r)
	}
	s := c.session
	if s == nil {
		return broker.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Op == broker.Ack && s.ackEnded(r) {
		return nil
	}
	return s.do(r)
}

// do does all but Connect.
func (s *session) do(r *broker.Request) error {
	switch r.Op {
	case broker.Disconnect, broker.Abandon:
		if s.stage == joining || s.stage == joined {
			if r.User != nil {
				s.willUser = r.User
			}
			r.Mark = s.leave(r.Op == broker.Abandon, r.With)
			return nil
		}
		return broker.ErrClosed
	case broker.SetWill:
		if s.stage == joining || s.stage == joined {
			s.will, s.willUser = r.Will, r.User
			return nil
		}
		return broker.ErrClosed
	}
	if s.stage != joined {
		return broker.ErrClosed
	}
	switch r.Op {
	case broker.Publish:
		return s.publish(r)
	case broker.Subscribe, broker.Unsubscribe:
		return s.subscribe(r)
	case broker.Persist:
		s.persist(r)
	case broker.Ack:
		s.ack(r)
	}
	return nil
}

// ackCode is the reason code of a PUBACK or PUBREC that comes closest to code: the
// others are not allowed there.
func ackCode(code broker.Code) broker.Code {
	const implementationSpecific = 0x83
	switch code {
	case broker.CodeUnspecified, implementationSpecific, broker.CodeNotAuthorized, broker.CodeTopicName,
		broker.CodeQuota, broker.CodePayloadFormat:
		return code
	}
	if code.Failed() {
		return implementationSpecific
	}
	return broker.CodeSuccess
}

// connect starts a session. An earlier one of this Conn is left as by Disconnect.
func (c *conn) connect(r *broker.Request) error {
	b := c.broker
	fresh := r.CleanSession
	if old := c.session; old != nil {
		old.mu.Lock()
		old.leave(false, nil)
		// What a clean session has left at the broker when its line broke is not to be found.
		fresh = fresh || old.clean && old.accepted
		old.mu.Unlock()
	}
	sp := b.enter(c.id)
	if sp != nil {
		c.deliveries = sp.deliveries
	} else if c.deliveries == nil {
		c.deliveries = &deliveries{token: broker.Token(rand.Uint32())}
	}
	s := &session{
		broker:     b,
		id:         b.options.ClientIDPrefix + c.id,
		clean:      r.CleanSession,
		as:         r.As,
		fresh:      fresh,
		token:      r.Token,
		stage:      joining,
		to:         c.to,
		will:       r.Will,
		willUser:   r.User,
		deadline:   time.Now().Add(b.options.ConnectTimeout),
		deliveries: c.deliveries,
		spool:      sp,
	}
	if sp != nil {
		s.enterSpool(c.session == nil)
	}
	if s.fresh {
		s.deliveries.part()
		s.forgetSession()
	}
	s.begin()
	c.session = s
	if !b.admit(s) {
		c.session = nil
		return broker.ErrClosed
	}
	return nil
}
