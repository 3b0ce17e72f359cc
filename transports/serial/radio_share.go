package serial

import (
	"slices"

	"mqttsn-gateway/transports"
)

// Nodes that take no packets fill the queue, and it takes the module seconds to say so of
// each. So that the others find room, a node has at most a share of the queue, one in doubt
// room for little, and what waits for those in doubt makes room when all is full.

const (
	// nodeShares is how many nodes it takes to fill the queue.
	nodeShares = 4
	// doubtfulPackets is how many may wait for a node in doubt: one, and its repetition.
	doubtfulPackets = 2
)

// share is how many octets may wait for one node, but never less than room for two of the
// longest packets, where a short queue would leave none.
func (o Options) share() int {
	return min(o.NodeQueue, max(o.queue()/nodeShares, 2*(o.payload()+xbeeOverhead)))
}

// admit makes room for a packet to a node, if there may be one.
func (r *radio) admit(to transports.Addr, charge int) reason {
	doubt := r.known[to].doubt
	if n := r.nodes[to]; n != nil && (n.queue.octets+charge > r.nodeMax || doubt && len(n.queue.packets) >= doubtfulPackets) {
		return nodeQueueFull
	}
	if r.waiting+charge > r.max && (doubt || !r.makeRoom(charge)) {
		return queueFull
	}
	return taken
}

// makeRoom drops what waits for nodes in doubt, the last packets first and from the
// longest queue, until so many octets fit; nothing if that would not do. A node's packets
// stay in order.
func (r *radio) makeRoom(charge int) bool {
	for r.waiting+charge > r.max {
		var longest *node
		octets := 0
		for _, n := range r.nodes {
			if len(n.queue.packets) == 0 || !r.known[n.addr].doubt {
				continue
			}
			octets += n.queue.octets
			if longest == nil || n.queue.octets > longest.queue.octets {
				longest = n
			}
		}
		if r.waiting-octets+charge > r.max {
			return false
		}
		for len(longest.queue.packets) > 0 && r.waiting+charge > r.max {
			r.waiting -= longest.queue.unpush().charge
			r.packets--
			r.counts.dropped[nodeQueueFull].Add(1)
		}
		if len(longest.queue.packets) == 0 && longest.id == 0 {
			r.ready = slices.DeleteFunc(r.ready, func(n *node) bool { return n == longest })
			delete(r.nodes, longest.addr)
		}
	}
	return true
}
