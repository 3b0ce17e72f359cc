package gateway

import (
	"sync"
	"sync/atomic"

	"mqttsn-gateway/broker"
)

// event is a broker event on its way to a client's session.
type event struct {
	client *client
	// epoch of the broker connection that the event came over: events of a connection
	// that has been closed since are void.
	epoch uint32
	broker.Event
}

// inboxBatch is how many events are worked off before a shard is left for others.
const inboxBatch = 1000

// inboxLimit is how many events an inbox holds before it takes no more QoS 0 messages:
// enough for several to all clients.
func inboxLimit(g *Gateway) int { return max(200*inboxBatch, 4*g.options.MaxClients) }

// inbox holds the events that wait for a shard. Anyone may push; only the holder of the
// shard takes. Requests and receive windows bound all events but QoS 0 messages, which
// a broker may tell without end before it lets the gateway work: they have a limit.
type inbox struct {
	waiting atomic.Int32 // number of events
	limit   int
	mu      sync.Mutex
	events  []event // from head on
	head    int
	lost    uint64 // QoS 0 messages beyond the limit
}

func (in *inbox) push(ev event) {
	in.mu.Lock()
	if len(in.events)-in.head >= in.limit && ev.Kind == broker.Delivered && ev.QoS == 0 {
		in.lost++
	} else {
		if len(in.events) == cap(in.events) && in.head > len(in.events)/2 {
			n := copy(in.events, in.events[in.head:])
			clear(in.events[n:])
			in.events, in.head = in.events[:n], 0
		}
		in.events = append(in.events, ev)
		in.waiting.Store(int32(len(in.events) - in.head))
	}
	in.mu.Unlock()
}

// some reports whether an event waits.
func (in *inbox) some() bool { return in.waiting.Load() > 0 }

// crowded reports whether more wait than are worked off in one visit.
func (in *inbox) crowded() bool { return in.waiting.Load() > inboxBatch }

func (in *inbox) dropped() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.lost
}

// take moves the events that have waited longest, a batch at most, to the start of into.
func (in *inbox) take(into []event) []event {
	in.mu.Lock()
	defer in.mu.Unlock()
	batch := in.events[in.head:min(in.head+inboxBatch, len(in.events))]
	into = append(into[:0], batch...)
	clear(batch)
	in.head += len(batch)
	if in.head == len(in.events) {
		in.events, in.head = in.events[:0], 0
		if cap(in.events) > 10*inboxBatch {
			in.events = nil // a burst is over
		}
	}
	in.waiting.Store(int32(len(in.events) - in.head))
	return into
}
