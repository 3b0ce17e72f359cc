package gateway

import (
	"context"
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// This file brings back the clients whose sessions the store has: New reads them, before
// anybody is served, and Run lets them go on one after another. Who sends a packet before
// it is its turn is served at once.

// resumeBatch is how many sessions go on before a shard is left for others.
const resumeBatch = 200

// restartCredit is how many octets a restored client may be sent before it says anything: a
// packet of any usual size, and a probe. It was accepted at that address before.
const restartCredit = 2 << 10

// unreadable is what can be done about a record that nobody understands.
const unreadable = "start the release that has written it, or restore a backup, or begin with an empty store; nothing was changed"

// restore makes the clients whose sessions the store has. Nothing runs yet, so no lock is
// needed.
func (g *Gateway) restore() error {
	begin := time.Now()
	err := session.Load(g.store, &g.options.Session, begin, func(ses *session.Session) error {
		id := ses.ID()
		s := g.shardOf([]byte(id))
		c := s.adopt(id, ses)
		c.act(broker.Principal{}) // until its place is read
		c.asIs = true
		s.restored = append(s.restored, c)
		// What it holds was received by the process before.
		messages, _ := ses.Queued()
		s.counts.messages.Received += uint64(messages)
		g.restored++
		return nil
	})
	if err != nil {
		return fmt.Errorf("gateway: the sessions cannot be restored: %w; %s", err, unreadable)
	}
	orphans, err := g.restorePlaces()
	if err != nil {
		return err
	}
	g.clients.Store(int64(g.restored))
	if g.restored > 0 || orphans > 0 {
		g.log.Info("sessions restored", "sessions", g.restored, "took", time.Since(begin).Round(time.Millisecond), "places_without_session", orphans)
	}
	if g.restored > g.options.MaxClients {
		g.log.Warn("more sessions are restored than gateway.max_clients allows; new clients are refused until enough of them have ended", "sessions", g.restored, "max_clients", g.options.MaxClients)
	}
	return nil
}

// restorePlaces takes the restored clients to where they were, on links that are still
// there. On a link where peers prove who they are an address is good for one connection
// only: a client there is nowhere until it has proven its identity again. It returns how
// many places it has deleted that belonged to nobody.
func (g *Gateway) restorePlaces() (orphans int, err error) {
	links := make(map[string]*intake)
	for _, in := range g.intakes {
		name := in.link.Name()
		if _, twice := links[name]; twice || in.identifier != nil {
			in = nil // nobody is found there
		}
		links[name] = in
	}
	var nobody []store.Op
	err = g.store.All(store.ClientPlace, func(k store.Key, value []byte) error {
		c := g.shardOf([]byte(k.Client)).clients[k.Client]
		if c == nil {
			nobody = append(nobody, store.Op{Key: k})
			return nil
		}
		p, err := readPlace(value)
		if err != nil {
			return fmt.Errorf("gateway: the record of where client %q is (space %d) cannot be read: %w; %s", k.Client, k.Space, err, unreadable)
		}
		as := p.as
		switch in := links[p.link]; {
		case as.Identity != "":
			as.User = g.userOf(as.Identity)
		case in != nil:
			as.User = in.user
		}
		c.act(as)
		c.recorded = true
		if in := links[p.link]; in != nil {
			peer := transports.Peer{Link: in.id, Addr: p.addr, Node: p.node}
			path := in.path(&peer)
			path.Credit = restartCredit
			c.session.SetPath(path)
			g.routes.bind(c, peer, transports.Addr{})
			c.kept, c.place.kept = c.place, true
		}
		return nil
	})
	if err == nil && len(nobody) > 0 {
		g.store.Apply(nobody...)
	}
	return len(nobody), err
}

// resume lets the restored clients go on, in batches, until all do or ctx is done.
func (g *Gateway) resume(ctx context.Context) {
	for _, s := range g.shards {
		for more := true; more && ctx.Err() == nil && !g.closing.Load(); {
			s.mu.Lock()
			now := time.Now()
			for range min(resumeBatch, len(s.restored)) {
				last := len(s.restored) - 1
				c := s.restored[last]
				s.restored[last] = nil
				s.restored = s.restored[:last]
				s.resume(now, c)
			}
			if more = len(s.restored) > 0; !more {
				s.restored = nil
			}
			s.leave(now)
			g.settle()
		}
	}
}

// resume lets a restored client go on, if it does not yet.
func (s *shard) resume(now time.Time, c *client) {
	if c.asIs {
		c.asIs = false
		c.session.Resume(now, &s.fx)
		s.apply(now, c)
		s.examine(now, c) // what it may do may have changed meanwhile
	}
}

// resumeSender lets the client go on that a packet is from, before anything is done with it.
func (s *shard) resumeSender(now time.Time, a *arrival, p mqttsn.Packet) {
	id := a.owner
	switch p := p.(type) {
	case *mqttsn.Connect:
		id = string(p.ClientID)
	case *mqttsn.Pingreq:
		if len(p.ClientID) > 0 {
			id = string(p.ClientID)
		}
	}
	c := s.clients[id]
	if a.place != nil && id == "" {
		c = a.place.client
	}
	if c != nil && c.asIs {
		s.resume(now, c)
		s.drain(now) // the broker may have answered already
	}
}
