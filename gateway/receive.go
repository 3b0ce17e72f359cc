package gateway

import (
	"slices"
	"sync"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// arrival is a datagram on its way to a shard. place is where the sender's peer leads,
// nil if the packet itself says who sends it.
type arrival struct {
	*transports.Datagram
	place *place
}

// intake is the gateway's end of one link: it sorts what the link receives, and deals
// with peers that no session stands for.
type intake struct {
	gateway *Gateway
	link    transports.LinkID

	mu      sync.Mutex // held while a batch is worked on, for the sake of Stats
	work    [][]arrival
	unknown []*transports.Datagram
	arrived []transports.Addr // peers that a client has come to in this batch
	decoder mqttsn.Decoder
	limiter limiter
	outbox  outbox
	counts  counts
}

func newIntake(g *Gateway, id transports.LinkID) *intake {
	in := &intake{
		gateway: g,
		link:    id,
		work:    make([][]arrival, len(g.shards)),
		limiter: newLimiter(g.options.UnknownPeerRate),
	}
	in.outbox = newOutbox(g.links, func(transports.Datagram) { in.counts.dropped[linkBusy]++ })
	return in
}

// receive takes one batch from the link and works it off.
func (in *intake) receive(batch []transports.Datagram) {
	in.mu.Lock()
	in.sort(batch)
	for i, work := range in.work {
		if len(work) > 0 {
			in.gateway.shards[i].receive(in, work)
			in.work[i] = work[:0]
		}
	}
	now := in.gateway.now()
	for _, d := range in.unknown {
		in.stranger(now, d)
	}
	in.unknown, in.arrived = in.unknown[:0], in.arrived[:0]
	in.outbox.flush()
	in.mu.Unlock()
	in.gateway.settle()
}

// sort files each datagram under the shard of its client. A CONNECT and a PINGREQ with
// a ClientID say themselves whose they are [SN-6.14]; all others are known by their peer.
func (in *intake) sort(batch []transports.Datagram) {
	g := in.gateway
	g.routes.mu.RLock()
	defer g.routes.mu.RUnlock()
	for i := range batch {
		d := &batch[i]
		t, body, err := mqttsn.Peek(d.Data)
		if err != nil {
			in.counts.dropped[malformed]++
			continue
		}
		if id := clientID(t, body); id != nil {
			s := g.shardOf(id)
			in.work[s.index] = append(in.work[s.index], arrival{Datagram: d})
		} else if p := g.routes.by[transports.Peer{Link: in.link, Addr: d.Addr}]; p != nil {
			s := p.client.shard
			in.work[s.index] = append(in.work[s.index], arrival{Datagram: d, place: p})
		} else {
			in.unknown = append(in.unknown, d)
		}
	}
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

// stranger deals with a packet of a peer that has no living session: QoS -1 needs none,
// and who seems to believe in a session is told to CONNECT [SN-6.12].
func (in *intake) stranger(now time.Duration, d *transports.Datagram) {
	p, err := in.decoder.Decode(d.Data)
	if err != nil {
		in.counts.dropped[malformed]++
		return
	}
	in.counts.received[slot(p.Type())]++
	switch p := p.(type) {
	case *mqttsn.Publish:
		if p.QoS == mqttsn.QoSMinusOne {
			in.minusOne(now, p)
			return
		}
	case *mqttsn.Pubrel, *mqttsn.Subscribe, *mqttsn.Unsubscribe, *mqttsn.Register, *mqttsn.Pingreq,
		*mqttsn.WillTopicUpd, *mqttsn.WillMsgUpd, *mqttsn.Disconnect:
	case *mqttsn.Encapsulated:
		in.counts.dropped[encapsulated]++
		return
	default:
		// Acknowledgements and what only gateways send: an answer could start a quarrel
		// between two machines.
		in.counts.dropped[unknownPeer]++
		return
	}
	in.counts.dropped[unknownPeer]++
	// What came in one batch with a CONNECT was sent before it: a DISCONNECT now would
	// end the new connection.
	if !slices.Contains(in.arrived, d.Addr) && in.limiter.allow(now, d.Addr) {
		in.answer(d, mqttsn.Disconnect{}.Append(nil))
	}
}

func (in *intake) minusOne(now time.Duration, p *mqttsn.Publish) {
	if why, ok := in.gateway.anonymous.publish(now, p); !ok {
		in.counts.dropped[why]++
	}
}

// answer sends packet to where d came from.
func (in *intake) answer(d *transports.Datagram, packet []byte) {
	if t, _, err := mqttsn.Peek(packet); err == nil {
		in.counts.sent[slot(t)]++
	}
	in.outbox.put(&transports.Peer{Link: in.link, Addr: d.Addr}, d.Local, packet)
}
