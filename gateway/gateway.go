package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
)

const (
	// finishTime is how long a shutdown waits for the broker's answers to what is in
	// flight, closeTime how long the links and the broker get to close.
	finishTime = 3 * time.Second
	closeTime  = 1500 * time.Millisecond
	pollTime   = 10 * time.Millisecond
)

// Gateway connects the clients on its links with a broker.
type Gateway struct {
	options Options
	log     *slog.Logger
	links   []transports.Link
	broker  broker.Broker
	store   store.Store // nil: nothing survives this process
	start   time.Time   // origin of all deadlines

	seed       maphash.Seed
	shards     []*shard
	intakes    []*intake
	routes     routes
	anonymous  *anonymous
	forwarders forwarderList
	connects   turnstile // of clients that are not known yet
	// How much time of its own each message that a client publishes takes, and each octet.
	perMessage, perOctet time.Duration
	origin               origin
	identities           atomic.Pointer[identities] // of the identity_file
	reloading            sync.Mutex
	clients              atomic.Int64
	commits              chan struct{} // the store has said something
	level                store.Level   // of which the log was told last
	restored             int           // sessions that the store had at the start
	closing              atomic.Bool
	over                 atomic.Bool // Run has returned: the timers are of no use any more
}

// New makes a gateway for links and a broker, which Run sets to work. The options are
// validated. What has to survive a crash is kept in st, if it is not nil: the broker has the
// same. The sessions that st has are restored; the error says which cannot be.
func New(o Options, links []transports.Link, b broker.Broker, st store.Store, log *slog.Logger) (*Gateway, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := o.Session.Validate(); err != nil {
		return nil, err
	}
	if len(links) == 0 {
		return nil, errors.New("gateway: no link: clients need at least one to reach it")
	}
	g := &Gateway{
		options: o,
		log:     log,
		links:   links,
		broker:  b,
		store:   st,
		start:   time.Now(),
		seed:    maphash.MakeSeed(),
	}
	g.routes = newRoutes(g)
	g.perMessage, g.perOctet = time.Second/time.Duration(o.PublishRate), time.Second/time.Duration(o.PublishByteRate)
	g.connects.bucket = bucket{rate: float64(o.ConnectRate), burst: connectBurst}
	g.forwarders, _ = newForwarderList(o.Forwarders) // which Validate has read before
	g.origin, _ = newOrigin(&o)                      // so too
	if err := g.loadIdentities(); err != nil {
		return nil, err
	}
	for i := range o.shards() {
		g.shards = append(g.shards, newShard(g, i))
	}
	for i := range links {
		g.intakes = append(g.intakes, newIntake(g, transports.LinkID(i)))
	}
	g.anonymous = newAnonymous(g)
	if st != nil {
		g.options.Session.Durable = true
		g.commits = make(chan struct{}, 1)
		st.Notify(g.committed)
		if err := g.restore(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Run serves until ctx is done, then shuts down: no new clients, what is in flight is
// finished, connected clients are told. It takes at most 5 seconds for that. It returns
// an error when a link or the broker fails for good. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var parts sync.WaitGroup
	failed := make(chan error, len(g.links)+1)
	parts.Go(func() {
		if err := g.broker.Serve(serving, g.wake); err != nil {
			failed <- fmt.Errorf("broker: %w", err)
		}
	})
	for i, link := range g.links {
		parts.Go(func() {
			if err := link.Serve(serving, g.intakes[i].receive); err != nil {
				failed <- fmt.Errorf("%s: %w", link.Name(), err)
			}
		})
	}
	parts.Go(func() { g.advertise(serving) })
	if g.store != nil {
		parts.Go(func() { g.follow(serving) })
		parts.Go(func() { g.resume(serving) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	g.finish()
	stop()
	for _, link := range g.links {
		err = errors.Join(err, link.Close())
	}
	if !within(closeTime, parts.Wait) {
		g.log.Warn("shutdown: a link or the broker did not end in time", "waited", closeTime)
	}
	g.over.Store(true)
	for _, s := range g.shards {
		s.timer.Stop()
	}
	for _, in := range g.intakes {
		in.search.timer.Stop()
	}
	return err
}

// finish refuses new clients, waits for the answers that the broker owes and for the store
// to keep what they promise, and takes leave of clients and broker.
func (g *Gateway) finish() {
	g.closing.Store(true)
	deadline := time.NewTimer(finishTime)
	defer deadline.Stop()
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for unanswered, held := g.unfinished(); unanswered+held > 0; unanswered, held = g.unfinished() {
		select {
		case <-poll.C:
			continue
		case <-deadline.C:
			g.log.Warn("shutdown: the broker has not answered everything, or the store has not kept it; the clients will send again", "unanswered", unanswered, "held", held)
		}
		break
	}
	for _, s := range g.shards {
		s.takeLeave()
	}
	g.anonymous.close()
	g.settle()
}

// unfinished is how many requests the broker has not answered yet, and how many packets
// wait for the store.
func (g *Gateway) unfinished() (unanswered, held int) {
	for _, s := range g.shards {
		s.mu.Lock()
		for _, c := range s.clients {
			unanswered += int(c.waiting)
		}
		held += s.waiting.packets
		s.mu.Unlock()
	}
	g.settle() // on behalf of those who found a shard taken
	return unanswered, held
}

// settleRounds bounds how long one goroutine works for others: while a link's reader does
// so, it reads no datagrams.
const settleRounds = 4

// settle lets the shards work off their inboxes, and then the broker send on what it was
// given. Everybody who has been in a shard, or has told one something, calls it. If there
// is more to do than one goroutine should, the timers go on with it.
func (g *Gateway) settle() {
	rounds := 0
	for again := true; again && rounds < settleRounds; rounds++ {
		again = false
		for _, s := range g.shards {
			again = s.run() || again
		}
		again = g.anonymous.run(g.now()) || again // its messages may be for clients here
	}
	g.broker.Flush()
	if rounds == settleRounds {
		for _, s := range g.shards {
			s.timer.Reset(0)
		}
	}
}

// wake is settle for the broker's own goroutines. They tell things as fast as their
// clients send, which is faster than a shard works, so they do their part first.
func (g *Gateway) wake() {
	for _, s := range g.shards {
		s.catchUp()
	}
	g.settle()
}

// shardOf is the shard of a ClientID: a takeover from a new address stays inside one.
func (g *Gateway) shardOf(clientID []byte) *shard {
	return g.shards[maphash.Bytes(g.seed, clientID)%uint64(len(g.shards))]
}

// since is the instant t as shards file it.
func (g *Gateway) since(t time.Time) time.Duration { return t.Sub(g.start) }

func (g *Gateway) now() time.Duration { return time.Since(g.start) }

// within reports whether wait returned in time.
func within(limit time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
