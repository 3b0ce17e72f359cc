package gateway

import (
	"fmt"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
)

// The store knows where the clients are whose sessions it has, so that after a restart
// packets are understood that say nothing of their sender but the peer they come from. It
// also knows on whose behalf a session was begun: an identity protects it from then on.
//
// A client that another one has displaced is nowhere, and the store knows that before the
// other one is told that it is welcome: a peer leads to one client at most, before a crash
// and after it.

// placeVersion is the version of the values of the space ClientPlace: the identity, the name
// of the link, the address there, the wireless node id and the user, each as octets. Link,
// address and node are empty for a client that is nowhere. Version 1 has no user.
const placeVersion = 2

// placeRecord is what the store has of where a client is.
type placeRecord struct {
	as   broker.Principal
	link string // its name, since links are numbered anew at each start
	addr transports.Addr
	node string
}

func (p *placeRecord) append(b []byte) []byte {
	var octets [32]byte
	b = append(b, placeVersion)
	b = store.AppendString(b, p.as.Identity)
	b = store.AppendString(b, p.link)
	b = store.AppendBytes(b, p.addr.AppendOctets(octets[:0]))
	b = store.AppendString(b, p.node)
	return store.AppendString(b, p.as.User)
}

func readPlace(value []byte) (p placeRecord, err error) {
	d := store.Decode(value)
	v := d.Byte()
	if (v == 0 || v > placeVersion) && d.Err() == nil {
		return p, fmt.Errorf("its version is %d, this release reads 1 to %d", v, placeVersion)
	}
	p.as.Identity, p.link = d.String(), d.String()
	octets := d.Bytes()
	p.node = d.String()
	if v > 1 {
		p.as.User = d.String()
	}
	if err := d.Err(); err != nil {
		return p, err
	}
	if p.link != "" {
		var ok bool
		if p.addr, ok = transports.AddrFromOctets(octets); !ok {
			return p, store.ErrValue
		}
	}
	return p, nil
}

// placeOp is the change that has the store know where a client is; nowhere if its place is
// nil or belongs to somebody else by now. The routes are locked.
func (g *Gateway) placeOp(id string, as broker.Principal, p *place) store.Op {
	r := placeRecord{as: as}
	if p != nil && !p.stale.Load() {
		r.link, r.addr, r.node = g.links[p.peer.Link].Name(), p.peer.Addr, p.peer.Node
	}
	return store.Put(store.ClientPlace, id, 0, r.append(nil))
}

// keepPlace has the store know where a client is now. It does so before the changes of the
// session's that make it necessary: no session is restored without its identity.
func (g *Gateway) keepPlace(c *client) store.Mark {
	g.routes.mu.Lock() // so that the store is told in the order in which clients displace others
	defer g.routes.mu.Unlock()
	if c.kept != nil {
		c.kept.kept = false
	}
	if c.kept, c.recorded = c.place, true; c.kept != nil {
		c.kept.kept = true
	}
	return g.store.Apply(g.placeOp(c.session.ID(), c.as, c.place))
}

// forgetPlace applies the changes to a session that is not to be kept any more, and has the
// store forget where its client is.
func (g *Gateway) forgetPlace(c *client, records []store.Op) store.Mark {
	g.routes.mu.Lock()
	defer g.routes.mu.Unlock()
	if c.kept != nil {
		c.kept.kept = false
	}
	c.kept, c.recorded = nil, false
	return g.store.Apply(append(records, store.Delete(store.ClientPlace, c.session.ID(), 0))...)
}

// displace has the store know that the client of a place is nowhere. The routes are locked.
func (g *Gateway) displace(old *place) store.Mark {
	if !old.kept {
		return 0
	}
	old.kept = false
	return g.store.Apply(g.placeOp(old.client.session.ID(), old.as, nil))
}
