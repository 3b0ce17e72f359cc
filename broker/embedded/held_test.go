package embedded

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// away makes n sessions of clients that are away, each with a subscription of its own.
func away(t *testing.T, b *Broker, n int) {
	for i := range n {
		d := connected(t, b, fmt.Sprint("away", i), false)
		d.subscribe(fmt.Sprint("away/", i), 1)
		d.do(broker.Request{Op: broker.Disconnect})
	}
}

// However many sessions there are, what waits for all of them is bounded. Clients that
// keep up get their messages all the same.
func TestMaxQueuedBytesTotal(t *testing.T) {
	const limit, each = 1 << 20, 1000 + len("away/00") + messageCost + deliveryCost
	b := newBroker(t, func(o *Options) { o.MaxQueuedBytesTotal = limit })
	away(t, b, 100)
	from := connected(t, b, "from", true)
	payload := strings.Repeat("x", 1000)
	const n = 2000
	for i := range n {
		from.publish(fmt.Sprintf("away/%d", i%100), payload, 1, false)
	}
	st := b.Stats()
	fit := limit * 9 / 10 / each
	if q := st.QueuedMessages; q < fit || q > fit+fit/50 || st.Dropped["broker_full"] != uint64(n-q) {
		t.Errorf("%d are queued, want about %d; dropped %v", q, fit, st.Dropped)
	}
	if id := <-b.full; id != "" || len(b.full) > 0 {
		t.Errorf("the log is told about %q and %d more, want one line", id, len(b.full))
	}
	if lost := b.Lost("away7"); lost == 0 {
		t.Error("what a client has lost is not counted for it")
	}

	quick := connected(t, b, "quick", true)
	quick.subscribe("quick", 1)
	for range 500 {
		from.publish("quick", payload, 1, false)
		quick.ack(quick.delivered(payload, 1))
	}
	// It stops: what is in flight fills the last tenth, and publishers are refused.
	slow := connected(t, b, "slow", true)
	slow.subscribe("slow", 1)
	large := strings.Repeat("x", 20_000)
	var refused int
	for range 20 {
		from.do(broker.Request{Op: broker.Publish, Topic: "slow", Payload: []byte(large), QoS: 1})
		if from.next().Code == broker.CodeQuota {
			refused++
		}
	}
	if held := b.stats.held.Load(); refused == 0 || held < limit || held > limit+30_000 {
		t.Errorf("%d refused, %d octets held", refused, held)
	}
	from.publish("slow", payload, 0, false)
	from.do(broker.Request{Op: broker.Publish, Topic: "nobody", QoS: 1})
	if ev := from.next(); ev.Code.Failed() {
		t.Errorf("a message that nobody queues was answered %v", ev.Code)
	}

	for i := range 100 { // all that is away comes and takes what is its own
		d := connected(t, b, fmt.Sprint("away", i), false)
		for _, ev := range d.take() {
			d.ack(ev.Token)
		}
		d.do(broker.Request{Op: broker.Connect, CleanSession: true})
	}
	slow.do(broker.Request{Op: broker.Disconnect})
	if held := b.stats.held.Load(); held != 0 {
		t.Errorf("%d octets are held in the end", held)
	}
}

// A message that waits for many clients counts once, as it is kept once.
func TestSharedPayloadCountsOnce(t *testing.T) {
	b := newBroker(t)
	for i := range 100 {
		d := connected(t, b, fmt.Sprint(i), false)
		d.subscribe("t", 1)
		d.do(broker.Request{Op: broker.Disconnect})
	}
	from := connected(t, b, "from", true)
	from.publish("t", strings.Repeat("x", 10_000), 1, false)
	if held, want := b.stats.held.Load(), int64(10_001+messageCost+100*deliveryCost); held != want {
		t.Errorf("%d octets are held, want %d", held, want)
	}
	for i := range 100 {
		open(t, b, fmt.Sprint(i)).do(broker.Request{Op: broker.Connect, CleanSession: true})
	}
	if held := b.stats.held.Load(); held != 0 {
		t.Errorf("%d octets are held in the end", held)
	}
}

