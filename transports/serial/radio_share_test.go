package serial

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/xbee"
)

// TestDeadNodesLeaveRoom: nodes that take no packets but are sent one each second keep none
// from one that does.
func TestDeadNodesLeaveRoom(t *testing.T) {
	for _, test := range []struct{ baud, dead int }{{9600, 1}, {9600, 3}, {57600, 6}, {57600, 8}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, m, _ := openRadio(t, func(o *Options) { o.Baud = test.baud })
				good := nodeNumber(1000)
				m.status = func(s transmission) (xbee.Delivery, time.Duration, bool) {
					if s.to == good {
						return xbee.Delivered, 30 * time.Millisecond, true
					}
					return xbee.AddressNotFound, 5 * time.Second, true
				}
				const packets = 120
				for i := range uint32(packets) {
					for n := range test.dead {
						_, _ = l.Send([]transports.Datagram{{Addr: nodeNumber(n), Data: publish(i, 60)}})
					}
					send(t, l, good, publish(i, 60))
					<-time.After(time.Second)
				}
				eventually(t, "the good node has its packets", func() bool { return l.Stats().Delivered == packets })
				var got []uint32
				for _, s := range m.transmissions() {
					if s.to == good {
						got = append(got, numberOf(s.data))
					}
				}
				if len(got) != packets || !slices.IsSorted(got) {
					t.Errorf("the good node got %v", got)
				}
				s := l.Stats()
				if s.Drops["queue_full"] > 0 || s.Drops["node_queue_full"] == 0 {
					t.Errorf("%v", s.Drops)
				}
				<-time.After(10 * time.Minute)
				accounted(t, settled(t, l))
			})
		})
	}
}

// TestShares: one node has a quarter of the queue, one in doubt two packets, and a full
// queue takes a good node's packet in place of the last of those in doubt.
func TestShares(t *testing.T) {
	const charge = 46 + xbeeOverhead // 64
	o := optionsFor("fake", framingXBee)
	o.Queue, o.Window = 16*charge, 1
	c := &counts{}
	r := newRadio(o, c, discard)
	fill := func(n int) (taken int) {
		for r.put(nodeNumber(n), publish(uint32(taken), 46)) == 0 {
			taken++
			check(t, r)
		}
		return taken
	}
	for n := range 4 {
		if got := fill(n); got != 4 {
			t.Errorf("node %d has room for %d packets", n, got)
		}
	}
	if got := fill(4); got != 0 {
		t.Errorf("a full queue takes %d packets", got)
	}
	r.known.doubt(nodeNumber(0), true)
	r.known.doubt(nodeNumber(1), true)
	r.known.doubt(nodeNumber(5), true)
	if got := fill(5); got != 0 || c.dropped[nodeQueueFull].Load() != 0 {
		t.Errorf("a node in doubt has room for %d packets when the queue is full", got)
	}
	if got := fill(4); got != 4 || c.dropped[nodeQueueFull].Load() != 4 {
		t.Errorf("a good node has room for %d packets: %d dropped", got, c.dropped[nodeQueueFull].Load())
	}
	left := 0
	for n := range 2 {
		q := r.nodes[nodeNumber(n)].queue
		if left += len(q.packets); len(q.packets) == 0 || numberOf(q.packets[0].data) != 0 {
			t.Errorf("node %d has %d packets left, or not its first", n, len(q.packets))
		}
	}
	if left != 4 {
		t.Errorf("%d packets left for nodes in doubt", left)
	}
	if got := fill(6); got != 4 {
		t.Errorf("another good node has room for %d packets", got)
	}
	if r.nodes[nodeNumber(0)] != nil || r.nodes[nodeNumber(1)] != nil {
		t.Error("nodes for which nothing waits are kept")
	}
	if got := fill(7); got != 0 || r.waiting != o.Queue {
		t.Errorf("when only good ones wait, %d packets are taken", got)
	}

	r.lose(0)
	if got := fill(5); got != doubtfulPackets {
		t.Errorf("a node in doubt has room for %d packets", got)
	}
	r.take(time.Unix(1, 0), nil, 1) // one is in hand: the other may go, but not the node
	for n := range 4 {
		if got := fill(10 + n); got != 4 {
			t.Errorf("node %d has room for %d packets", 10+n, got)
		}
	}
	if n := r.nodes[nodeNumber(5)]; n == nil || len(n.queue.packets) != 0 || r.hand[n.id] != n {
		t.Errorf("the node with a packet in hand: %+v", n)
	}
}

// TestSmallShares: however short the queues, a node has room for a packet of max_payload.
func TestSmallShares(t *testing.T) {
	o := optionsFor("fake", framingXBee)
	o.Queue = 256
	if got := o.share(); got != 2*(xbeePayload+xbeeOverhead) {
		t.Errorf("queue %d: %d octets for one node", o.Queue, got)
	}
	o.NodeQueue = 128
	if got := o.share(); got != 128 {
		t.Errorf("node_queue %d: %d octets for one node", o.NodeQueue, got)
	}
	o.Queue, o.NodeQueue = 0, 1<<20
	if got := o.share(); got != o.queue()/nodeShares {
		t.Errorf("the default queue: %d octets for one node", got)
	}
}
