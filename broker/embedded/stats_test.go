package embedded

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// wire counts the octets of a peer's connection.
type wire struct{ in, out, packetsIn, packetsOut uint64 }

func (w *wire) send(p *peer, packets ...mqtt.Packet) {
	for _, packet := range packets {
		w.out += uint64(len(packet.Append(nil, p.version)))
		w.packetsOut++
	}
	p.send(packets...)
}

func (w *wire) take(packet mqtt.Packet, v mqtt.Version) {
	w.in += uint64(len(packet.Append(nil, v)))
	w.packetsIn++
}

// Every octet and every packet of a connection is counted, and so are messages and their
// payloads, once each.
func TestStatsOfTraffic(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		var w wire
		p := pipe(t, b, mqtt.V5)
		w.send(p, &mqtt.Connect{CleanStart: true, ClientID: []byte("c")})
		w.take(expect[*mqtt.Connack](p), p.version)
		w.send(p, &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t"), QoS: 2}}})
		w.take(expect[*mqtt.Suback](p), p.version)
		for qos := range mqtt.QoS(3) {
			w.send(p, &mqtt.Publish{Topic: []byte("t"), Payload: []byte("12345"), QoS: qos, PacketID: 9})
			w.take(expect[*mqtt.Publish](p), p.version)
			switch qos {
			case 1:
				w.take(expect[*mqtt.Puback](p), p.version)
			case 2:
				w.take(expect[*mqtt.Pubrec](p), p.version)
			}
		}
		d := connected(t, b, "d", true)
		d.publish("t", "123", 0, false)
		b.Flush()
		w.take(expect[*mqtt.Publish](p), p.version)
		synctest.Wait()
		st := b.Stats()
		if st.BytesReceived != w.out || st.BytesSent != w.in {
			t.Errorf("%d octets received and %d sent, want %d and %d", st.BytesReceived, st.BytesSent, w.out, w.in)
		}
		if st.PacketsReceived != w.packetsOut || st.PacketsSent != w.packetsIn {
			t.Errorf("%d packets received and %d sent, want %d and %d", st.PacketsReceived, st.PacketsSent, w.packetsOut, w.packetsIn)
		}
		if want := [3]uint64{2, 1, 1}; st.Received != want || st.Sent != want {
			t.Errorf("messages received %v, sent %v, want %v", st.Received, st.Sent, want)
		}
		if st.ReceivedBytes != 18 || st.SentBytes != 18 {
			t.Errorf("payload octets received %d, sent %d, want 18", st.ReceivedBytes, st.SentBytes)
		}
		if st.QueuedMessages != 2 || st.QueuedBytes != 12 {
			t.Errorf("%d messages and %d octets are queued, want 2 and 12", st.QueuedMessages, st.QueuedBytes)
		}
	})
}

func TestStatsOfClients(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		first := piped(t, b, mqtt.V5, "c", stay)
		second := piped(t, b, mqtt.V311, "c", stay)
		first.untilClosed()
		silent := pipe(t, b, mqtt.V5)
		connected(t, b, "d", true)
		synctest.Wait()
		st := b.Stats()
		if st.Accepted != 3 || st.Connects != 3 || st.Takeovers != 1 || st.Connections != 2 || st.Connected != 2 || st.MaxConnected != 2 {
			t.Errorf("%+v", st)
		}
		second.conn.Close()
		silent.conn.Close()
		synctest.Wait()
		if st := b.Stats(); st.Connections != 0 || st.Connected != 1 || st.MaxConnected != 2 || st.Sessions != 2 {
			t.Errorf("%+v", st)
		}
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		if st := b.Stats(); st.Expired != 1 || st.Sessions != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// What a client does not take is counted while it waits, however its connection goes on.
func TestStatsOfDelay(t *testing.T) {
	for _, end := range []string{"reads", "closes", "is taken over"} {
		t.Run(end, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *Broker) {
				p := piped(t, b, mqtt.V311, "c")
				p.subscribe(0, "t")
				d := connected(t, b, "d", true)
				for range 10 {
					d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: bytes.Repeat([]byte{1}, 96)})
					b.Flush()
				}
				synctest.Wait()
				if st := b.Stats(); st.DelayedPackets != 10 || st.DelayedBytes != 1010 {
					t.Errorf("%d packets and %d octets are delayed, want 10 and 1010", st.DelayedPackets, st.DelayedBytes)
				}
				switch end {
				case "reads":
					_, _ = io.ReadFull(p.conn, make([]byte, 1010))
				case "closes":
					p.conn.Close()
				default:
					piped(t, b, mqtt.V311, "c")
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				if st := b.Stats(); st.DelayedPackets != 0 || st.DelayedBytes != 0 {
					t.Errorf("%d packets and %d octets are still delayed", st.DelayedPackets, st.DelayedBytes)
				}
			})
		})
	}
}
