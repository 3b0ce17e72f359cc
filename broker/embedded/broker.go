package embedded

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Broker is the embedded broker. All methods may be called from any goroutine.
type Broker struct {
	options Options
	log     *slog.Logger
	store   store.Store // nil: nothing survives this process
	start   time.Time   // origin of the broker's time

	mu       sync.Mutex
	sessions map[string]*session // by client id
	closing  bool                // nobody new is let in

	topics    topics
	retained  retained
	lookups   lookups
	retaining stripes // by who publishes retained messages, see publish
	deadlines deadlines
	stats     counters
	dirty     dirty
	waiting   dirty         // clients for whom something is held, see promises
	durable   chan struct{} // something has become durable
	told      atomic.Bool   // a device has been told something since the last wake
	full      chan string   // client ids whose queue is full, for the log; empty: all queues
	filledAt  atomic.Int64  // when the log was told last that all queues are full
	sys       sys
	journal   journal

	listeners []*listener
	clients   clients
	limited   limited
	incoming  incoming
	numbers   numbers
	uplink    Uplink // nil: this is the whole broker
	wake      func() // set before there is a goroutine that calls it
}

// New makes a broker and opens its listeners: MQTT clients can connect, and are served
// once Serve runs. Devices can be served at once. What has to survive a crash is kept in st,
// if it is not nil, and what is there is loaded: an error says what of it cannot be read.
// The options are validated.
func New(o Options, st store.Store, log *slog.Logger) (*Broker, error) {
	return NewBridged(o, nil, st, log)
}

// NewBridged is New for a broker with an uplink; nil is none. What was subscribed to before
// is told to the uplink at once.
func NewBridged(o Options, up Uplink, st store.Store, log *slog.Logger) (*Broker, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		options:   o,
		log:       log,
		store:     st,
		start:     time.Now(),
		sessions:  make(map[string]*session),
		topics:    newTopics(o.MaxTopicLevels),
		retained:  retained{maxMessages: o.MaxRetainedMessages, maxBytes: o.MaxRetainedBytes},
		deadlines: newDeadlines(),
		retaining: stripes{seed: maphash.MakeSeed()},
		full:      make(chan string, 64),
		wake:      func() {},
		uplink:    up,
	}
	b.topics.uses = uses{uplink: up, count: make(map[string]int)}
	b.clients.init(&b.options)
	b.limited.news = make(chan struct{}, 1)
	b.sys.init(b)
	b.journal.log, b.journal.now = log, b.now
	b.watch()
	if err := b.listen(); err != nil {
		return nil, err
	}
	if err := b.load(); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// now is the broker's time: since its start, untouched by changes of the clock.
func (b *Broker) now() time.Duration { return time.Since(b.start) }

// Open makes a Conn for a device: broker.Broker.
func (b *Broker) Open(clientID string, to broker.Receiver) broker.Conn {
	return &device{broker: b, id: clientID, to: to}
}

// Up reports whether clients can be served: until a shutdown has begun.
func (b *Broker) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closing
}

// Flush sends MQTT clients what has gathered for them: broker.Broker.
func (b *Broker) Flush() {
	list := b.dirty.take()
	if list == nil {
		return
	}
	for _, c := range list {
		c.out.flush()
	}
	b.dirty.giveBack(list)
}

// settle ends a batch of work of one of the broker's own goroutines: clients are sent
// what has gathered for them, and the gateway is set to work if devices were told
// something. It is called with no lock held.
func (b *Broker) settle() {
	b.Flush()
	if b.told.Load() && b.told.Swap(false) {
		b.wake() // the gateway flushes what comes of it
	}
}

// tell hands an event to a device.
func (b *Broker) tell(to broker.Receiver, ev broker.Event) {
	to.Receive(ev)
	if !b.told.Load() {
		b.told.Store(true)
	}
}

// Lost is how many messages were dropped for a client because its queue, or all queues
// together, were full, since its session began: the part of [Stats.Dropped] queue_full and
// broker_full that is its own.
// It is 0 for a client without a session.
func (b *Broker) Lost(clientID string) uint64 {
	b.mu.Lock()
	s := b.sessions[clientID]
	b.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.lost)
}
