package gateway_test

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
)

// The full run: go test ./gateway -run TestEverything -everything 500 -timeout 1h
var (
	everythingRuns = flag.Int("everything", 2, "histories of TestEverything")
	everythingSeed = flag.Uint64("everything.seed", 1, "seed of the first one")
)

const (
	everythingTime = 30 * time.Minute // of one history, before it is brought to an end
	everythingEnd  = 2 * time.Hour    // what is owed has arrived by then
	crashEvery     = 90 * time.Second
	commitEvery    = 400 * time.Millisecond
	gadgetCount    = 14
)

// Devices of all kinds do all that devices do, for half an hour, while the gateway with its
// embedded broker crashes every minute or two. What is written becomes durable late, and at
// times not at all. In the end nothing that was acknowledged is missing, nothing with QoS 2
// has come twice, all is in order, wills were published once, and when all sessions are
// over the store is empty.
func TestEverything(t *testing.T) {
	for i := range *everythingRuns {
		seed := *everythingSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newEverything(t, seed)
				w.pass(everythingTime)
				w.conclude()
				w.judge()
				w.clear()
				w.report()
			})
		})
	}
}

// everything is a world of one goroutine, in which all happens in the order of its time.
type everything struct {
	*testing.T
	rand    *rand.Rand
	start   time.Time
	events  agenda
	store   *store.Memory
	air     *air
	gateway *gateway.Gateway
	broker  *embedded.Broker
	stop    func() // of the gateway
	gadgets []*gadget
	byAddr  map[transports.Addr]*gadget
	addrs   uint64
	watcher *watcher
	ledger

	calm                               bool // nothing goes wrong any more
	stuck                              bool // nothing becomes durable
	crashes, restarts, packets, missed int
}

func newEverything(t *testing.T, seed uint64) *everything {
	w := &everything{
		T: t, rand: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), store: store.NewMemory(),
		byAddr: make(map[transports.Addr]*gadget), ledger: newLedger(),
	}
	w.store.Hold()
	w.watcher = &watcher{world: w, tokens: make(map[broker.Token]string)}
	w.launch()
	for i := range gadgetCount {
		g := newGadget(w, i)
		w.gadgets = append(w.gadgets, g)
		w.plan(w.within(20*time.Second), g.connect)
	}
	w.plan(w.within(crashEvery), w.disaster)
	w.plan(0, w.commit)
	w.plan(time.Minute, w.trouble)
	return w
}

func (w *everything) within(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d)))
}

// plan has something happen after a while.
func (w *everything) plan(after time.Duration, happen func()) {
	w.events.last++
	heap.Push(&w.events, event{at: time.Since(w.start) + after, number: w.events.last, happen: happen})
}

// launch starts a gateway with what is in the store.
func (w *everything) launch() {
	bo := embedded.DefaultOptions()
	bo.Listeners, bo.SysInterval = nil, 0
	log := slog.New(slog.DiscardHandler)
	b, err := embedded.New(bo, w.store, log)
	if err != nil {
		w.Fatal(err)
	}
	w.broker = b
	w.air = &air{recv: make(chan func([]transports.Datagram), 1), news: make(chan struct{}, 1)}
	g, err := gateway.New(gateway.DefaultOptions(), []transports.Link{w.air}, b, w.store, log)
	if err != nil {
		w.Fatal(err)
	}
	w.gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	}
	recv := <-w.air.recv
	w.air.recv <- recv
	w.watcher.open(b)
}

// disaster ends the gateway, mostly as if it was killed, and starts another one.
func (w *everything) disaster() {
	if w.calm {
		return
	}
	w.plan(w.within(2*crashEvery), w.disaster)
	if w.rand.IntN(8) == 0 {
		w.restarts++
		w.note("restart")
		w.stop()
		w.deliver() // its last words
		w.store.Commit()
		w.store.SetLevel(store.Normal)
		w.watcher.look()
		for _, g := range w.gadgets {
			g.forgotten() // a clean session that is not asleep ends with the process
		}
		w.launch()
		return
	}
	w.crashes++
	w.air.mu.Lock()
	w.air.dead = true
	w.air.mu.Unlock()
	w.note("crash")
	after := w.store.Crash()
	w.stop()
	w.store = after
	for _, g := range w.gadgets {
		g.forgotten()
	}
	w.launch()
}

// commit makes durable what was applied, now and then.
func (w *everything) commit() {
	w.plan(w.within(2*commitEvery), w.commit)
	if !w.stuck {
		w.store.Commit()
		w.watcher.look()
	}
}

// trouble is a store that has no room, or a disk that does not write.
func (w *everything) trouble() {
	if w.calm {
		return
	}
	level := []store.Level{store.Normal, store.Warning, store.Crowded, store.Full, store.Degraded}[w.rand.IntN(5)]
	w.stuck = level == store.Degraded
	w.store.SetLevel(level)
	w.plan(w.within(15*time.Second), func() {
		w.stuck = false
		w.store.SetLevel(store.Normal)
	})
	w.plan(20*time.Second+w.within(3*time.Minute), w.trouble)
}

// pass lets time pass.
func (w *everything) pass(d time.Duration) {
	w.until(d, func() bool { return false })
}

// until lets time pass until something holds, and reports whether it does.
func (w *everything) until(d time.Duration, holds func() bool) bool {
	end := time.Since(w.start) + d
	timer := time.NewTimer(0)
	for len(w.events.events) > 0 && !w.Failed() {
		if holds() {
			return true
		}
		next := w.events.events[0].at
		if next > end {
			return false
		}
		timer.Reset(next - time.Since(w.start))
		select {
		case <-w.air.news:
			synctest.Wait()
			w.deliver()
		case <-timer.C:
			heap.Pop(&w.events).(event).happen()
		}
	}
	return false
}

// deliver takes what the gateway has sent on its way. Some of it gets lost.
func (w *everything) deliver() {
	for _, d := range w.air.take() {
		w.packets++
		if w.lost() {
			if g := w.byAddr[d.Addr]; g != nil {
				g.journal.add(w, "has missed", d.Data)
			}
			continue
		}
		w.plan(airTime, func() {
			if g := w.byAddr[d.Addr]; g != nil {
				g.journal.add(w, "gets", d.Data)
				g.packet(d.Data)
			}
		})
	}
}

func (w *everything) lost() bool {
	lost := !w.calm && w.rand.IntN(30) == 0
	if lost {
		w.missed++
	}
	return lost
}

// transmit brings a packet of a device to the gateway, or not.
func (w *everything) transmit(g *gadget, packet []byte) {
	w.packets++
	if w.lost() {
		g.journal.add(w, "sends in vain", packet)
		return
	}
	g.journal.add(w, "sends", packet)
	addr := g.addr
	w.plan(airTime, func() {
		recv := <-w.air.recv
		w.air.recv <- recv
		recv([]transports.Datagram{{Addr: addr, Data: packet}})
	})
}
