package gateway

import (
	"context"
	"errors"
	"time"

	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// Stats is what a gateway has counted since it was made, and what it holds now.
type Stats struct {
	// Received and Sent count packets by message type, in the specification's names.
	Received, Sent map[string]uint64
	// Dropped counts what was received or queued and went no further, by reason.
	Dropped map[string]uint64
	// Messages counts what became of the messages of the broker.
	Messages Messages
	// Retransmissions counts packets sent again for want of an answer.
	Retransmissions uint64
	// Takeovers counts clients that went on from another address while their session was
	// alive, and have not proven who they are.
	Takeovers uint64
	// Unproven counts messages that had to wait until their client had proven its address,
	// Probes the packets that have asked clients to.
	Unproven, Probes uint64
	// Sessions counts sessions by state, in the specification's names.
	Sessions map[string]int
	// QueuedMessages and QueuedBytes wait for clients.
	QueuedMessages, QueuedBytes int
	// Unanswered counts requests that the broker has not answered yet.
	Unanswered int
	// HeldPackets and HeldBytes are packets for clients that wait until the store has kept
	// what they promise.
	HeldPackets, HeldBytes int
	// Restored counts the sessions that the store had when the gateway was made.
	Restored int
	// StoreLevel is the level of the store; Normal without one.
	StoreLevel store.Level
	// SocketDrops counts datagrams that the platform lost before a link could read
	// them, by link, for the links that know.
	SocketDrops map[string]uint64
}

// Messages counts what became of the messages that the broker had for clients. Together
// with those that are queued it adds up, always:
//
//	Received = Delivered + Returned + Dropped + Stats.QueuedMessages
type Messages struct {
	Received uint64
	// Delivered messages were acknowledged by the client, or sent to it with QoS 0.
	Delivered uint64
	// Returned messages have QoS 1 or 2 and are the broker's alone again, because the
	// client left before it took them.
	Returned uint64
	// Dropped messages are among those that Stats.Dropped has by reason.
	Dropped uint64
}

// Stats takes a snapshot. It visits every session: once every few seconds is fine.
func (g *Gateway) Stats() Stats {
	st := Stats{
		Received:    make(map[string]uint64),
		Sent:        make(map[string]uint64),
		Dropped:     make(map[string]uint64),
		Sessions:    make(map[string]int),
		SocketDrops: make(map[string]uint64),
	}
	for state := range session.States {
		st.Sessions[session.State(state).String()] = 0
	}
	var sum counts
	for _, s := range g.shards {
		s.mu.Lock()
		sum.add(&s.counts)
		st.HeldPackets += s.waiting.packets
		st.HeldBytes += s.waiting.octets
		for _, c := range s.clients {
			messages, bytes := c.session.Queued()
			st.QueuedMessages += messages
			st.QueuedBytes += bytes
			st.Unanswered += int(c.waiting)
			st.Sessions[c.session.State().String()]++
		}
		s.mu.Unlock()
		sum.dropped[inboxFull] += s.inbox.dropped()
	}
	for _, in := range g.intakes {
		in.mu.Lock()
		sum.add(&in.counts)
		in.mu.Unlock()
	}
	sum.dropped[minusOneBroker] += g.anonymous.dropped()
	g.settle() // on behalf of those who found a shard taken
	sum.fill(&st)
	st.Restored = g.restored
	if g.store != nil {
		st.StoreLevel = g.store.Level()
	}
	for _, link := range g.links {
		if d, ok := link.(transports.DropCounter); ok {
			st.SocketDrops[link.Name()] = d.ReceiveDrops()
		}
	}
	return st
}

func (c *counts) fill(st *Stats) {
	for i := range typeSlots {
		name := "other"
		if t := mqttsn.Type(i); i < typeSlots-1 && !t.Reserved() {
			name = t.String()
		}
		st.Received[name] += c.received[i]
		st.Sent[name] += c.sent[i]
	}
	for i, n := range c.dropped {
		st.Dropped[reasonNames[i]] += n
	}
	st.Retransmissions, st.Takeovers, st.Messages = c.retransmissions, c.takeovers, c.messages
	st.Unproven, st.Probes = c.unproven, c.probes
	for i, n := range c.sessionDropped {
		st.Dropped[session.Reason(i).String()] += n
		if session.Reason(i).OfMessage() {
			st.Messages.Dropped += n
		}
	}
}

// Alive reports whether every shard can be entered before ctx is done; if not, the error
// says so. It is the gateway's answer to a health check.
func (g *Gateway) Alive(ctx context.Context) error {
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	defer g.settle() // on behalf of those who found a shard taken
	for _, s := range g.shards {
		for !s.mu.TryLock() {
			select {
			case <-poll.C:
			case <-ctx.Done():
				return errors.New("gateway: a shard does not answer")
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// Ready reports whether clients can be served: links listen, the broker is up, and no
// shutdown has begun.
func (g *Gateway) Ready() bool { return !g.closing.Load() && g.broker.Up() }
