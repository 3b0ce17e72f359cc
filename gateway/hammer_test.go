package gateway

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// sink takes everything from any goroutine.
type sink struct{ nullLink }

// anyPacket is a packet of one of a few clients, sensible or not.
func anyPacket(r *rand.Rand) mqttsn.Packet {
	id := fmt.Append(nil, "client-", r.IntN(12))
	short, msgID := shortTopic("ab"), uint16(1+r.IntN(5))
	switch r.IntN(14) {
	case 0, 1:
		return mqttsn.Connect{ProtocolID: 1, Duration: 60, CleanSession: r.IntN(2) == 0, ClientID: id}
	case 2:
		return mqttsn.Connect{ProtocolID: byte(r.IntN(3)), Will: true, ClientID: id}
	case 3:
		return mqttsn.Pingreq{ClientID: id}
	case 4:
		return mqttsn.Disconnect{HasDuration: r.IntN(2) == 0, Duration: 5}
	case 5:
		return mqttsn.Subscribe{QoS: mqttsn.QoS(r.IntN(3)), TopicIDType: mqttsn.TopicShort, TopicID: short, MsgID: msgID}
	case 6:
		return mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: short}
	case 7:
		return mqttsn.Puback{TopicID: short, MsgID: msgID}
	case 8:
		return mqttsn.WillTopic{Topic: []byte("will")}
	case 9:
		return mqttsn.WillMsg{Message: []byte("gone")}
	case 10:
		return mqttsn.Pubrel{MsgID: msgID}
	case 11:
		return mqttsn.Pingreq{}
	}
	return mqttsn.Publish{QoS: mqttsn.QoS(r.IntN(3)), TopicIDType: mqttsn.TopicShort, TopicID: short, MsgID: msgID}
}

// Clients take each other's addresses, come to both links with one name, and come and go
// at the limit of clients, while the broker ends connections and others look on.
func TestHammer(t *testing.T) {
	o := DefaultOptions()
	o.Shards, o.MaxClients = 3, 8
	b := memory.New()
	g, err := New(o, []transports.Link{&sink{}, &sink{}}, b, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	const batches, batchSize = 400, 32
	for i := range g.intakes {
		done.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			batch := make([]transports.Datagram, batchSize)
			for range batches {
				for k := range batch {
					batch[k] = transports.Datagram{Addr: addr(r.IntN(10)), Data: anyPacket(r).Append(nil)}
				}
				g.intakes[i].receive(batch)
				if n := g.clients.Load(); n > int64(o.MaxClients+len(g.intakes)) { // one each is being refused
					t.Errorf("%d clients", n)
				}
			}
		})
	}
	done.Go(func() {
		r := rand.New(rand.NewPCG(1, 1<<32))
		for range 100 {
			b.Kick(fmt.Sprint("client-", r.IntN(12)), broker.CodeTakenOver)
			b.Publish("ab", []byte("x"), byte(r.IntN(3)), false)
			g.wake()
			g.Stats()
			if err := g.Alive(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	done.Go(func() {
		for range 100 {
			for _, s := range g.shards {
				s.ring()
			}
		}
	})
	done.Wait()
	g.check(t)
	st := g.Stats()
	counted := st.Dropped["malformed"]
	for _, n := range st.Received {
		counted += n
	}
	if want := uint64(len(g.intakes) * batches * batchSize); counted != want {
		t.Errorf("%d of %d datagrams are accounted for", counted, want)
	}
	g.over.Store(true) // or the timers ring on
	for _, s := range g.shards {
		s.timer.Stop()
	}
}
