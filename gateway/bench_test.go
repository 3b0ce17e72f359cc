package gateway

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// nullBroker answers at once and keeps nothing: what remains is the cost of the shell
// and the sessions.
type nullBroker struct{ broker.Broker }

func (nullBroker) Open(_ string, to broker.Receiver) broker.Conn { return nullConn{to} }
func (nullBroker) Flush()                                        {}
func (nullBroker) Up() bool                                      { return true }

type nullConn struct{ to broker.Receiver }

func (c nullConn) Do(r *broker.Request) error {
	if answered(r) {
		c.to.Receive(broker.Event{Kind: broker.Answered, Token: r.Token, QoS: r.QoS})
	}
	return nil
}

// nullLink sends nothing, for nothing.
type nullLink struct{ fakeLink }

func (*nullLink) Send(batch []transports.Datagram) (int, error) { return len(batch), nil }

// benchmarkGateway is a gateway with n connected clients, each subscribed to a topic.
func benchmarkGateway(b *testing.B, n int) *Gateway {
	b.Helper()
	o := DefaultOptions()
	o.MaxClients = n
	o.PublishRate, o.PublishByteRate = 1_000_000, 1_000_000_000
	o.ConnectRate, o.ConnectRatePerPrefix = 1_000_000, 1_000_000
	o.Shards = 2
	g, err := New(o, []transports.Link{&nullLink{}}, nullBroker{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		for _, p := range []mqttsn.Packet{
			connect(fmt.Sprint("client-", i)),
			mqttsn.Subscribe{QoS: 1, MsgID: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")},
		} {
			g.intakes[0].receive([]transports.Datagram{{Addr: addr(i), Data: p.Append(nil)}})
		}
	}
	b.Cleanup(func() {
		for _, s := range g.shards {
			s.timer.Stop()
		}
	})
	return g
}

// benchmarkPacket has 1,000 clients send the same packet, in batches as a link has them.
func benchmarkPacket(b *testing.B, p func(i int) mqttsn.Packet) {
	const clients, batchSize = 1000, 64
	g := benchmarkGateway(b, clients)
	batch := make([]transports.Datagram, batchSize)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%batchSize == 0 {
			b.StopTimer()
			for i := range batch {
				batch[i] = transports.Datagram{Addr: addr((n + i) % clients), Data: p(n + i).Append(batch[i].Data[:0])}
			}
			b.StartTimer()
			g.intakes[0].receive(batch)
		}
		n++
	}
}

func BenchmarkPing(b *testing.B) {
	benchmarkPacket(b, func(int) mqttsn.Packet { return mqttsn.Pingreq{} })
}

func BenchmarkPublishUp(b *testing.B) {
	for _, qos := range []mqttsn.QoS{mqttsn.QoS0, mqttsn.QoS1} {
		b.Run(fmt.Sprint("QoS", qos), func(b *testing.B) {
			data := make([]byte, 64)
			benchmarkPacket(b, func(i int) mqttsn.Packet {
				p := mqttsn.Publish{QoS: qos, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), Data: data}
				if qos > 0 {
					p.MsgID = uint16(i/1000)%65535 + 1
				}
				return p
			})
		})
	}
}

// BenchmarkIdleClient measures the memory of a connected client that does nothing,
// without that of the broker's side.
func BenchmarkIdleClient(b *testing.B) {
	const clients = 10_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		g := benchmarkGateway(b, clients)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/clients, "B/client")
		runtime.KeepAlive(g)
	}
}
