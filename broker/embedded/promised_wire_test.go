package embedded

import (
	"fmt"
	"testing"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// stayed is a subscriber whose session survives, so that what is published to the topic has
// to be made durable. It does not stay.
func stayed(t testing.TB, b *Broker, st *store.Memory, id, topic string, qos mqtt.QoS) {
	t.Helper()
	p := dial(t, b, mqtt.V311)
	p.send(&mqtt.Connect{ClientID: []byte(id)},
		&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(topic), QoS: qos}}})
	soon[*mqtt.Connack](p, st)
	soon[*mqtt.Suback](p, st)
	p.send(&mqtt.Disconnect{})
	p.closed()
	st.Commit()
}

// soon expects a packet while all becomes durable.
func soon[T mqtt.Packet](p *peer, st *store.Memory) T {
	p.t.Helper()
	var packet mqtt.Packet
	until(p.t, "the next packet", func() bool {
		st.Commit()
		next, err := p.read(time.Millisecond)
		packet = next
		return err == nil
	})
	want, ok := packet.(T)
	if !ok {
		p.t.Fatalf("read %T %+v, want %T", packet, packet, *new(T))
	}
	return want
}

// unanswered reports whether the client's CONNACK is held.
func (b *Broker) unanswered(id string) bool {
	c := b.connection(id)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.held != nil && c.out.held.silent
}

// heldFor is how many packets are held for a client.
func (b *Broker) heldFor(id string) int {
	c := b.connection(id)
	if c == nil {
		return 0
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.held == nil {
		return 0
	}
	return len(c.out.held.list)
}

// CONNACK is the first packet, and nothing is lost that comes while it waits.
func TestConnackWaits(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		st := holding()
		b := serveStore(t, st)
		p := dial(t, b, v)
		connect := &mqtt.Connect{ClientID: []byte("c")}
		stay(connect)
		p.send(connect, &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t"), QoS: 1}}},
			&mqtt.Pingreq{}, &mqtt.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 1, PacketID: 2})
		until(t, "the client is known", func() bool { return b.connection("c") != nil })
		c := b.connection("c")
		until(t, "all is read", func() bool { return c.out.crowded() != nil })
		if packet, err := p.read(20 * time.Millisecond); err == nil {
			t.Fatalf("%+v before the session is durable", packet)
		}
		st.Commit()
		expect[*mqtt.Connack](p)
		expect[*mqtt.Pingresp](p)
		p.gets("x", 1)
		st.Commit()
		expect[*mqtt.Suback](p)
		p.pubacks(2)
	})
}

// A client that sends without end does not make the broker hold acknowledgements without
// end: it is read again when some have left.
func TestPromisesAreBounded(t *testing.T) {
	const all = 20_000
	st := holding()
	b := serveStore(t, st, func(o *Options) { o.ReceiveMaximum = 200; o.MaxQueuedMessages = all })
	stayed(t, b, st, "s", "t", 1)
	p := login(t, b, mqtt.V311, "c")
	done := make(chan error, 1)
	go func() {
		var flood []byte
		for i := range all {
			flood = (&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: uint16(i%0xFFFF + 1)}).Append(flood, mqtt.V311)
		}
		_, err := p.conn.Write(flood)
		done <- err
	}()
	c := b.connection("c")
	until(t, "it is not read any more", func() bool { return c.out.crowded() != nil })
	for i := range all {
		if i%150 == 0 {
			if n := b.heldFor("c"); n > 200+maxBatch {
				t.Fatalf("%d packets are held", n)
			}
			st.Commit()
		}
		packet, err := p.read(time.Millisecond)
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			st.Commit()
			packet, err = p.read(time.Millisecond)
		}
		if ack, ok := packet.(*mqtt.Puback); !ok || ack.PacketID != uint16(i%0xFFFF+1) {
			t.Fatalf("%+v, %v instead of PUBACK %d", packet, err, i)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// While nothing becomes durable clients stay connected, and are answered afterwards.
func TestPromisesWhileDegraded(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		st := holding()
		b := serveStore(t, st)
		stayed(t, b, st, "s", "t", 1)
		p := login(t, b, v, "c")
		for id := range uint16(10) {
			p.send(&mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, id), QoS: 1, PacketID: id + 1})
			p.quiet()
		}
		st.SetLevel(store.Degraded)
		p.quiet()
		st.SetLevel(store.Normal)
		st.Commit()
		p.pubacks(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	})
}

// A QoS 2 message leaves when its identifier is durable, and one with QoS 1 not before it.
// Others do not wait, and a session that ends with its connection has nothing to wait for.
func TestIdentifierIsDurableFirst(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		st := store.NewMemory()
		b := serveStore(t, st)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "#")
		clean := login(t, b, v, "clean")
		clean.subscribe(2, "#")
		st.Hold()
		d := connected(t, b, "d", true)
		for i, qos := range []byte{1, 2, 1, 0} {
			d.publish("t", fmt.Sprint(i), qos, false)
		}
		b.Flush()
		p.gets("0", 1)
		p.gets("3", 0)
		p.quiet()
		st.Commit()
		m := p.gets("1", 2)
		p.gets("2", 1)
		p.send(&mqtt.Pubrec{PacketID: m.PacketID})
		p.quiet()
		st.Commit()
		expect[*mqtt.Pubrel](p)
		for i, qos := range []mqtt.QoS{1, 2, 1, 0} {
			clean.gets(fmt.Sprint(i), qos)
		}
	})
}
