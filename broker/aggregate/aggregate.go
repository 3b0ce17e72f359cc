package aggregate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Local is the broker that the clients are connected with.
type Local interface {
	broker.Broker

	// Inbound passes on a message of the broker elsewhere. With retain it is a retained one,
	// for the clients in to only; otherwise it is for all whose subscriptions match. If its
	// QoS is above 0, apply is called once, before anybody is told of the message, with what
	// makes it safe in the queues; it returns where that is durable.
	Inbound(m *broker.Message, retain bool, to []string, apply func([]store.Op) store.Mark)
}

// Options are the settings of the links.
type Options struct {
	// ClientID is what the client ids of the links begin with. Every gateway at the same
	// broker needs another one. If it is empty, a random one is made and kept in the store.
	ClientID string
	// Links is their number, at least 1.
	Links int
}

const (
	// tickTime is how often it is looked whether a link is to be connected again, or a
	// client does not wait for retained messages any more.
	tickTime = 250 * time.Millisecond
	// shortPause and longPause bound the time between two attempts to connect a link that the
	// broker elsewhere refuses, or has closed for good.
	shortPause, longPause = time.Second, time.Minute
)

// Broker is aggregating mode: broker.Broker, and the uplink of its local broker.
type Broker struct {
	elsewhere broker.Broker
	store     store.Store
	log       *slog.Logger
	links     []*link
	filters   filters

	local   Local
	wake    func()
	commits chan struct{} // the store has room again, maybe
	working sync.Mutex    // held by who works off what the links were told
}

// New makes a Broker on top of the way to a broker elsewhere, which has to spool what it is
// given in the same store. Join has to be called before anything else.
func New(o Options, elsewhere broker.Broker, st store.Store, log *slog.Logger) (*Broker, error) {
	if st == nil {
		return nil, errors.New("broker.mode: aggregating needs a state directory: --state DIR")
	}
	if o.ClientID == "" {
		var err error
		if o.ClientID, err = name(st); err != nil {
			return nil, err
		}
	}
	b := &Broker{elsewhere: elsewhere, store: st, log: log, wake: func() {}, commits: make(chan struct{}, 1)}
	for i := range o.Links {
		b.links = append(b.links, newLink(b, fmt.Sprintf("%s-%d", o.ClientID, i)))
	}
	b.filters.init()
	st.Notify(func() {
		select {
		case b.commits <- struct{}{}:
		default:
		}
	})
	return b, nil
}

// name is what the client ids begin with if nobody says anything else: the same in every
// life of this store.
func name(st store.Store) (string, error) {
	key := store.Key{Space: store.AggregateName}
	value, err := st.Read(key, nil)
	switch {
	case err == nil:
		d := store.Decode(value)
		version, name := d.Byte(), d.String()
		if d.Err() != nil || version != 1 {
			return "", fmt.Errorf("broker.client_id: the one in the state directory cannot be read: set it, or choose another --state DIR: %w", store.ErrValue)
		}
		return name, nil
	case !errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("broker.client_id: %w", err)
	}
	name := "mqttsn-gateway-" + strings.ToLower(rand.Text()[:8])
	st.Apply(store.Put(key.Space, "", 0, store.AppendString([]byte{1}, name)))
	return name, nil
}

// Join tells the local broker.
func (b *Broker) Join(local Local) { b.local = local }

// Open makes a Conn with the local broker: broker.Broker.
func (b *Broker) Open(clientID string, to broker.Receiver) broker.Conn {
	return b.local.Open(clientID, to)
}

// Flush sends on what was gathered on both sides: broker.Broker.
func (b *Broker) Flush() {
	b.work()
	b.local.Flush()
	b.elsewhere.Flush()
}

// Up reports whether the broker elsewhere can be reached: broker.Broker.
func (b *Broker) Up() bool { return b.elsewhere.Up() && b.local.Up() }

// Serve serves both sides until ctx is done: broker.Broker. It may be called once.
func (b *Broker) Serve(ctx context.Context, wake func()) error {
	b.wake = wake
	var parts sync.WaitGroup
	failed := make(chan error, 2)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	parts.Go(func() { failed <- b.elsewhere.Serve(serving, b.settle) })
	parts.Go(func() { failed <- b.local.Serve(serving, wake) })
	parts.Go(func() { b.tick(serving) })
	err := <-failed
	stop()
	parts.Wait()
	return errors.Join(err, <-failed)
}

// settle works off what the links were told, and sets the gateway to work on what that led
// to. It is called with no lock held.
func (b *Broker) settle() {
	b.work()
	b.wake()
	b.Flush()
}

// tick connects the links, at first and whenever they were closed.
func (b *Broker) tick(ctx context.Context) {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	for now := time.Now(); ; {
		for _, l := range b.links {
			l.connect(now)
		}
		b.filters.grow(now)
		b.settle()
		for waits := true; waits; {
			select {
			case now = <-ticker.C:
				waits = false
			case <-b.commits:
				if b.waiting() {
					b.settle()
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (b *Broker) waiting() bool {
	for _, l := range b.links {
		if l.some.Load() {
			return true
		}
	}
	return false
}

// work works off what the links were told and what the filters need, unless somebody else
// does: he looks again after he has let go.
func (b *Broker) work() {
	for b.some() && b.working.TryLock() {
		for _, l := range b.links {
			l.work()
		}
		b.askFilters()
		b.working.Unlock()
	}
}

// some reports whether there is something to do that can be done now.
func (b *Broker) some() bool {
	return b.filters.some.Load() && b.links[0].isOpen() || b.waiting() && b.store.Level() < store.Full
}

// Publish takes a message of a local client: it is safe once the mark is durable, unless
// the code is a failure.
func (b *Broker) Publish(from string, r *broker.Request) (broker.Code, store.Mark) {
	return b.links[hash(from)%uint32(len(b.links))].publish(r)
}

// hash is FNV-1a. A client's link must not change with a restart.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
