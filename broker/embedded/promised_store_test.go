package embedded

import (
	"fmt"
	"sync"
	"testing"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// Who publishes into a full store is told so by MQTT 5, and before finds the connection
// closed without an answer. When there is room the message is taken, as a first one.
func TestPublishIntoFullStore(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		for _, qos := range []mqtt.QoS{1, 2} {
			st := store.NewMemory()
			b := serveStore(t, st)
			s := login(t, b, v, "s", stay)
			s.subscribe(2, "t")
			p := login(t, b, v, "c", stay)
			st.SetLevel(store.Full)
			p.send(&mqtt.Publish{Topic: []byte("t"), QoS: qos, PacketID: 7})
			switch {
			case v < mqtt.V5:
				p.closed()
				until(t, "the end is counted", func() bool { return b.Stats().Disconnects["store_full"] == 1 })
				p = login(t, b, v, "c", stay)
			case qos == 1:
				if ack := expect[*mqtt.Puback](p); ack.Code != mqtt.CodeQuota {
					t.Errorf("PUBACK %v", ack.Code)
				}
			default:
				if ack := expect[*mqtt.Pubrec](p); ack.Code != mqtt.CodeQuota {
					t.Errorf("PUBREC %v", ack.Code)
				}
			}
			s.quiet()
			st.SetLevel(store.Normal)
			p.publish("t", "now", qos, false)
			s.gets("now", qos)
		}
	})
}

// Many clients publish and subscribe while the store commits whenever it likes. All is
// acknowledged and nothing is lost.
func TestPromisesConcurrently(t *testing.T) {
	const clients, rounds = 8, 60
	st := holding()
	b := serveStore(t, st)
	stop := make(chan struct{})
	var committing, all sync.WaitGroup
	committing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				st.Commit()
			}
		}
	})
	for i := range clients {
		v := versions[i%len(versions)]
		all.Go(func() {
			topic := fmt.Sprint("t/", i)
			p := login(t, b, v, fmt.Sprint(i), stay)
			p.subscribe(mqtt.QoS(i%2+1), topic)
			released, got, acked := 0, 0, 0
			for round := range rounds {
				p.send(&mqtt.Publish{Topic: []byte(topic), Payload: fmt.Append(nil, round), QoS: mqtt.QoS(i%2 + 1), PacketID: uint16(round + 1)})
			}
			for got < rounds || acked < rounds || i%2 == 1 && released < rounds {
				packet, err := p.read(patience)
				if err != nil {
					t.Errorf("client %d: %v; got %d, acknowledged %d, released %d", i, err, got, acked, released)
					return
				}
				switch m := packet.(type) {
				case *mqtt.Publish:
					if string(m.Payload) != fmt.Sprint(got) {
						t.Errorf("client %d got %q, want %d", i, m.Payload, got)
						return
					}
					got++
					if m.QoS == 1 {
						p.puback(m)
					} else {
						p.send(&mqtt.Pubrec{PacketID: m.PacketID})
					}
				case *mqtt.Puback:
					if acked++; int(m.PacketID) != acked {
						t.Errorf("client %d: PUBACK %d, want %d", i, m.PacketID, acked)
					}
				case *mqtt.Pubrec:
					p.send(&mqtt.Pubrel{PacketID: m.PacketID})
				case *mqtt.Pubcomp:
					acked++
				case *mqtt.Pubrel:
					released++
					p.send(&mqtt.Pubcomp{PacketID: m.PacketID})
				}
			}
		})
	}
	all.Wait()
	close(stop)
	committing.Wait()
}
