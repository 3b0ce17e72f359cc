package gateway

import (
	"math/rand/v2"

	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// This file finds the client that a packet is from, and makes or moves it.

// resident is the client that lives where a datagram came from, nil if it has moved or
// its session is not alive.
func (s *shard) resident(a arrival) *client {
	if a.place == nil || a.place.stale.Load() || !alive(a.place.client) {
		return nil
	}
	return a.place.client
}

// alive reports whether a client may do anything but CONNECT.
func alive(c *client) bool {
	st := c.session.State()
	return !c.gone && st != session.Disconnected && st != session.Lost
}

// connect finds or makes the client of a CONNECT, at the peer that it came from, or
// refuses it and returns nil. The session itself answers all else.
func (s *shard) connect(in *intake, a arrival, p *mqttsn.Connect) *client {
	g := s.gateway
	peer := transports.Peer{Link: in.link, Addr: a.Addr}
	if p.ProtocolID != mqttsn.ProtocolID || !g.options.Session.AcceptsClientID(p.ClientID) {
		// The session would say so too, but only once somebody has moved for it.
		s.refuse(in, a, &s.counts.sessionDropped[session.Unexpected], mqttsn.NotSupported)
		return nil
	}
	if g.closing.Load() {
		s.refuse(in, a, &s.counts.dropped[shuttingDown], mqttsn.Congestion)
		return nil
	}
	c := s.clients[string(p.ClientID)]
	if c != nil {
		if c.livesAt(peer) {
			return c
		}
		if g.options.Roaming == RoamNever && alive(c) && c.place.peer != peer {
			s.refuse(in, a, &s.counts.dropped[roamingRefused], mqttsn.NotSupported)
			return nil
		}
		s.move(in, c, a)
		return c
	}
	if string(p.ClientID) == g.options.QoSMinusOneClientID {
		// The gateway itself is connected to the broker with this id.
		s.refuse(in, a, &s.counts.dropped[roamingRefused], mqttsn.NotSupported)
		return nil
	}
	if g.clients.Add(1) > int64(g.options.MaxClients) {
		g.clients.Add(-1)
		s.refuse(in, a, &s.counts.dropped[maxClients], mqttsn.Congestion)
		return nil
	}
	return s.add(in, string(p.ClientID), a)
}

// wake finds the client that a PINGREQ with a ClientID is from. The id says who it is,
// whatever the address [SN-6.14]; what may be done from a new one is the roaming policy.
func (s *shard) wake(in *intake, a arrival, p *mqttsn.Pingreq) *client {
	c := s.clients[string(p.ClientID)]
	if c == nil || !alive(c) {
		return nil
	}
	peer := transports.Peer{Link: in.link, Addr: a.Addr}
	if !c.livesAt(peer) {
		if s.gateway.options.Roaming != RoamAny {
			s.counts.dropped[roamingRefused]++
			return nil
		}
		s.move(in, c, a)
	}
	return c
}

func (s *shard) add(in *intake, id string, a arrival) *client {
	g := s.gateway
	c := &client{shard: s, filed: notFiled}
	c.session = session.New(id, &g.options.Session, uint16(rand.Uint32()))
	c.conn = g.broker.Open(id, c)
	s.clients[id] = c
	s.house(in, c, a)
	return c
}

func (s *shard) move(in *intake, c *client, a arrival) {
	c.session.Moved()
	s.house(in, c, a)
}

// house makes the sender of a datagram the place of c.
func (s *shard) house(in *intake, c *client, a arrival) {
	c.session.SetPath(session.Path{MTU: s.gateway.links[in.link].MTU()})
	s.gateway.routes.bind(c, transports.Peer{Link: in.link, Addr: a.Addr}, a.Local)
	in.arrived = append(in.arrived, a.Addr)
}

func (s *shard) refuse(in *intake, a arrival, why *uint64, code mqttsn.ReturnCode) {
	s.counts.received[slot(mqttsn.TypeConnect)]++
	*why++
	in.answer(a.Datagram, mqttsn.Connack{ReturnCode: code}.Append(nil))
}
