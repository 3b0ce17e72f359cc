package embedded

import (
	"fmt"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

func TestUpgradeOutgoingQoS(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, func(o *Options) { o.UpgradeOutgoingQoS = true })
		from := connected(t, b, "from", true)
		from.publish("r", "retained", 0, true)
		for granted := range mqtt.QoS(3) {
			p := login(t, b, v, "c")
			p.subscribe(granted, "t", "r")
			p.gets("retained", granted)
			for qos := range byte(3) {
				from.publish("t", "x", qos, false)
				b.Flush()
				p.gets("x", granted)
			}
		}
	})
	b := newBroker(t, func(o *Options) { o.UpgradeOutgoingQoS = true })
	d := connected(t, b, "d", true)
	d.subscribe("t", 1)
	connected(t, b, "from", true).publish("t", "x", 0, false)
	d.delivered("x", 1)
}

// With queue_qos0_messages, clients that are away get QoS 0 messages when they are back, in
// their place among the others.
func TestQueueQoS0Messages(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, func(o *Options) {
			o.QueueQoS0Messages, o.MaxInflightMessages, o.MaxQueuedMessages = true, 2, 8
		})
		from := connected(t, b, "from", true)
		d := connected(t, b, "d", false)
		d.subscribe("t", 2)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		from.publish("t", "there", 0, false) // as ever
		b.Flush()
		p.gets("there", 0)
		d.delivered("there", 0)
		p.conn.Close()
		d.do(broker.Request{Op: broker.Disconnect})
		until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })

		qos := []byte{0, 1, 0, 2, 0, 1, 0, 0, 1, 0} // 8 and the client's window
		for i, q := range qos {
			from.publish("t", fmt.Sprint(i), q, false)
		}
		from.publish("t", "too many", 0, false)
		if st := b.Stats(); st.QueuedMessages != 21 || st.Dropped["queue_full"] != 1 {
			t.Errorf("%d queued, dropped %v", st.QueuedMessages, st.Dropped)
		}
		p = login(t, b, v, "c", stay)
		come := func(first, last int) (id uint16) {
			t.Helper()
			for i := first; i <= last; i++ {
				id = p.gets(fmt.Sprint(i), mqtt.QoS(qos[i])).PacketID
			}
			return id
		}
		one := come(0, 1)
		three := come(2, 3)
		from.publish("t", "last", 0, false)
		b.Flush()
		p.quiet() // two are in flight
		p.send(&mqtt.Puback{PacketID: one})
		five := come(4, 5)
		p.quiet()
		p.send(&mqtt.Pubrec{PacketID: three})
		expect[*mqtt.Pubrel](p)
		p.send(&mqtt.Pubcomp{PacketID: three})
		come(6, 8)
		p.quiet()
		p.send(&mqtt.Puback{PacketID: five})
		come(9, 9)
		p.gets("last", 0)
		from.publish("t", "direct", 0, false)
		b.Flush()
		p.gets("direct", 0)

		d.do(broker.Request{Op: broker.Connect})
		d.answer()
		for i, q := range qos {
			if token := d.delivered(fmt.Sprint(i), q); q > 0 {
				d.ack(token)
			}
		}
		d.delivered("too many", 0) // its window is larger
		d.delivered("last", 0)
		d.delivered("direct", 0)
		d.quiet()
	})
}

// One message at least is in flight, and no further one once max_inflight_bytes is reached.
func TestMaxInflightBytes(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, func(o *Options) { o.MaxInflightBytes = 100 })
		from := connected(t, b, "from", true)
		p := login(t, b, v, "c", stay)
		p.subscribe(1, "t")
		for _, size := range []int{500, 40, 58, 1, 500, 1} { // and one for the topic
			from.publish("t", strings.Repeat("x", size), 1, false)
		}
		b.Flush()
		come := func(sizes ...int) (ids []uint16) {
			t.Helper()
			for _, size := range sizes {
				ids = append(ids, p.gets(strings.Repeat("x", size), 1).PacketID)
			}
			p.quiet()
			return ids
		}
		come(500)
		p.conn.Close()
		p = login(t, b, v, "c", stay)
		ids := come(500)
		p.send(&mqtt.Puback{PacketID: ids[0]})
		ids = come(40, 58)
		p.send(&mqtt.Puback{PacketID: ids[0]})
		more := come(1, 500)
		p.send(&mqtt.Puback{PacketID: ids[1]}, &mqtt.Puback{PacketID: more[0]})
		p.quiet()
		p.send(&mqtt.Puback{PacketID: more[1]})
		come(1)
	})
}
