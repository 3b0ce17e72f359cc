package gateway

import (
	"sync"
	"sync/atomic"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/transports"
)

// place is where a client is. A client that moves gets a new place and its old one goes
// stale, so a place has one owner for life and a shard that still holds a stale one
// cannot send to an address that has become somebody else's.
type place struct {
	peer   transports.Peer
	client *client
	// as is on whose behalf the client acted when it came here.
	as    broker.Principal
	stale atomic.Bool
	// kept says that the store knows of it; for whoever holds routes.mu.
	kept bool
	// local is our address that the client last sent to. Only the holder of the
	// client's shard looks at it.
	local transports.Addr
}

// routes finds the client by its peer. The other index, by ClientID, is the truth and
// belongs to the shards; this one follows it.
type routes struct {
	gateway *Gateway
	mu      sync.RWMutex
	by      map[transports.Peer]*place
	// behind counts the clients behind each forwarder that has any.
	behind map[forwarder]int
}

func newRoutes(g *Gateway) routes {
	return routes{gateway: g, by: make(map[transports.Peer]*place), behind: make(map[forwarder]int)}
}

// bind makes c the client at peer. Whoever was there is there no more, and c is nowhere
// else. It is called by the holder of c's shard.
func (r *routes) bind(c *client, peer transports.Peer, local transports.Addr) {
	p := &place{peer: peer, client: c, as: c.as, local: local}
	r.mu.Lock()
	r.leave(c)
	if old := r.by[peer]; old != nil {
		old.stale.Store(true)
		c.mark = max(c.mark, r.gateway.displace(old))
	} else if peer.Node != "" {
		r.behind[forwarderOf(&peer)]++
	}
	r.by[peer] = p
	r.mu.Unlock()
	c.place = p
}

// unbind forgets where c is.
func (r *routes) unbind(c *client) {
	r.mu.Lock()
	r.leave(c)
	r.mu.Unlock()
	c.place = nil
}

// leave takes c away from its place. r.mu is held.
func (r *routes) leave(c *client) {
	if c.place == nil {
		return
	}
	c.place.stale.Store(true)
	if peer := c.place.peer; r.by[peer] == c.place {
		delete(r.by, peer)
		if f := forwarderOf(&peer); peer.Node != "" {
			if r.behind[f]--; r.behind[f] == 0 {
				delete(r.behind, f)
			}
		}
	}
}

// taken reports whether somebody is where the client of p once was.
func (r *routes) taken(p *place) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.by[p.peer] != nil
}

// crowded reports whether a peer is behind a forwarder that has limit clients already,
// none of them there.
func (r *routes) crowded(peer *transports.Peer, limit int) bool {
	if peer.Node == "" {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.behind[forwarderOf(peer)] >= limit && r.by[*peer] == nil
}