// Properties count as well: many small ones cost more than their octets.
func TestPropertiesCount(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxQueuedBytes = 10_000 })
	away(t, b, 1)
	p := login(t, b, mqtt.V5, "p")
	m := &mqtt.Publish{Topic: []byte("away/0"), QoS: 1, PacketID: 1}
	for range 100 {
		m.Properties.User = append(m.Properties.User, mqtt.UserProperty{Name: []byte("n"), Value: []byte("v")})
	}
	for range 5 {
		p.send(m)
		expect[*mqtt.Puback](p)
	}
	if st := b.Stats(); st.QueuedMessages != 1 || st.Dropped["queue_full"] != 4 {
		t.Errorf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
	}
}

// What connections could not send is part of the sum.
func TestOutputsCountInTotal(t *testing.T) {
	const limit, n = 1 << 20, 16
	b := serve(t, func(o *Options) { o.MaxQueuedBytesTotal = limit })
	for i := range n {
		p := login(t, b, mqtt.V311, fmt.Sprint("slow", i))
		_ = p.conn.(*net.TCPConn).SetReadBuffer(4096)
		p.subscribe(0, "t")
	}
	from := connected(t, b, "from", true)
	payload := strings.Repeat("x", 10_000)
	for range 2000 {
		from.publish("t", payload, 0, false)
		b.Flush()
		if d := b.Stats().DelayedBytes; d > limit+n*2*len(payload) {
			t.Fatalf("%d octets are delayed", d)
		}
	}
	st := b.Stats()
	if st.DelayedBytes < limit*8/10 || st.Dropped["slow_client"] == 0 {
		t.Errorf("%d octets are delayed, dropped %v", st.DelayedBytes, st.Dropped)
	}
}

// A large message for many is not copied for all of them before any is sent it.
func TestLargeFanOutIsSentInParts(t *testing.T) {
	b := serve(t)
	const n = 50
	for i := range n {
		swallow(t, b, mqtt.V311, fmt.Sprint(i), "t")
	}
	from := connected(t, b, "from", true)
	from.publish("t", strings.Repeat("x", 100_000), 0, false)
	waiting := 0
	for i := range n {
		waiting += outSize(b, fmt.Sprint(i))
	}
	if waiting > 2*flushAt {
		t.Errorf("%d octets wait before Flush", waiting)
	}
	b.Flush()
}

// A client that gets more than can be sent at once gets the rest as soon as it reads, however
// much waits for others.
func TestClientGoesOnWhileFilled(t *testing.T) {
	const limit, n = 1 << 20, 40
	b := serve(t, func(o *Options) { o.MaxQueuedBytesTotal = limit })
	from := connected(t, b, "from", true)
	payload := strings.Repeat("x", 100_000)
	for i := range n {
		from.publish(fmt.Sprint("r/", i), payload, 1, true)
	}
	away(t, b, 100)
	for i := range 2000 {
		from.publish(fmt.Sprintf("away/%d", i%100), payload[:1000], 1, false)
	}
	if !b.filled(false) || b.filled(true) {
		t.Fatalf("%d octets are held", b.stats.held.Load())
	}
	p := login(t, b, mqtt.V5, "p")
	p.subscribe(0, "r/#")
	for range n {
		p.gets(payload, 0)
	}
}

// What one message counts for all that it waits for may be more than an int of 32 bits holds.
func TestLargeMessageForMany(t *testing.T) {
	const n = 2100
	b := newBroker(t)
	for i := range n {
		d := connected(t, b, fmt.Sprint(i), false)
		d.subscribe("t", 1)
		d.do(broker.Request{Op: broker.Disconnect})
	}
	from := connected(t, b, "from", true)
	from.publish("t", strings.Repeat("x", 1<<20), 1, false)
	if queued := b.stats.queuedBytes.Load(); queued != n*(1<<20+1) {
		t.Errorf("%d octets are queued", queued)
	}
}
