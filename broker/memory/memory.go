// Package memory is a fake broker for tests: deterministic, in this process, with no
// goroutine and no clock of its own.
//
// Untouched it behaves like a perfect broker: every request is answered, and every
// message delivered, before Do returns. What a real broker may do beyond that, a test
// asks for: [Broker.Hold] keeps events back, [Broker.Refuse] answers with a code,
// [Broker.BusyAfter] takes no more requests, [Broker.SetUp] takes the broker away,
// [Broker.Kick] ends a connection, [Broker.Publish] is another client's message.
package memory

import (
	"bytes"
	"context"
	"sync"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// ReceiveMaximum is how many messages a client has un-acknowledged at most; the rest
// wait in its session.
const ReceiveMaximum = 16

// Publication is one message that was published.
type Publication struct {
	broker.Message
	User     []broker.UserProperty
	ClientID string // who published it; empty for Broker.Publish
	Will     bool   // it is the will of a lost client
}

// Asked is one request that was taken.
type Asked struct {
	broker.Request
	ClientID string
}

// Broker is the fake. All methods may be called from any goroutine.
type Broker struct {
	mu       sync.Mutex
	wake     func()
	down     bool
	busy     int // requests that are still taken; negative: no limit
	refused  map[broker.Op]broker.Code
	holding  map[broker.Kind]bool
	held     []heldEvent
	sessions map[string]*session
	tokens   map[string]broker.Token // the latest of each client: they outlive sessions
	retained map[string]*broker.Message
	record   []Publication
	asked    []Asked
	store    store.Store
	kept     uint64
}

type heldEvent struct {
	conn  *conn
	epoch int
	broker.Event
}

// New makes a broker that is up and knows nobody.
func New() *Broker {
	return &Broker{
		busy:     -1,
		refused:  make(map[broker.Op]broker.Code),
		holding:  make(map[broker.Kind]bool),
		sessions: make(map[string]*session),
		tokens:   make(map[string]broker.Token),
		retained: make(map[string]*broker.Message),
	}
}

// Open makes a Conn: broker.Broker.
func (b *Broker) Open(clientID string, to broker.Receiver) broker.Conn {
	return &conn{broker: b, id: clientID, to: to}
}

// Flush does nothing: whatever is asked is done at once.
func (b *Broker) Flush() {}

// Serve waits until ctx is done. Meanwhile wake is called after each control that has
// led to events.
func (b *Broker) Serve(ctx context.Context, wake func()) error {
	b.mu.Lock()
	b.wake = wake
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	b.wake = nil
	b.mu.Unlock()
	return nil
}

// Up reports what SetUp has said; true before.
func (b *Broker) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.down
}

// publish routes a message to all who subscribed to it, and records it.
func (b *Broker) publish(p Publication) {
	p.Payload = bytes.Clone(p.Payload)
	b.record = append(b.record, p)
	m := &p.Message
	if p.Retain {
		if len(p.Payload) == 0 {
			delete(b.retained, p.Topic)
		} else {
			b.retained[p.Topic] = m
		}
	}
	for _, id := range sortedKeys(b.sessions) {
		s := b.sessions[id]
		if qos, ok := s.granted(p.Topic); ok {
			s.offer(m, min(qos, m.QoS), false)
		}
	}
}

// emit hands an event on, or keeps it while events of its kind are held.
func (b *Broker) emit(c *conn, ev broker.Event) {
	if b.holding[ev.Kind] || b.down && ev.Kind == broker.Answered {
		b.held = append(b.held, heldEvent{c, c.epoch, ev})
		return
	}
	c.to.Receive(ev)
}

// release hands on up to n held events, oldest first; negative: all. Those of a
// connection that has ended since are dropped.
func (b *Broker) release(n int) {
	held := b.held
	b.held = nil
	for i, h := range held {
		if h.epoch != h.conn.epoch {
			continue
		}
		if n == 0 {
			b.held = append(b.held, held[i:]...)
			return
		}
		n--
		h.conn.to.Receive(h.Event)
	}
}

// control runs f, a control of the test, and then calls wake with no lock held.
func (b *Broker) control(f func()) {
	b.mu.Lock()
	f()
	wake := b.wake
	b.mu.Unlock()
	if wake != nil {
		wake()
	}
}
