package upstream

import (
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/remote"
	"mqttsn-gateway/gateway/store"
)

const (
	// tickTime is how often deadlines are looked at: one goroutine does it for all.
	tickTime = 250 * time.Millisecond
	// closeTime is what clients that leave at the very end get to say goodbye.
	closeTime = time.Second
)

// Broker is the way to a broker elsewhere: broker.Broker.
type Broker struct {
	options  Options
	brokers  []string // their addresses, in the order in which they are tried
	places   map[string]remote.Endpoint
	papers   atomic.Pointer[papers]
	shunned  shunned
	log      *slog.Logger
	store    store.Store // nil: nothing survives this process
	spooling bool        // QoS 1 and 2 messages go through the store
	offline  bool        // clients are let in while the broker is away
	notices  notices
	dialer   dialer
	gate     gate
	counts   counts
	feeder   feeder
	numbers  numbers
	wake     func() // set by Serve before anything can call it

	dirtyMu sync.Mutex
	dirty   []*session // have something to write
	spare   []*session

	mu        sync.Mutex
	closed    bool
	sessions  map[*session]struct{}
	leaving   map[string]*session // by client id
	idle      chan struct{}       // closed once closed and nobody is leaving
	spools    map[string]*spool   // by ClientID
	undrained map[*spool]struct{} // those with messages and without a session
	swept     time.Time

	deadLetters deadLetters
}

// New makes a Broker, which Serve sets to work. The options are validated and the
// files that they name are read; nothing is dialled. What has to survive a crash is kept in st, if it
// is not nil.
func New(o Options, st store.Store, log *slog.Logger) (*Broker, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	endpoints, err := o.endpoints()
	if err != nil {
		return nil, err
	}
	spools, err := o.spools(st != nil)
	if err != nil {
		return nil, err
	}
	papers, err := o.readPapers()
	if err != nil {
		return nil, err
	}
	var brokers []string
	places := make(map[string]remote.Endpoint)
	for _, e := range endpoints {
		brokers = append(brokers, address(e))
		places[address(e)] = e
	}
	b := &Broker{
		options:   o,
		brokers:   brokers,
		places:    places,
		store:     st,
		log:       log.With("broker", strings.Join(brokers, ",")),
		sessions:  make(map[*session]struct{}),
		leaving:   make(map[string]*session),
		idle:      make(chan struct{}),
		spooling:  spools,
		offline:   spools && o.ConnectOffline != "refuse",
		spools:    make(map[string]*spool),
		undrained: make(map[*spool]struct{}),
		swept:     time.Now(),
	}
	b.papers.Store(papers)
	b.feeder.init(&b.options)
	if st != nil {
		b.numbers.store = st
		st.Notify(b.feeder.ring)
		if err := b.restore(); err != nil {
			return nil, err
		}
	}
	b.gate.init(b)
	b.dialer.init(b)
	return b, nil
}

// Open makes a Conn: broker.Broker.
func (b *Broker) Open(clientID string, to broker.Receiver) broker.Conn {
	return &conn{broker: b, id: clientID, to: to}
}

// Up reports whether the broker could be reached when it was last tried (see gate), or is
// away and clients are let in all the same.
func (b *Broker) Up() bool {
	return b.gate.open() || b.offline && b.gate.away() && !b.gate.useless()
}

// Serve keeps the connections until ctx is done, which takes it at most 2 seconds to
// follow. It returns nil: a broker that cannot be reached is waited for. It may be called
// once.
func (b *Broker) Serve(ctx context.Context, wake func()) error {
	b.wake = wake
	b.warn()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() { b.probe(serving) })
	parts.Go(func() { b.ticks(serving) })
	if b.store != nil {
		parts.Go(func() { b.feed(serving) })
	}
	b.dialer.start(serving)
	<-ctx.Done()
	b.close()
	cancel()
	b.dialer.wait()
	parts.Wait()
	return nil
}

// close takes no more requests, lets those who leave finish, and ends all sessions.
func (b *Broker) close() {
	b.mu.Lock()
	b.closed = true
	if len(b.leaving) == 0 {
		close(b.idle)
	}
	b.mu.Unlock()
	b.handOverAll()
	b.Flush()
	enough := time.NewTimer(closeTime)
	defer enough.Stop()
	select {
	case <-b.idle:
	case <-enough.C:
	}
	b.dialer.stop()
	for _, s := range b.all(nil) {
		s.mu.Lock()
		s.to = nil
		s.end()
		s.mu.Unlock()
	}
}

// ticks does what time demands, for all sessions. At a few nanoseconds per session and
// tick that is cheaper than a timer each.
func (b *Broker) ticks(ctx context.Context) {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	var all []*session
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			told := false
			all = b.all(all[:0])
			for _, s := range all {
				told = s.tick(now) || told
			}
			clear(all)
			b.tickSpools(now)
			b.dialer.tick()
			b.gate.tick(now)
			b.settle(told)
		}
	}
}

func (b *Broker) all(into []*session) []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		into = append(into, s)
	}
	return into
}

// admit sets a new session to work; false when no more are taken.
func (b *Broker) admit(s *session) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.sessions[s] = struct{}{}
	before := b.leaving[s.id]
	b.mu.Unlock()
	if b.gate.useless() {
		s.useless()
		return true
	}
	if code, refused := b.shunned.refuses(s.id); refused {
		s.mu.Lock()
		s.refuse(code)
		s.mu.Unlock()
		return true
	}
	if before == nil && s.fresh && s.spool != nil {
		before = s.finisher()
	}
	if before == nil || !before.precede(s) {
		b.dialer.add(s, true)
	}
	// In aggregating mode all devices wait for this one.
	if s.spool != nil && (b.gate.away() || b.options.Mode == Aggregating) {
		s.mu.Lock()
		if s.stage == joining {
			s.acceptOffline()
		}
		s.mu.Unlock()
	}
	return true
}

// depart notes that a session is leaving.
func (b *Broker) depart(s *session) {
	b.mu.Lock()
	b.leaving[s.id] = s
	b.mu.Unlock()
}

// remove forgets a session that is over.
func (b *Broker) remove(s *session) {
	b.dialer.remove(s)
	b.mu.Lock()
	delete(b.sessions, s)
	if s.spool != nil {
		b.exit(s)
	}
	if b.leaving[s.id] == s {
		delete(b.leaving, s.id)
		if b.closed && len(b.leaving) == 0 {
			close(b.idle)
		}
	}
	b.mu.Unlock()
}

// hello is what is the same in every CONNECT.
func (b *Broker) hello(clientID string) hello {
	return hello{
		clientID:       clientID,
		receiveMaximum: b.options.ReceiveMaximum,
		maxPacket:      b.options.MaxPacketSize,
	}
}

// firstID is where a session starts to count packet identifiers: not where the last one
// with that client id did.
func (b *Broker) firstID() uint16 { return uint16(rand.Uint32()) }

func randomSuffix() string {
	var b [4]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
