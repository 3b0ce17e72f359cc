package embedded

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// discarding is a store that keeps nothing, and counts octets.
type discarding struct {
	mu     sync.Mutex
	mark   store.Mark
	octets int
}

func (d *discarding) Apply(ops ...store.Op) store.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range ops {
		d.octets += 1 + len(ops[i].Key.Client) + 8 + len(ops[i].Value)
	}
	d.mark++
	return d.mark
}

func (d *discarding) Durable() store.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mark
}

func (d *discarding) Notify(func())                                                {}
func (d *discarding) Level() store.Level                                           { return store.Normal }
func (d *discarding) Read(store.Key, []byte) ([]byte, error)                       { return nil, store.ErrNotFound }
func (d *discarding) All(store.Space, func(k store.Key, value []byte) error) error { return nil }
func (d *discarding) Close() error                                                 { return nil }

// BenchmarkDurableDelivery is BenchmarkDeviceDelivery to durable sessions: a QoS 1 message
// with its Acks, and what the broker applies for it. The store itself is not measured.
func BenchmarkDurableDelivery(b *testing.B) {
	for _, subscribers := range []int{0, 1, 10} {
		b.Run(fmt.Sprint("subscribers=", subscribers), func(b *testing.B) {
			st := new(discarding)
			br := newStoreBroker(b, st)
			to := make([]*acking, subscribers)
			for i := range to {
				to[i] = new(acking)
				to[i].Conn = br.Open(fmt.Sprint("to", i), to[i])
				_ = to[i].Do(&broker.Request{Op: broker.Connect})
				_ = to[i].Do(&broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
			}
			from := benchDevice(b, br, "from")
			r := broker.Request{Op: broker.Publish, Topic: "t", Payload: make([]byte, 100), QoS: 1}
			st.octets = 0
			b.ReportAllocs()
			for b.Loop() {
				_ = from.Do(&r)
				for _, a := range to {
					a.ask = broker.Request{Op: broker.Ack, Token: broker.Token(a.last.Load())}
					_ = a.Do(&a.ask)
				}
			}
			b.ReportMetric(float64(st.octets)/float64(b.N), "applied-B/op")
		})
	}
}

// acking is a device that knows what it was delivered last.
type acking struct {
	broker.Conn
	last atomic.Uint32 // its token
	ask  broker.Request
}

func (a *acking) Receive(ev broker.Event) {
	if ev.Kind == broker.Delivered {
		a.last.Store(uint32(ev.Token))
	}
}
