package embedded

import (
	"fmt"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// What sessions cost is counted until they have ended, and then is nothing.
func TestSessionBytes(t *testing.T) {
	b := serve(t)
	want := func(what string, n int) {
		t.Helper()
		until(t, what, func() bool { return b.Stats().SessionBytes == n })
	}
	will := func(c *mqtt.Connect) {
		c.HasWill, c.Will.Topic, c.Will.Payload = true, []byte("will"), make([]byte, 1000)
		c.Properties.SessionExpiry = mqtt.Some(uint32(1000))
		c.Will.Properties.Delay = mqtt.Some(uint32(1000))
		c.CleanStart = false
	}
	const id, willCost = 1, messageCost + 1004
	p := login(t, b, mqtt.V5, "c", will)
	want("a will", id+willCost)
	p.subscribe(0, "a/b", "a/+", "$share/g/#", "a/b")
	want("subscriptions", id+willCost+3*subscriptionCost+3+3+10+5*levelCost)
	p.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("$share/g/#"), []byte("none")}})
	expect[*mqtt.Unsuback](p)
	const left = id + 2*subscriptionCost + 6 + 2*levelCost
	want("less of them", left+willCost)
	for _, id := range []uint16{1, 2, 300} {
		p.send(&mqtt.Publish{Topic: []byte("q"), QoS: 2, PacketID: id})
		expect[*mqtt.Pubrec](p)
	}
	want("identifiers", left+willCost+2*idPageCost)
	p.send(&mqtt.Publish{Topic: []byte("topic"), Properties: mqtt.PublishProperties{TopicAlias: 1}})
	want("a topic alias", left+willCost+2*idPageCost+5)
	p.conn.Close()
	want("one that is away", left+willCost+2*idPageCost)
	p = login(t, b, mqtt.V5, "c", stay)
	p.send(&mqtt.Pubrel{PacketID: 1})
	p.send(&mqtt.Pubrel{PacketID: 2})
	p.send(&mqtt.Pubrel{PacketID: 300})
	want("one without its will", left)
	login(t, b, mqtt.V5, "c").conn.Close()
	want("none", 0)
}

// Whoever wants more than there is room for is refused, and what is there goes on.
func TestSessionBytesTotal(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxSessionBytesTotal = 1 << 20 })
	denied := func() uint64 { return b.Stats().Denied["max_session_bytes_total"] }
	first := login(t, b, mqtt.V5, "first", stay)
	first.subscribe(0, "topic")
	for i := 0; denied() == 0; i++ {
		p := dial(t, b, mqtt.V5)
		c := &mqtt.Connect{Version: mqtt.V5, ClientID: fmt.Append(nil, i), HasWill: true}
		c.Properties.SessionExpiry = mqtt.Some(uint32(1000))
		c.Will = mqtt.Will{Topic: []byte("w"), Payload: make([]byte, 65000)}
		c.Will.Properties.Delay = mqtt.Some(uint32(1000))
		p.send(c)
		ack := expect[*mqtt.Connack](p)
		if i > 16 || ack.Code != mqtt.CodeSuccess && (ack.Code != mqtt.CodeQuota || i < 15) {
			t.Fatalf("CONNACK %v for client %d", ack.Code, i)
		}
		p.conn.Close()
	}
	// Some octets are left. Filters take them.
	filter := func(n int) mqtt.Code {
		first.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: fmt.Appendf(nil, "%d/%01000d", n, 0)}}})
		return expect[*mqtt.Suback](first).Codes[0]
	}
	n := 0
	for ; filter(n) == mqtt.CodeSuccess; n++ {
	}
	if code := filter(n); code != mqtt.CodeQuota || filter(0) != mqtt.CodeSuccess {
		t.Errorf("SUBACK %v", code)
	}
	short := 0
	for ; denied() > 0; short++ { // the last octets, by packet identifiers
		first.send(&mqtt.Publish{Topic: []byte("q"), QoS: 2, PacketID: uint16(short*256 + 1)})
		if code := expect[*mqtt.Pubrec](first).Code; code == mqtt.CodeQuota {
			break
		}
	}
	if short > 100 {
		t.Errorf("%d pages of identifiers are kept", short)
	}
	old := login(t, b, mqtt.V311, "o")
	for i := range uint16(100) {
		old.send(&mqtt.Publish{Topic: []byte("q"), QoS: 2, PacketID: i*256 + 1})
	}
	old.closed()
	first.publish("topic", "x", 0, false)
	first.gets("x", 0)
	if n := b.Stats().SessionBytes; n > 1<<20 {
		t.Errorf("sessions cost %d octets", n)
	}
	until(t, "all others are away", func() bool { return b.Stats().Connected == 1 })
}

// One client's subscriptions are bounded in octets and in shared ones, however it asks.
func TestSubscriptionBytes(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxSubscriptionBytes, o.MaxSharedSubscriptions = 1<<20, 3 })
	for _, c := range []struct {
		name   string
		filter func(int) string
		limit  string
		want   int
	}{
		{"long", func(i int) string { return fmt.Sprintf("%d/%060000d", i, 0) }, "max_subscription_bytes", 17},
		{"deep", func(i int) string { return fmt.Sprint(i, strings.Repeat("/", 199), "#") }, "max_subscription_bytes", 53},
		{"shared", func(i int) string { return fmt.Sprintf("$share/g%d/#", i) }, "max_shared_subscriptions", 3},
	} {
		d := connected(t, b, "d", true)
		before, denied := int(inUse().Heap), b.Stats().Denied[c.limit]
		granted := 0
		for i := range 1000 {
			d.do(broker.Request{Op: broker.Subscribe, Topic: c.filter(i), QoS: 1})
			ev := d.next()
			switch {
			case !ev.Code.Failed():
				granted++
			case ev.Code != broker.CodeQuota:
				t.Fatalf("%s: %v", c.name, ev.Code)
			}
		}
		d.do(broker.Request{Op: broker.Subscribe, Topic: c.filter(0), QoS: 1}) // again
		if ev := d.next(); ev.Code.Failed() {
			t.Errorf("%s: again: %v", c.name, ev.Code)
		}
		if used := int(inUse().Heap) - before; granted != c.want || used > 3<<20 {
			t.Errorf("%s: %d subscriptions, which cost %d octets", c.name, granted, used)
		}
		if n := b.Stats().Denied[c.limit] - denied; n != uint64(1000-c.want) {
			t.Errorf("%s: %d were refused because of %s", c.name, n, c.limit)
		}
	}
	connected(t, b, "d", true)
	if n := b.Stats().SessionBytes; n != len("d") {
		t.Errorf("%d octets are counted", n)
	}
}
