package gateway

import (
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// outboxSize is how many octets an outbox gathers before it sends: a full batch of
// ordinary packets several times over.
const outboxSize = 128 << 10

// outbox gathers the datagrams of one visit to a shard, so that they leave in one batch
// per link.
type outbox struct {
	links  []transports.Link
	byLink [][]transports.Datagram
	arena  []byte // holds the octets; never grows while datagrams point into it
	// lost is called with each datagram that a link did not take.
	lost func(transports.Datagram)
}

func newOutbox(links []transports.Link, lost func(transports.Datagram)) outbox {
	return outbox{links: links, byLink: make([][]transports.Datagram, len(links)), lost: lost}
}

// put adds a datagram to peer, from local, and copies data. A node behind a forwarder
// gets it in the forwarder's frame, whose radius is 0: it is for that node alone.
func (o *outbox) put(peer *transports.Peer, local transports.Addr, data []byte) {
	if len(o.arena)+encapsulation(peer)+len(data) > cap(o.arena) {
		o.flush()
		if o.arena == nil {
			o.arena = make([]byte, 0, outboxSize)
		}
	}
	start := len(o.arena)
	if peer.Node == "" {
		o.arena = append(o.arena, data...)
	} else {
		o.arena = mqttsn.Encapsulated{NodeID: []byte(peer.Node), Packet: data}.Append(o.arena)
	}
	o.byLink[peer.Link] = append(o.byLink[peer.Link], transports.Datagram{
		Addr: peer.Addr, Local: local, Data: o.arena[start:len(o.arena):len(o.arena)],
	})
}

// flush sends what was gathered.
func (o *outbox) flush() {
	if len(o.arena) == 0 {
		return
	}
	for i, batch := range o.byLink {
		if len(batch) == 0 {
			continue
		}
		sent, _ := o.links[i].Send(batch)
		for _, d := range batch[sent:] {
			o.lost(d)
		}
		o.byLink[i] = batch[:0]
	}
	o.arena = o.arena[:0]
}
