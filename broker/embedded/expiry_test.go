package embedded

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// expiring publishes messages with QoS 1 that expire after some seconds.
func (p *peer) expiring(topic string, seconds uint32, payloads ...string) {
	p.t.Helper()
	for _, payload := range payloads {
		m := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1}
		m.Properties.MessageExpiry = mqtt.Some(seconds)
		p.send(m)
		expect[*mqtt.Puback](p)
	}
}

// What has expired leaves the queue of a client that is away or takes nothing more, be it
// used or not.
func TestExpiredLeaveTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		queued := func(want int, expired uint64) {
			t.Helper()
			synctest.Wait()
			st := b.Stats()
			if st.QueuedMessages != want || st.Dropped["expired"] != expired || st.Dropped["queue_full"] != 0 {
				t.Fatalf("after %v %d are queued, want %d; dropped %v", b.now(), st.QueuedMessages, want, st.Dropped)
			}
			if want == 0 && st.QueuedBytes != 0 {
				t.Errorf("%d octets are queued", st.QueuedBytes)
			}
		}
		away := connected(t, b, "away", false)
		away.subscribe("a", 1)
		away.do(broker.Request{Op: broker.Disconnect})
		stuck := connected(t, b, "stuck", false)
		stuck.subscribe("s", 1)
		pub := piped(t, b, mqtt.V5, "pub")
		for _, topic := range []string{"a", "s"} {
			pub.expiring(topic, 5, "short 1", "short 2", "short 3")
			pub.expiring(topic, 60, "long")
			pub.expiring(topic, 5, "short 4")
		}
		queued(10, 0)
		time.Sleep(6*time.Second + time.Millisecond)
		queued(1+3, 6) // two of the stuck client's are in flight
		pub.expiring("a", 20, "next")
		time.Sleep(55 * time.Second)
		queued(2, 9)

		b.mu.Lock()
		_, filed := b.deadlines.next()
		b.mu.Unlock()
		if !filed || len(b.deadlines.heap) != 1 {
			t.Errorf("%d sessions are filed, want the one that is away", len(b.deadlines.heap))
		}
		for i := range 2 {
			stuck.ack(stuck.delivered(fmt.Sprint("short ", i+1), 1))
		}
		queued(0, 9)
		stuck.quiet()
	}, func(o *Options) { o.DeviceInflight = 2 })
}

// A full queue has room again as soon as one of its messages has expired, though nobody
// tends it.
func TestExpiredMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, func(o *Options) { o.MaxQueuedMessages, o.DeviceInflight, o.MaxQueuedBytes = 10, 1, 1024 })
		d := connected(t, b, "d", false)
		d.subscribe("#", 1)
		offer := func(payload string, expiry time.Duration) {
			p := newPublication()
			p.Topic, p.Payload, p.QoS, p.expires = "t", []byte(payload), 1, b.now()+expiry
			r, _ := b.topics.route("t")
			b.publish(p, r)
			p.release()
		}
		for i := range 12 {
			offer(fmt.Sprint(i), time.Duration(i+1)*time.Second)
		}
		if st := b.Stats(); st.QueuedMessages != 11 || st.Dropped["queue_full"] != 1 {
			t.Fatalf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
		}
		time.Sleep(4 * time.Second) // 1, 2 and 3 have expired; 0 is in flight
		offer("new", time.Minute)
		st := b.Stats()
		if st.QueuedMessages != 9 || st.Dropped["queue_full"] != 1 || st.Dropped["expired"] != 3 {
			t.Errorf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
		}
		for _, want := range []string{"0", "4", "5", "6", "7", "8", "9", "10", "new"} {
			d.ack(d.delivered(want, 1))
		}
		d.quiet()
	})
}

// What was sent before is sent again, however old it is: the client may know it.
func TestExpiredAfterItWasSent(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		d := connected(t, b, "d", false)
		d.subscribe("t", 1)
		pub := piped(t, b, mqtt.V5, "pub")
		pub.expiring("t", 5, "sent", "waits")
		d.delivered("sent", 1)
		d.do(broker.Request{Op: broker.Disconnect})
		time.Sleep(time.Minute)
		d.do(broker.Request{Op: broker.Connect})
		d.answer()
		d.ack(d.delivered("sent", 1))
		d.quiet()
		if st := b.Stats(); st.Dropped["expired"] != 1 || st.QueuedMessages != 0 {
			t.Errorf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
		}
	}, func(o *Options) { o.DeviceInflight = 1 })
}

// A will that lives for no time at all is one that comes too late, like such a PUBLISH.
func TestWillExpiresAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		time.Sleep(time.Second)
		d := connected(t, b, "d", true)
		d.subscribe("w", 1)
		p := piped(t, b, mqtt.V5, "p", func(c *mqtt.Connect) {
			c.HasWill = true
			c.Will = mqtt.Will{Topic: []byte("w"), Payload: []byte("will"), QoS: 1}
			c.Will.Properties.MessageExpiry = mqtt.Some(uint32(0))
		})
		p.conn.Close()
		synctest.Wait()
		d.quiet()
		if n := b.Stats().Dropped["expired"]; n != 1 {
			t.Errorf("%d expired, want 1", n)
		}
	})
}
