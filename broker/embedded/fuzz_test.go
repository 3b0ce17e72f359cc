package embedded

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// FuzzClient lets a connected client send anything. The broker neither panics nor hangs,
// and every message that it counts as queued is really there.
func FuzzClient(f *testing.F) {
	seed := func(v mqtt.Version, packets ...mqtt.Packet) {
		var b []byte
		for _, p := range packets {
			b = p.Append(b, v)
		}
		f.Add(byte(v), b)
	}
	subscribe := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("#"), QoS: 2}}}
	for _, v := range versions {
		seed(v, subscribe, &mqtt.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, PacketID: 2, Retain: true}, &mqtt.Puback{PacketID: 1})
		seed(v, subscribe, &mqtt.Publish{Topic: []byte("a/b"), QoS: 2, PacketID: 2}, &mqtt.Pubrel{PacketID: 2}, &mqtt.Pubrec{PacketID: 1}, &mqtt.Pubcomp{PacketID: 1})
		seed(v, &mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("#")}}, &mqtt.Pingreq{}, &mqtt.Disconnect{})
	}
	alias := aliased("topic", "x", 1)
	alias.QoS, alias.PacketID = 2, 1
	seed(mqtt.V5, subscribe, alias, aliased("", "y", 1), aliased("other", "y", 1), &mqtt.Pubrel{PacketID: 1}, aliased("", "z", 2))
	o := DefaultOptions()
	o.Listeners, o.MaxPacketSize, o.MaxSubscriptions = nil, 4096, 10
	o.MaxRetainedMessages = 10
	b, err := New(o, nil, silent())
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = b.Serve(ctx, func() {}) })
	f.Cleanup(func() {
		cancel()
		done.Wait()
	})
	f.Fuzz(func(t *testing.T, version byte, data []byte) {
		v := versions[int(version)%len(versions)]
		client, server := net.Pipe()
		b.serve(new(listener), server)
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, client)
		}()
		c := &mqtt.Connect{ClientID: []byte{'a' + version%4}, CleanStart: version&0x40 == 0}
		c.Properties.SessionExpiry = mqtt.Some(uint32(version & 0x20))
		c.Properties.TopicAliasMaximum = mqtt.Some(uint16(version & 3))
		_ = client.SetWriteDeadline(time.Now().Add(patience))
		_, _ = client.Write(c.Append(nil, v))
		_, _ = client.Write(data)
		client.Close()
		<-read
		until(t, "the connection ends", func() bool { return b.Stats().Connections == 0 })
		checkAccounts(t, b)
	})
}

// checkAccounts compares what is counted with what is there.
func checkAccounts(t *testing.T, b *Broker) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	queued, subscriptions := 0, 0
	held, kept := 0, make(map[*message]int32)
	for _, s := range b.sessions {
		s.mu.Lock()
		bytes := 0
		for i := range s.queue.len() {
			m := s.queue.at(i).message
			bytes += m.size()
			if kept[m]++; kept[m] == 1 {
				held += messageCost + m.size()
			}
			held += deliveryCost
		}
		if bytes != s.queue.bytes || s.line != nil {
			t.Errorf("session %q: %d octets are queued, counted %d; line %v", s.id, bytes, s.queue.bytes, s.line)
		}
		if s.backlog != nil {
			held += retainedCost * s.backlog.len
		}
		queued += s.queue.len()
		subscriptions += s.filters.len()
		s.mu.Unlock()
	}
	for m, n := range kept {
		if n != m.holders {
			t.Errorf("a message is in %d queues, counted %d", n, m.holders)
		}
	}
	if n := b.stats.held.Load(); n != int64(held) {
		t.Errorf("%d octets are held, counted %d", held, n)
	}
	for _, s := range b.deadlines.heap {
		if b.sessions[s.id] != s {
			t.Errorf("something is due for session %q, which has ended", s.id)
		}
	}
	if st := b.Stats(); st.QueuedMessages != queued || st.Subscriptions != subscriptions || st.Sessions != len(b.sessions) {
		t.Errorf("counted %+v; there are %d queued, %d subscriptions, %d sessions", st, queued, subscriptions, len(b.sessions))
	}
}
