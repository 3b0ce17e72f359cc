package embedded

import (
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// Clients that send large packets and never end them take no more memory than there is for
// all of them; whoever ends its packet has it handled meanwhile.
func TestIncoming(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxIncomingBytesTotal = 4 << 20 })
	const size = 1_000_000
	packet := (&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 1, Payload: make([]byte, size)}).Append(nil, mqtt.V5)
	var slow []*peer
	for range 20 {
		p := login(t, b, mqtt.V5, "")
		if _, err := p.conn.Write(packet[:size-1000]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, p)
		until(t, "it is read", func() bool { return b.stats.bytesIn.Load() > 0 || b.incoming.stats() > 0 })
	}
	good := login(t, b, mqtt.V5, "good")
	for range 3 {
		if _, err := good.conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		expect[*mqtt.Puback](good)
	}
	refused := func() uint64 { return b.Stats().Refused["max_incoming_bytes_total"] }
	until(t, "the first ones are gone", func() bool { return refused() >= 16 && b.Stats().Connections <= 5 })
	if n := b.incoming.stats(); n > 4<<20 {
		t.Errorf("%d octets are held", n)
	}
	told := 0
	for _, p := range slow {
		if uint64(told) == refused() {
			break
		}
		if answer, err := p.read(patience); err == nil && answer.(*mqtt.Disconnect).Code == mqtt.CodeQuota {
			told++
		}
	}
	if told == 0 {
		t.Error("nobody was told why")
	}
	for _, p := range slow {
		p.conn.Close()
	}
	good.conn.Close()
	until(t, "nothing is held", func() bool { return b.incoming.stats() == 0 && b.Stats().Connections == 0 })
}
