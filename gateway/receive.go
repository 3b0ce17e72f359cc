package gateway

import (
	"slices"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// arrival is a packet on its way to a shard.
type arrival struct {
	*transports.Datagram
	packet   []byte // without the frame of a forwarder
	node     []byte // Wireless Node Id in that frame, if there was one
	owner    string // the ClientID that led to the shard, if neither the packet nor the peer did
	place    *place // where the sender's peer leads, nil if the packet itself says who sends it
	dropped  bool   // it goes no further, and is counted with the reason
	received bool   // it is counted by its type
}

// drop counts a packet that goes no further, once.
func (a *arrival) drop(c *counts, why reason) {
	if !a.dropped {
		c.dropped[why]++
	}
	a.dropped = true
}

// intake is the gateway's end of one link: it sorts what the link receives, and deals
// with peers that no session stands for.
type intake struct {
	gateway    *Gateway
	id         transports.LinkID
	link       transports.Link
	identifier transports.Identifier // nil if nobody proves an identity there
	rate       int                   // octets per second, 0 if the link is fast
	user       string                // of peers that have proven nothing
	rights     *auth.Rights          // of those for QoS -1 without a session

	mu      sync.Mutex // held while a batch is worked on, for the sake of Stats
	work    [][]arrival
	late    [][]arrival // what comes from where no client is: after all others
	unknown []arrival
	arrived []transports.Peer // peers that a client has come to in this batch
	decoder mqttsn.Decoder
	// What peers may have that nothing is known of, or that speak for others.
	strangers limiter // answers to unknown peers
	nodes     limiter // the same, to those behind one forwarder
	searchers limiter // answers to SEARCHGW
	senders   limiter // packets that one forwarder carries
	prefixes  limiter // new clients from one network
	search    search
	outbox    outbox
	counts    counts
	// complaints bounds the log lines about forwarders that are refused.
	complaints bucket
}

func newIntake(g *Gateway, id transports.LinkID) *intake {
	in := &intake{
		gateway:   g,
		id:        id,
		link:      g.links[id],
		work:      make([][]arrival, len(g.shards)),
		late:      make([][]arrival, len(g.shards)),
		strangers: newLimiter(g.options.UnknownPeerRate, peerRate, peerBurst),
		nodes:     newLimiter(g.options.UnknownPeerRate, nodeRate, nodeBurst),
		searchers: newLimiter(searchRate, peerRate, peerBurst),
		prefixes:  newPrefixLimiter(g.options.ConnectRatePerPrefix, prefixBurst),
		senders:   newLimiter(noBound, g.options.ForwarderRate, g.options.ForwarderRate),
	}
	in.complaints = bucket{rate: 0.1, burst: 3}
	in.identifier, _ = in.link.(transports.Identifier)
	if paced, ok := in.link.(transports.Paced); ok {
		in.rate = paced.Rate()
	}
	if owned, ok := in.link.(transports.Owned); ok {
		in.user = owned.User()
	}
	in.rights = g.rightsWithoutSession(broker.Principal{User: in.user})
	in.outbox = newOutbox(g.links, func(transports.Datagram) { in.counts.dropped[linkBusy]++ })
	in.search.init(in)
	return in
}

// receive takes one batch from the link and works it off.
func (in *intake) receive(batch []transports.Datagram) {
	in.mu.Lock()
	now := in.gateway.now()
	in.sort(now, batch)
	for _, byShard := range [...][][]arrival{in.work, in.late} {
		for i, work := range byShard {
			if len(work) > 0 {
				in.gateway.shards[i].receive(in, work)
				byShard[i] = work[:0]
			}
		}
	}
	for i := range in.unknown {
		in.stranger(now, &in.unknown[i])
	}
	in.unknown, in.arrived = in.unknown[:0], in.arrived[:0]
	in.outbox.flush()
	in.mu.Unlock()
	in.gateway.settle()
}

// sort files each packet under the shard of its client. A CONNECT and a PINGREQ with a
// ClientID say themselves whose they are [SN-6.14]; all others are known by their peer,
// or else by the identity that the peer has proven. Those of peers that a client is at come
// before all others, so that a flood of the rest delays them as little as can be.
func (in *intake) sort(now time.Duration, batch []transports.Datagram) {
	g := in.gateway
	g.routes.mu.RLock()
	defer g.routes.mu.RUnlock()
	for i := range batch {
		a := arrival{Datagram: &batch[i], packet: batch[i].Data}
		t, body, err := mqttsn.Peek(a.packet)
		if err == nil && t == mqttsn.TypeEncapsulated {
			if !in.unwrap(now, &a) {
				continue
			}
			t, body, err = mqttsn.Peek(a.packet)
		}
		if err != nil {
			in.counts.dropped[malformed]++
			continue
		}
		var s *shard
		if id := clientID(t, body); id != nil {
			if s = g.shardOf(id); g.routes.by[transports.Peer{Link: in.id, Addr: a.Addr, Node: string(a.node)}] == nil {
				in.late[s.index] = append(in.late[s.index], a)
				continue
			}
		} else if p := g.routes.by[transports.Peer{Link: in.id, Addr: a.Addr, Node: string(a.node)}]; p != nil {
			s, a.place = p.client.shard, p
		} else if identity, _ := in.identity(&a); identity != "" {
			if a.owner = g.clientOf(identity); a.owner != "" {
				s = g.shardOf([]byte(a.owner))
			}
		}
		if s == nil {
			in.unknown = append(in.unknown, a)
		} else {
			in.work[s.index] = append(in.work[s.index], a)
		}
	}
}

// peer is where a packet came from.
func (in *intake) peer(a *arrival) transports.Peer {
	return transports.Peer{Link: in.id, Addr: a.Addr, Node: string(a.node)}
}

// where is where a packet came from, for the log.
func (in *intake) where(a *arrival) string {
	if in.identifier != nil {
		return in.identifier.Where(a.Addr)
	}
	return a.Addr.String()
}

// identity is the identity that the sender of a packet has proven, "" if none; ok is false
// if that cannot be told any more. What a forwarder has proven is not its nodes'.
func (in *intake) identity(a *arrival) (identity string, ok bool) {
	if in.identifier == nil || a.node != nil {
		return "", true
	}
	return in.identifier.Identity(a.Addr)
}

// clientID is the ClientID that a packet carries, nil if its type carries none.
func clientID(t mqttsn.Type, body []byte) []byte {
	const beforeID = 4 // Flags, ProtocolId and Duration of a CONNECT
	switch {
	case t == mqttsn.TypeConnect && len(body) >= beforeID:
		return body[beforeID:]
	case t == mqttsn.TypePingreq && len(body) > 0:
		return body
	}
	return nil
}

// stranger deals with a packet of a peer that has no living session: QoS -1 and SEARCHGW
// need none, and who seems to believe in a session is told to CONNECT [SN-6.12].
func (in *intake) stranger(now time.Duration, a *arrival) {
	p, err := in.decoder.Decode(a.packet)
	if err != nil {
		in.counts.dropped[malformed]++
		return
	}
	if !a.received {
		in.counts.received[slot(p.Type())]++
	}
	switch p := p.(type) {
	case *mqttsn.Publish:
		if p.QoS == mqttsn.QoSMinusOne {
			in.minusOne(now, a, p)
			return
		}
	case *mqttsn.SearchGW:
		in.searched(now, a, p.Radius)
		return
	case *mqttsn.Pubrel, *mqttsn.Subscribe, *mqttsn.Unsubscribe, *mqttsn.Register, *mqttsn.Pingreq,
		*mqttsn.WillTopicUpd, *mqttsn.WillMsgUpd, *mqttsn.Disconnect:
	case *mqttsn.Advertise, *mqttsn.GWInfo:
		a.drop(&in.counts, otherGateway)
		return
	default:
		// Acknowledgements and what only gateways send: an answer could start a quarrel
		// between two machines.
		a.drop(&in.counts, unknownPeer)
		return
	}
	a.drop(&in.counts, unknownPeer)
	strangers := &in.strangers
	if a.node != nil {
		strangers = &in.nodes
	}
	// What came in one batch with a CONNECT was sent before it: a DISCONNECT now would
	// end the new connection.
	if !slices.Contains(in.arrived, in.peer(a)) && strangers.allow(now, a.Addr) {
		in.answer(a, mqttsn.Disconnect{}.Append(nil))
	}
}

func (in *intake) minusOne(now time.Duration, a *arrival, p *mqttsn.Publish) {
	rights := in.rights
	switch identity, ok := in.identity(a); {
	case !ok && in.gateway.options.Access != nil: // it has gone, and nobody knows what it might do
		in.counts.dropped[minusOneDenied]++
		return
	case identity != "":
		rights = in.gateway.rightsWithoutSession(in.principal(identity))
	}
	if why, ok := in.gateway.anonymous.publish(now, p, rights, in.origin(a)); !ok {
		in.counts.dropped[why]++
	}
}

// answer sends packet to where a came from.
func (in *intake) answer(a *arrival, packet []byte) {
	if t, _, err := mqttsn.Peek(packet); err == nil {
		in.counts.sent[slot(t)]++
	}
	peer := in.peer(a)
	in.outbox.put(&peer, a.Local, packet)
}
