package gateway

import (
	"math/rand/v2"
	"time"

	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// This file finds the client that a packet is from, and makes or moves it.

// sender is the client of a packet that does not name it: the one at its peer, or that
// with the identity that the peer has proven.
func (s *shard) sender(in *intake, a *arrival) *client {
	if c := s.resident(a); c != nil {
		return c
	}
	return s.recognized(in, a)
}

// resident is the client that lives where a datagram came from, nil if it has moved or
// its session is not alive.
func (s *shard) resident(a *arrival) *client {
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

// recognized is the client whose ClientID is the identity that a peer has proven: it is
// at a new address, or has made a new secure connection, and may go on.
func (s *shard) recognized(in *intake, a *arrival) *client {
	c := s.clients[a.owner]
	if a.owner == "" || c == nil || c.as.Identity == "" || !alive(c) {
		return nil
	}
	if identity, _ := in.identity(a); identity != c.as.Identity {
		return nil
	}
	s.move(in, c, a, in.peer(a))
	return c
}

// connect finds or makes the client of a CONNECT, at the peer that it came from, or
// refuses it and returns nil. The session itself answers all else.
func (s *shard) connect(now time.Time, in *intake, a *arrival, p *mqttsn.Connect) *client {
	g := s.gateway
	if p.ProtocolID != mqttsn.ProtocolID || !g.options.Session.AcceptsClientID(p.ClientID) {
		// The session would say so too, but only once somebody has moved for it.
		s.refuse(in, a, &s.counts.sessionDropped[session.Unexpected], mqttsn.NotSupported)
		return nil
	}
	if g.closing.Load() {
		s.refuse(in, a, &s.counts.dropped[shuttingDown], mqttsn.Congestion)
		return nil
	}
	c, peer := s.clients[string(p.ClientID)], in.peer(a)
	identity, ok := in.identity(a)
	if !ok { // it has gone before its CONNECT was read
		s.counts.dropped[unknownPeer]++
		s.counts.received[slot(mqttsn.TypeConnect)]++
		return nil
	}
	as := in.principal(identity)
	if why, text := s.foreign(c, string(p.ClientID), as); text != "" {
		if s.complaints.take(g.now()) {
			g.log.Warn("CONNECT refused: "+text, "link", in.link.Name(), "peer", in.where(a), "client", string(p.ClientID), "identity", identity)
		}
		s.refuse(in, a, &s.counts.dropped[why], mqttsn.NotSupported)
		return nil
	}
	if c != nil && c.livesAt(peer) {
		s.hand(c, as, p)
		return c
	}
	if g.routes.crowded(&peer, g.options.ForwarderClients) {
		s.refuse(in, a, &s.counts.dropped[forwarderClients], mqttsn.Congestion)
		return nil
	}
	if c != nil {
		if g.options.Roaming == RoamNever && alive(c) && c.place != nil && c.place.peer != peer && identity == "" {
			s.refuse(in, a, &s.counts.dropped[roamingRefused], mqttsn.NotSupported)
			return nil
		}
		s.hand(c, as, p)
		s.takeover(in, c, a)
		s.move(in, c, a, peer)
		return c
	}
	if string(p.ClientID) == g.options.QoSMinusOneClientID {
		// The gateway itself is connected to the broker with this id.
		s.refuse(in, a, &s.counts.dropped[roamingRefused], mqttsn.NotSupported)
		return nil
	}
	if g.crowded() {
		if s.complaints.take(g.now()) {
			g.log.Warn("CONNECT of a new client refused: the store is about to be full", "link", in.link.Name(), "peer", in.where(a), "client", string(p.ClientID))
		}
		s.refuse(in, a, &s.counts.dropped[storeCrowded], mqttsn.Congestion)
		return nil
	}
	if !s.admits(in, a) {
		return nil
	}
	if g.clients.Add(1) > int64(g.options.MaxClients) && !s.makeRoom(now) {
		g.clients.Add(-1)
		s.refuse(in, a, &s.counts.dropped[maxClients], mqttsn.Congestion)
		return nil
	}
	c = s.add(string(p.ClientID))
	c.act(as)
	s.house(in, c, a, peer)
	if in.forgeable(&peer) {
		s.newcomers.add(c, now, len(s.clients))
	}
	return c
}

// wake finds the client that a PINGREQ with a ClientID is from. The id says who it is,
// whatever the address [SN-6.14]; what may be done from a new one is the roaming policy,
// unless the client proves who it is.
func (s *shard) wake(in *intake, a *arrival, p *mqttsn.Pingreq) *client {
	c := s.clients[string(p.ClientID)]
	if c == nil || !alive(c) {
		return nil
	}
	peer := in.peer(a)
	if c.livesAt(peer) {
		return c
	}
	identity, ok := in.identity(a)
	switch {
	case !ok || c.as.Identity != identity:
		a.drop(&s.counts, identityRefused)
		return nil
	case identity == "" && c.as.User != in.user:
		a.drop(&s.counts, userRefused)
		return nil
	case identity == "" && s.gateway.options.Roaming != RoamAny:
		a.drop(&s.counts, roamingRefused)
		return nil
	case s.gateway.routes.crowded(&peer, s.gateway.options.ForwarderClients):
		a.drop(&s.counts, forwarderClients)
		return nil
	}
	s.takeover(in, c, a)
	s.move(in, c, a, peer)
	return c
}

func (s *shard) add(id string) *client {
	return s.adopt(id, session.New(id, &s.gateway.options.Session, uint16(rand.Uint32())))
}

// adopt makes the client of a session.
func (s *shard) adopt(id string, ses *session.Session) *client {
	c := &client{shard: s, session: ses, filed: notFiled}
	c.conn = s.gateway.broker.Open(id, c)
	s.clients[id] = c
	return c
}

func (s *shard) move(in *intake, c *client, a *arrival, peer transports.Peer) {
	c.session.Moved()
	s.house(in, c, a, peer)
}

// house makes the sender of a packet the place of c.
func (s *shard) house(in *intake, c *client, a *arrival, peer transports.Peer) {
	c.session.SetPath(in.path(&peer))
	s.gateway.routes.bind(c, peer, a.Local)
	c.user = nil
	in.arrived = append(in.arrived, peer)
}

func (s *shard) refuse(in *intake, a *arrival, why *uint64, code mqttsn.ReturnCode) {
	s.counts.received[slot(mqttsn.TypeConnect)]++
	*why++
	in.answer(a, mqttsn.Connack{ReturnCode: code}.Append(nil))
}
