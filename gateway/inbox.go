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

// inbox holds the events that wait for a shard. Anyone may push; only the holder of the
// shard takes.
type inbox struct {
	waiting atomic.Bool // there is something in events
	mu      sync.Mutex
	events  []event
}

func (in *inbox) push(ev event) {
	in.mu.Lock()
	in.events = append(in.events, ev)
	in.waiting.Store(true)
	in.mu.Unlock()
}

// take returns what waits and leaves spare, emptied, in its place.
func (in *inbox) take(spare []event) []event {
	in.mu.Lock()
	events := in.events
	in.events = spare[:0]
	in.waiting.Store(false)
	in.mu.Unlock()
	return events
}
