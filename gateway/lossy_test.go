package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	device "mqttsn-gateway/mqttsn/client"
	"mqttsn-gateway/transports"
	network "mqttsn-gateway/transports/memory"
)

// running starts a gateway with a link in a network in memory, within a bubble of
// virtual time. The returned function shuts it down.
func running(t *testing.T, n *network.Network, o Options) (*Gateway, *memory.Broker, func()) {
	t.Helper()
	b := memory.New()
	g, err := New(o, []transports.Link{n.Link("radio")}, b, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	synctest.Wait()
	return g, b, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// ledger counts how often each message has arrived.
type ledger struct {
	mu   sync.Mutex
	seen map[string]int
	last int
	late int // arrivals after a later one, for the first time
}

func (l *ledger) add(payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]int)
	}
	l.seen[string(payload)]++
	n, _ := strconv.Atoi(string(payload))
	if n < l.last && l.seen[string(payload)] == 1 {
		l.late++
	}
	l.last = max(l.last, n)
}

func (l *ledger) check(t *testing.T, what string, total int, once bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, again := 0, 0
	for i := range total {
		switch n := l.seen[strconv.Itoa(i)]; {
		case n == 0:
			lost++
		case n > 1:
			again += n - 1
		}
	}
	if lost > 0 || l.late > 0 || once && again > 0 {
		t.Errorf("%s: %d of %d lost, %d duplicated, %d out of order", what, lost, total, again, l.late)
	}
	t.Logf("%s: %d messages, %d lost, %d duplicates, %d out of order", what, total, lost, again, l.late)
}

// The first promise: over a network that loses 30 % of the datagrams each way, repeats
// and reorders, nothing that was acknowledged is lost, and QoS 2 arrives once.
func TestLossyNetwork(t *testing.T) {
	const total = 1000
	faults := network.Faults{Loss: 0.3, Duplicate: 0.05, Reorder: 0.05, DelayMin: time.Millisecond, DelayMax: 10 * time.Millisecond}
	for _, qos := range []mqttsn.QoS{mqttsn.QoS1, mqttsn.QoS2} {
		t.Run(fmt.Sprint("QoS", qos), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network.NewNetwork(network.Options{Seed: 7, Up: faults, Down: faults})
				o := DefaultOptions()
				o.Session.TRetry = 100 * time.Millisecond
				g, b, stop := running(t, n, o)
				defer stop()
				conn, err := n.Dial("radio")
				if err != nil {
					t.Fatal(err)
				}
				var down ledger
				c := device.New(conn, device.Options{
					ClientID: "sensor", Tretry: 100 * time.Millisecond, Nretry: 1000,
					OnMessage: func(m device.Message) { down.add(m.Payload) },
				})
				defer c.Close()
				ctx := t.Context()
				if err := c.Connect(ctx, device.ConnectOptions{KeepAlive: time.Minute}); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Subscribe(ctx, device.Named("down/+"), qos); err != nil {
					t.Fatal(err)
				}
				for i := range total {
					b.Publish("down/x", []byte(strconv.Itoa(i)), byte(qos), false)
				}
				for i := range total {
					if err := c.Publish(ctx, device.Named("up/x"), []byte(strconv.Itoa(i)), qos, false); err != nil {
						t.Fatal(err)
					}
				}
				for deadline := time.Now().Add(time.Hour); ; <-time.After(time.Second) {
					unacked, waiting := b.Unacked("sensor")
					if unacked+waiting+g.Stats().QueuedMessages == 0 {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("%d messages un-acknowledged, %d waiting after an hour", unacked, waiting)
					}
				}
				var up ledger
				for _, p := range b.Published() {
					if p.ClientID == "sensor" {
						up.add(p.Payload)
					}
				}
				up.check(t, "up", total, qos == mqttsn.QoS2)
				down.check(t, "down", total, qos == mqttsn.QoS2)
			})
		})
	}
}
