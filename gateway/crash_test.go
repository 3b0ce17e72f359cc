package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
	network "mqttsn-gateway/transports/memory"
)

// mortal is a gateway for a crowd that crashes again and again, with a store in which things
// become durable late.
type mortal struct {
	*crowd
	options Options
	// broker makes the broker side of a new gateway, and what cuts it off from the last.
	broker func(st *store.Memory) (b broker.Broker, cut func())

	turn    chan struct{} // taken while a gateway ends and another begins; time goes on meanwhile
	gateway *Gateway
	store   *store.Memory
	links   []transports.Link
	stop    context.CancelFunc
	cut     func()
	running sync.WaitGroup
	crashes int
}

func (m *mortal) begin() {
	m.links = nil
	for i, n := range m.networks {
		m.links = append(m.links, namedLink{n.Link("radio"), fmt.Sprint("radio ", i)})
	}
	var b broker.Broker
	b, m.cut = m.broker(m.store)
	g, err := New(m.options, m.links, b, m.store, slog.New(slog.DiscardHandler))
	if err != nil {
		m.Error(err)
		return
	}
	m.gateway = g
	ctx, cancel := context.WithCancel(m.Context())
	m.stop = cancel
	m.running.Go(func() {
		if err := g.Run(ctx); err != nil {
			m.Errorf("Run: %v", err)
		}
	})
}

// namedLink has a name of its own among those of several networks: a gateway that restarts
// tells them apart by it.
type namedLink struct {
	*network.Link
	name string
}

func (l namedLink) Name() string { return l.name }

// crash takes a gateway away between two instructions, as far as anybody else can tell: what
// it does from now on reaches nobody. The next one begins with what was durable.
func (m *mortal) crash() {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	for _, l := range m.links {
		if err := l.Close(); err != nil {
			m.Error(err)
		}
	}
	m.cut()
	after := m.store.Crash()
	m.stop()
	m.store = after
	m.crashes++
	m.begin()
}

// shutDown ends a gateway in order, and the next one begins.
func (m *mortal) shutDown() {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	m.stop()
	m.running.Wait()
	m.store.Commit() // as Close does
	m.begin()
}

func (m *mortal) commit() {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	m.store.Commit()
}

// mortality runs a crowd against such a gateway. published says how often the broker was
// given each message.
func mortality(t *testing.T, seed uint64, b func(st *store.Memory) (broker.Broker, func()), published func() map[string]int) {
	faults := network.Faults{Loss: 0.05, Duplicate: 0.03, Reorder: 0.03, DelayMin: time.Millisecond, DelayMax: 20 * time.Millisecond}
	m := &mortal{crowd: &crowd{T: t, patience: 10 * time.Minute}, options: DefaultOptions(), broker: b, store: store.NewMemory(), turn: make(chan struct{}, 1)}
	for i := range 2 {
		m.networks = append(m.networks, network.NewNetwork(network.Options{Seed: seed + uint64(i), Up: faults, Down: faults}))
	}
	m.options.Shards = 4
	m.options.Session.TRetry = time.Second
	m.store.Hold()
	m.begin()
	over := make(chan struct{})
	var committing sync.WaitGroup
	committing.Go(func() {
		r := rand.New(rand.NewPCG(seed, 7))
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(r.IntN(100)) * time.Millisecond):
				m.commit()
			}
		}
	})
	m.run(seed, func(r *rand.Rand) {
		switch r.IntN(12) {
		case 0:
			m.crash()
		case 1:
			if r.IntN(5) == 0 {
				m.shutDown()
			}
		default:
			m.gateway.Stats()
		}
	})
	if published != nil {
		m.times = published()
	}
	m.judge()
	t.Logf("%d crashes", m.crashes)
	synctest.Wait()
	m.gateway.check(t)
	m.stop()
	close(over)
	committing.Wait()
	m.running.Wait()
}

// The broker is elsewhere: it lives on, and sees its clients again. It is given messages
// before that is durable, so that it may be given one twice, which is not the gateway's fault:
// exactly once up to the broker is the affair of those that keep what they have told it.
func TestCrashesWithAFakeBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New()
		mortality(t, 3, func(st *store.Memory) (broker.Broker, func()) {
			b.Keep(st)
			line := &cable{Broker: b}
			return line, func() { line.cut.Store(true) }
		}, func() map[string]int {
			times := make(map[string]int)
			for _, p := range b.Published() {
				times[string(p.Payload)]++
			}
			return times
		})
	})
}

// The broker crashes with the gateway.
func TestCrashesWithTheEmbeddedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := embedded.DefaultOptions()
		o.Listeners = nil
		mortality(t, 4, func(st *store.Memory) (broker.Broker, func()) {
			b, err := embedded.New(o, st, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return b, func() {}
		}, nil)
	})
}
