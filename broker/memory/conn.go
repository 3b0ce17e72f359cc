package memory

import (
	"bytes"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// conn is one client's connection: broker.Conn.
type conn struct {
	broker  *Broker
	id      string
	to      broker.Receiver
	session *session // nil while not connected
	will    *broker.Message
	user    []broker.UserProperty // of the will
	epoch   int                   // counts connections: events of an earlier one are void
}

// Do asks for something: broker.Conn.
func (c *conn) Do(r *broker.Request) error {
	b := c.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.session == nil && r.Op != broker.Connect {
		return broker.ErrClosed
	}
	if limited(r.Op) {
		if b.busy == 0 {
			return broker.ErrBusy
		}
		if b.busy > 0 {
			b.busy--
		}
	}
	kept := *r
	kept.With = nil
	kept.Payload = bytes.Clone(r.Payload)
	b.asked = append(b.asked, Asked{Request: kept, ClientID: c.id})
	if code := b.refused[r.Op]; code.Failed() && limited(r.Op) {
		c.answer(r, broker.Event{Code: code})
		return nil
	}
	c.keep(r)
	c.do(r)
	return nil
}

// keep writes what a request promises into the store, if there is one.
func (c *conn) keep(r *broker.Request) {
	b := c.broker
	if b.store == nil {
		return
	}
	ops := r.With
	if r.Op == broker.Publish && r.QoS > 0 {
		b.kept++
		ops = append(slices.Clone(ops), store.Put(store.UpstreamRequest, c.id, b.kept, r.Payload))
	}
	if len(ops) > 0 {
		r.Mark = b.store.Apply(ops...)
	}
}

// limited reports whether a request may be refused.
func limited(op broker.Op) bool {
	switch op {
	case broker.Connect, broker.Publish, broker.Subscribe, broker.Unsubscribe:
		return true
	}
	return false
}

func (c *conn) do(r *broker.Request) {
	b := c.broker
	switch r.Op {
	case broker.Connect:
		c.connect(r)
	case broker.Publish:
		if b.down && r.QoS == 0 {
			return
		}
		m := broker.Message{Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retain: r.Retain}
		b.publish(Publication{Message: m, User: r.User, ClientID: c.id})
		c.answer(r, broker.Event{})
	case broker.Subscribe:
		c.session.filters[r.Topic] = r.QoS
		c.answer(r, broker.Event{QoS: r.QoS})
		for _, topic := range sortedKeys(b.retained) {
			if m := b.retained[topic]; matches(r.Topic, topic) {
				c.session.offer(m, min(r.QoS, m.QoS), true)
			}
		}
	case broker.Unsubscribe:
		delete(c.session.filters, r.Topic)
		c.answer(r, broker.Event{})
	case broker.Ack:
		c.session.ack(r.Token)
	case broker.SetWill:
		c.will, c.user = r.Will, r.User
	case broker.Persist:
		c.session.persists = true
	case broker.Disconnect:
		c.end()
	case broker.Abandon:
		will, user := c.will, c.user
		if r.User != nil {
			user = r.User
		}
		c.end()
		if will != nil {
			b.publish(Publication{Message: *will, User: user, ClientID: c.id, Will: true})
		}
	}
}

// answer answers r, unless it is a QoS 0 Publish.
func (c *conn) answer(r *broker.Request, ev broker.Event) {
	if r.Op == broker.Publish && r.QoS == 0 {
		return
	}
	ev.Kind, ev.Token, ev.Mark = broker.Answered, r.Token, r.Mark
	c.broker.emit(c, ev)
}

func (c *conn) connect(r *broker.Request) {
	b := c.broker
	if b.down {
		c.to.Receive(broker.Event{Kind: broker.Answered, Token: r.Token, Code: broker.CodeServerUnavailable})
		return
	}
	s := b.sessions[c.id]
	if s != nil && s.conn != nil {
		if s.conn == c {
			c.end()
		} else {
			if s.persists {
				s.clean = false // its gateway has crashed
			}
			s.conn.close(broker.CodeTakenOver)
		}
		s = b.sessions[c.id]
	}
	present := s != nil && !r.CleanSession
	if !present {
		s = &session{broker: b, id: c.id, filters: make(map[string]byte)}
		b.sessions[c.id] = s
	}
	s.clean, s.persists = r.CleanSession, false
	s.attach(c)
	c.session, c.will, c.user = s, r.Will, r.User
	c.answer(r, broker.Event{SessionPresent: present})
	s.deliver()
}

// close ends the connection from the broker's side. The client was not lost: no will.
func (c *conn) close(code broker.Code) {
	c.end()
	c.broker.emit(c, broker.Event{Kind: broker.Closed, Code: code})
}

// end ends the connection: no events of it follow.
func (c *conn) end() {
	c.session.detach(c.id)
	c.session, c.will, c.user = nil, nil, nil
	c.epoch++
}
