package gateway

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// This file keeps packets back whose promises are not durable yet.
//
// A step of a session counts at once, for all that follows in this process. What it tells
// the client must not leave before that is durable which it builds on: what the broker has
// promised (Effects.Mark), what was written together with a request (Request.Mark), and the
// session's own records. Later packets build on the same state, be they only copies, so
// client.mark is the latest of all marks of the client's steps, and no packet leaves before
// it. That keeps the packets in order, too.
//
// The records of a step are applied after its requests: a crash between the two leaves a
// session that knows less than the broker, and is asked again by a client that has had no
// answer. The other way round it would count on what the broker has never heard of.
//
// Without a store no mark is ever other than 0, and apply calls none of this but send.

const (
	// heldPackets and heldOctets bound what is held for one client. A client has few
	// packets under way, and repeats those that it wants an answer to.
	heldPackets = 64
	heldOctets  = 64 << 10
	// heldTotal bounds the octets that are held for all clients, divided among the shards.
	heldTotal = 64 << 20
	// spareHeld is how many empty queues a shard keeps for the next commit.
	spareHeld = 1000
)

// held are the packets of one client that wait for the store, oldest first.
type held struct {
	packets []heldPacket
	octets  []byte
	place   *place // of a client that is gone: where it was last
}

type heldPacket struct {
	mark store.Mark
	size int
}

// waiting are the clients of a shard that have packets held, and what those need.
type waiting struct {
	clients  []*client
	packets  int
	octets   int
	released store.Mark // up to which packets have been released
	spare    []*held
}

// locate has the store know where the client of a session is that is to be kept, before the
// session's own records are. Only for the first time does anything wait for that.
func (s *shard) locate(c *client) {
	g := s.gateway
	if c.recorded && c.place == c.kept || s.fx.Gone || !c.session.Stored() {
		return
	}
	first := !c.recorded
	if mark := g.keepPlace(c); first {
		c.mark = max(c.mark, mark)
	}
}

// remember applies the changes to what is kept of the session, and notes what the packets
// of this step, and all later ones, have to wait for.
func (s *shard) remember(c *client) {
	g, fx := s.gateway, &s.fx
	c.mark = max(c.mark, fx.Mark)
	switch {
	case c.recorded && (fx.Gone || !c.session.Stored()):
		c.mark = max(c.mark, g.forgetPlace(c, fx.Records))
	case len(fx.Records) > 0:
		c.mark = max(c.mark, g.store.Apply(fx.Records...))
	}
}

// written notes what became of the changes that went with a request. Those of a request
// that nobody answers are made even if the request came to nothing, since the session has
// gone on: the broker's connection has ended, and nothing is left to be done there.
func (s *shard) written(c *client, r *broker.Request, err error) {
	if err != nil && len(r.With) > 0 && !answered(r) {
		r.Mark = s.gateway.store.Apply(r.With...)
	}
	c.mark = max(c.mark, r.Mark)
}

// send puts a packet into the outbox, or holds it until it may leave.
func (s *shard) send(c *client, packet []byte) {
	if (c.held == nil && c.mark <= s.durable) || !s.hold(c, packet) {
		s.put(c, packet)
	}
}

// hold keeps a packet back, unless it may leave already; ok is false then. What was held
// before it has left in that case.
func (s *shard) hold(c *client, packet []byte) (ok bool) {
	if c.mark > s.durable {
		s.durable = s.gateway.store.Durable()
	}
	if c.mark <= s.durable {
		s.release(c)
		return false
	}
	if c.held == nil {
		c.held = s.newHeld()
		s.waiting.clients = append(s.waiting.clients, c)
	}
	h, w := c.held, &s.waiting
	if len(h.packets) >= heldPackets || len(h.octets)+len(packet) > heldOctets || w.octets+len(packet) > heldTotal/len(s.gateway.shards) {
		s.counts.dropped[storeSlow]++
		return true
	}
	h.packets = append(h.packets, heldPacket{c.mark, len(packet)})
	h.octets = append(h.octets, packet...)
	w.packets++
	w.octets += len(packet)
	return true
}

func (s *shard) newHeld() *held {
	spare := s.waiting.spare
	if len(spare) == 0 {
		return &held{}
	}
	h := spare[len(spare)-1]
	s.waiting.spare = spare[:len(spare)-1]
	return h
}

// release sends those packets of a client that may leave.
func (s *shard) release(c *client) {
	h := c.held
	if h == nil {
		return
	}
	n, start := 0, 0
	for _, p := range h.packets {
		if p.mark > s.durable {
			break
		}
		s.put(c, h.octets[start:start+p.size])
		n++
		start += p.size
	}
	h.packets = append(h.packets[:0], h.packets[n:]...)
	h.octets = append(h.octets[:0], h.octets[start:]...)
	s.waiting.packets -= n
	s.waiting.octets -= start
}

// releaseAll sends the packets that may leave, of all clients, if any may since it was
// called last. It is called before the shard is left.
func (s *shard) releaseAll() {
	// Whoever comes after a commit looks at holding, so it is set before Durable is asked:
	// either we see the commit, or it sees us.
	s.holding.Store(true)
	durable := s.gateway.store.Durable()
	if durable == s.waiting.released {
		return
	}
	s.durable, s.waiting.released = durable, durable
	rest := s.waiting.clients[:0]
	for _, c := range s.waiting.clients {
		s.release(c)
		if len(c.held.packets) > 0 {
			rest = append(rest, c)
			continue
		}
		s.reuse(c.held)
		c.held = nil
	}
	clear(s.waiting.clients[len(rest):])
	s.waiting.clients = rest
	s.holding.Store(len(rest) > 0)
}

func (s *shard) reuse(h *held) {
	if len(s.waiting.spare) < spareHeld && cap(h.octets) <= 1<<10 {
		h.place = nil
		s.waiting.spare = append(s.waiting.spare, h)
	}
}

// giveUp drops what is held for a client: it will not become durable any more while this
// process lives.
func (s *shard) giveUp(c *client) {
	if h := c.held; h != nil {
		s.counts.dropped[shuttingDown] += uint64(len(h.packets))
		s.waiting.packets -= len(h.packets)
		s.waiting.octets -= len(h.octets)
		h.packets, h.octets = h.packets[:0], h.octets[:0]
	}
}

// put puts a packet into the outbox, unless the client has left its place to another.
func (s *shard) put(c *client, packet []byte) {
	p := c.place
	switch {
	case p != nil && !p.stale.Load():
	case c.gone: // its last words, unless somebody else is there by now
		if p = c.held.place; p != nil && s.gateway.routes.taken(p) {
			p = nil
		}
	default:
		p = nil
	}
	if p == nil {
		s.counts.dropped[unknownPeer]++
		return
	}
	if t, _, err := mqttsn.Peek(packet); err == nil {
		s.counts.sent[slot(t)]++
	}
	s.outbox.put(&p.peer, p.local, packet)
}
