package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// A packet that is wrong ends the connection, with the right reason code if the client
// can be told [MQTT-4.13.1-1], and publishes the will.
func TestProtocolErrors(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxPacketSize = 1024 })
	watcher := connected(t, b, "watcher", true)
	watcher.subscribe("will", 1)
	for _, c := range []struct {
		name, sent string // for MQTT 5; for 3.1.1 below
		want       mqtt.Code
	}{
		{"a second CONNECT", string((&mqtt.Connect{ClientID: []byte("x")}).Append(nil, mqtt.V5)), mqtt.CodeProtocolError}, // [MQTT-3.1.0-2]
		{"AUTH without method", "\xF0\x02\x00\x00", mqtt.CodeProtocolError},
		{"a server's packet", "\xD0\x00", mqtt.CodeProtocolError},
		{"reserved type", "\x00\x00", mqtt.CodeMalformed},
		{"QoS 3", "\x36\x06\x00\x01a\x00\x01\x00", mqtt.CodeMalformed},                // [MQTT-3.3.1-4]
		{"packet id 0", "\x32\x06\x00\x01a\x00\x00\x00", mqtt.CodeProtocolError},      // [MQTT-2.2.1-3]
		{"wildcard in topic", "\x30\x04\x00\x01#\x00", mqtt.CodeMalformed},            // [MQTT-3.3.2-2]
		{"not UTF-8", "\x30\x04\x00\x01\xFF\x00", mqtt.CodeMalformed},                 // [MQTT-1.5.4-1]
		{"no topic", "\x30\x03\x00\x00\x00", mqtt.CodeProtocolError},                  //
		{"topic alias 11", "\x30\x07\x00\x01a\x03\x23\x00\x0B", mqtt.CodeTopicAlias},  // [MQTT-3.3.2-9]
		{"topic alias 0", "\x30\x07\x00\x01a\x03\x23\x00\x00", mqtt.CodeTopicAlias},   // [MQTT-3.3.2-8]
		{"topic alias 3", "\x30\x06\x00\x00\x03\x23\x00\x03", mqtt.CodeProtocolError}, // not set
		{"topic alias twice", "\x30\x0A\x00\x01a\x06\x23\x00\x01\x23\x00\x01", mqtt.CodeProtocolError},
		{"AUTH", "\xF0\x06\x18\x04\x15\x00\x01m", mqtt.CodeProtocolError},                                            // [MQTT-4.12.0-7]
		{"no local for a shared subscription", "\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x04", mqtt.CodeProtocolError}, // [MQTT-3.8.3-4]
		{"subscription id", "\x30\x06\x00\x01a\x02\x0B\x01", mqtt.CodeProtocolError},
		{"too large", "\x30\x80\x08", mqtt.CodePacketTooLarge},
		{"length of five octets", "\x30\x80\x80\x80\x80\x01", mqtt.CodeMalformed},
		{"SUBSCRIBE without filter", "\x82\x03\x00\x01\x00", mqtt.CodeProtocolError}, // [MQTT-3.8.3-2]
		{"SUBSCRIBE flags", "\x80\x07\x00\x01\x00\x00\x01a\x00", mqtt.CodeMalformed}, // [MQTT-3.8.1-1]
		{"filter a#", "\x82\x08\x00\x01\x00\x00\x02a#\x00", mqtt.CodeMalformed},      // [MQTT-4.7.1-1]
		{"truncated", "\x32\x02\x00\x05", mqtt.CodeMalformed},
	} {
		will := func(c *mqtt.Connect) {
			c.HasWill, c.Will = true, mqtt.Will{Topic: []byte("will"), Payload: []byte("bye"), QoS: 1}
		}
		p := login(t, b, mqtt.V5, "c", will)
		// What follows, in the same segment, is not looked at.
		sent := c.sent + strings.Repeat("\xC0\x00", 100)
		if c.want == mqtt.CodePacketTooLarge {
			sent = c.sent + strings.Repeat("x", 10_000)
		}
		_, _ = io.WriteString(p.conn, sent)
		if code := expect[*mqtt.Disconnect](p).Code; code != c.want {
			t.Errorf("%s: DISCONNECT %v, want %v", c.name, code, c.want)
		}
		p.closed()
		watcher.ack(watcher.delivered("bye", 1))
		if strings.HasPrefix(c.name, "AUTH") || strings.HasPrefix(c.name, "topic alias") || strings.HasPrefix(c.name, "subscription id") || strings.HasPrefix(c.name, "no local") {
			continue
		}
		p = login(t, b, mqtt.V311, "c", will) // [MQTT-4.8.0-1] of 3.1.1: just closed
		if c.name == "a second CONNECT" {
			sent = string((&mqtt.Connect{ClientID: []byte("x")}).Append(nil, mqtt.V311))
		}
		_, _ = io.WriteString(p.conn, sent)
		p.closed()
		watcher.ack(watcher.delivered("bye", 1))
	}
}

// Defect 16: a publish that is not allowed is answered with its code, and the connection
// goes on; whoever cannot be told has it acknowledged.
func TestDefect16RefusedPublishKeepsConnection(t *testing.T) {
	b := serve(t)
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		p := login(t, b, v, "c")
		p.subscribe(0, "$SYS/mine")
		for qos := range mqtt.QoS(3) {
			p.send(&mqtt.Publish{Topic: []byte("$SYS/mine"), QoS: qos, PacketID: 1})
			want := mqtt.CodeNotAuthorized
			if v != mqtt.V5 {
				want = mqtt.CodeSuccess
			}
			switch qos {
			case mqtt.QoS1:
				if ack := expect[*mqtt.Puback](p); ack.Code != want {
					t.Errorf("PUBACK %v", ack.Code)
				}
			case mqtt.QoS2:
				if ack := expect[*mqtt.Pubrec](p); ack.Code != want {
					t.Errorf("PUBREC %v", ack.Code)
				}
			}
		}
		p.quiet()
	})
	if n := b.Stats().Dropped["not_authorized"]; n != 9 {
		t.Errorf("%d counted, want 9", n)
	}
}

// MaximumPacketSize of a client: larger messages are not sent, and count as delivered
// [MQTT-3.1.2-24] [MQTT-3.1.2-25].
func TestClientMaximumPacketSize(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = 100 })
	p.subscribe(1, "t")
	from := connected(t, b, "from", true)
	for qos := range byte(2) {
		from.publish("t", strings.Repeat("x", 200), qos, false)
		from.publish("t", "small", qos, false)
		b.Flush()
		p.gets("small", mqtt.QoS(qos))
	}
	st := b.Stats()
	if st.Dropped["packet_too_large"] != 2 || st.QueuedMessages != 1 {
		t.Errorf("dropped %v, queued %d", st.Dropped, st.QueuedMessages)
	}
}

// A client that does not read costs a bounded amount of memory, slows nobody, and gets
// what was queued for it when it reads again.
func TestSlowConsumer(t *testing.T) {
	const limit = 64 << 10
	b := serve(t, func(o *Options) { o.MaxQueuedBytes, o.MaxQueuedMessages, o.MaxInflightMessages = limit, 500, 20 })
	slow := login(t, b, mqtt.V311, "slow")
	_ = slow.conn.(*net.TCPConn).SetReadBuffer(4096)
	slow.subscribe(1, "#")
	fast := login(t, b, mqtt.V311, "fast")
	fast.subscribe(0, "#")
	from := connected(t, b, "from", true)
	payload := strings.Repeat("x", 1000)
	const rounds = 8_000
	var got atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for got.Load() < rounds {
			packet, err := fast.read(patience)
			if err != nil {
				return
			}
			if p := packet.(*mqtt.Publish); p.Topic[0] == '0' {
				got.Add(1)
			}
		}
	}()
	start := time.Now()
	for i := range rounds {
		from.publish("0", payload, 0, false)
		if i%1000 == 999 {
			from.publish("1", fmt.Sprint(i/1000), 1, false)
		}
		b.Flush()
		if i%50 == 0 { // what is on its way to the fast one always fits
			until(t, "the fast client has read", func() bool { return got.Load() >= int64(i) })
		}
	}
	took := time.Since(start)
	<-done
	if n := got.Load(); n != rounds {
		t.Errorf("the fast client got %d of %d", n, rounds)
	}
	if n := outSize(b, "slow"); n > limit+2000 {
		t.Errorf("%d octets wait for the slow client", n)
	}
	if n := b.Stats().Dropped["slow_client"]; n == 0 {
		t.Errorf("nothing was dropped for the slow client: %+v", b.Stats())
	}
	t.Logf("%d messages in %v, dropped %v", rounds, took, b.Stats().Dropped)
	_ = slow.conn.(*net.TCPConn).SetReadBuffer(1 << 20)
	// Now it reads, and acknowledges: no QoS 1 message is missing.
	for want := 0; want < rounds/1000; {
		packet, err := slow.read(patience)
		if err != nil {
			t.Fatal(err)
		}
		if p := packet.(*mqtt.Publish); p.QoS == 1 {
			if string(p.Payload) != fmt.Sprint(want) {
				t.Fatalf("got %s, want %d", p.Payload, want)
			}
			want++
			slow.send(&mqtt.Puback{PacketID: p.PacketID})
		}
	}
	until(t, "all are acknowledged", func() bool { return b.Stats().QueuedMessages == 0 })
}

// outSize is how many octets wait for a connected client.
func outSize(b *Broker, id string) int {
	b.mu.Lock()
	s := b.sessions[id]
	b.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.line.(*client)
	if !ok {
		return 0
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.size
}

// Defect 8: what is queued with QoS 1 is bounded, and refused when the queue is full,
// counted; what was accepted is delivered.
func TestDefect08QueueFull(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.MaxQueuedMessages, o.DeviceInflight = 100, 5 })
	d := connected(t, b, "d", false)
	d.subscribe("#", 1)
	from := connected(t, b, "from", true)
	for i := range 200 {
		from.publish("t", fmt.Sprint(i), 1, false)
	}
	st := b.Stats()
	if st.QueuedMessages != 105 || st.Dropped["queue_full"] != 95 {
		t.Errorf("queued %d, dropped %v", st.QueuedMessages, st.Dropped)
	}
	if b.Lost("d") != 95 || b.Lost("from") != 0 || b.Lost("nobody") != 0 {
		t.Errorf("lost for d: %d", b.Lost("d"))
	}
	if id := <-b.full; id != "d" || len(b.full) > 0 {
		t.Errorf("the log is told about %q, and %d more", id, len(b.full))
	}
	for i := range 105 {
		d.ack(d.delivered(fmt.Sprint(i), 1))
	}
	d.quiet()

	b = newBroker(t, func(o *Options) { o.MaxQueuedBytes = 1024 })
	d = connected(t, b, "d", false)
	d.subscribe("#", 1)
	d.do(broker.Request{Op: broker.Disconnect})
	from = connected(t, b, "from", true)
	from.publish("t", strings.Repeat("x", 5000), 1, false) // an empty queue takes any size
	from.publish("t", "y", 1, false)
	if st := b.Stats(); st.QueuedMessages != 1 || st.Dropped["queue_full"] != 1 {
		t.Errorf("queued %d, dropped %v", st.QueuedMessages, st.Dropped)
	}
}

// Defect 5: a thousand connects with one client id at once end as one session.
func TestDefect05ConnectStorm(t *testing.T) {
	b := serve(t)
	const n = 1000
	var done sync.WaitGroup
	conns := make([]net.Conn, n)
	devices := make([]*station, n/4)
	for i := range conns {
		done.Go(func() {
			conn, err := net.Dial("tcp", b.Addrs()[0].String())
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = conn
			v := versions[i%3]
			c := &mqtt.Connect{ClientID: []byte("one"), CleanStart: i%2 == 0}
			_, _ = conn.Write(c.Append(nil, v))
			var connack [4]byte
			_, _ = io.ReadFull(conn, connack[:])
			_, _ = conn.Write((&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t")}}}).Append(nil, v))
		})
	}
	for i := range devices {
		devices[i] = open(t, b, "one")
		done.Go(func() {
			_ = devices[i].Do(&broker.Request{Op: broker.Connect, CleanSession: i%2 == 0})
			_ = devices[i].Do(&broker.Request{Op: broker.Subscribe, Topic: "t"})
			b.Flush()
		})
	}
	done.Wait()
	b.Flush()
	until(t, "one is left", func() bool {
		st := b.Stats()
		return st.Sessions == 1 && st.Connections+st.Devices == 1 && st.Subscriptions <= 1
	})
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// Defect 6: shutting down does not hang, whoever is connected and however.
func TestDefect06ShutDown(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.Listeners = listeners("127.0.0.1:0") })
	stop := run(t, b)
	five := login(t, b, mqtt.V5, "five", func(c *mqtt.Connect) {
		c.HasWill, c.Will.Topic = true, []byte("will")
	})
	old := login(t, b, mqtt.V311, "old")
	old.subscribe(0, "#")
	nobody := dial(t, b, mqtt.V5) // has not said anything
	stuck := login(t, b, mqtt.V5, "stuck")
	stuck.subscribe(0, "#")
	_ = stuck.conn.(*net.TCPConn).SetReadBuffer(4096)
	from := connected(t, b, "from", true)
	for range 5000 {
		from.publish("t", strings.Repeat("x", 1000), 0, false)
	}
	from.publish("t", "last", 0, false)
	start := time.Now()
	stop()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if code := expect[*mqtt.Disconnect](five).Code; code != mqtt.CodeShuttingDown {
		t.Errorf("DISCONNECT %v", code)
	}
	five.closed()
	nobody.closed()
	for {
		packet, err := old.read(patience)
		if err != nil {
			break // what was pending has come, and no will
		}
		if p := packet.(*mqtt.Publish); string(p.Topic) != "t" {
			t.Errorf("got %+v", p)
		}
	}
	if st := b.Stats(); st.Connections != 0 || b.Up() {
		t.Errorf("%d connections, up %v", st.Connections, b.Up())
	}
	if _, err := net.Dial("tcp", b.Addrs()[0].String()); err == nil {
		t.Error("it still listens")
	}
	d := open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect})
	if ev := d.next(); ev.Code != broker.CodeServerUnavailable {
		t.Errorf("Connect after the end: %+v", ev)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := DefaultOptions()
	o.Listeners = listeners("127.0.0.1:0", l.Addr().String())
	_, err = New(o, nil, silent())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--mqtt") {
		t.Errorf("error %v", err)
	}
	o.Listeners = listeners("192.0.2.1:1883")
	if _, err = New(o, nil, silent()); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("error %v", err)
	}
}

func TestServeTwoListeners(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.Listeners = listeners("127.0.0.1:0", "[::1]:0") })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	woken := make(chan struct{}, 100)
	go func() { done <- b.Serve(ctx, func() { woken <- struct{}{} }) }()
	d := connected(t, b, "d", true)
	d.subscribe("t", 0)
	for _, addr := range b.Addrs() {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, conn, mqtt.V5)
		p.connect("")
		p.publish("t", "x", 0, false)
		<-woken // after Receive was called
		d.delivered("x", 0)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after Serve: %v", err)
	}
}

// Who has not been let in makes the broker hold no more than a CONNECT needs.
func TestLargeFirstPacket(t *testing.T) {
	b := serve(t)
	p := dial(t, b, mqtt.V311)
	head := []byte{0x10, 0xFF, 0xFF, 0x3F} // 1 MiB less one octet, within max_packet_size
	if _, err := p.conn.Write(head); err != nil {
		t.Fatal(err)
	}
	p.closed()
}

func TestRetainedWillWithoutRetainedMessages(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxRetainedMessages = 0 })
	p := dial(t, b, mqtt.V5)
	c := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c"), CleanStart: true, HasWill: true}
	c.Will.Topic, c.Will.Retain = []byte("w"), true
	p.send(c)
	if ack := expect[*mqtt.Connack](p); ack.Code != mqtt.CodeRetainNotSupported { // [MQTT-3.2.2-13]
		t.Fatalf("CONNACK %v", ack.Code)
	}
	p.closed()
}

// Topics of many levels do not make retained messages cost much more memory than
// max_retained_bytes.
func TestDeepRetained(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.MaxRetainedBytes = 4 << 20 })
	d := connected(t, b, "d", true)
	before := int(inUse().Heap)
	for i := range 10_000 {
		d.publish(fmt.Sprint(i, strings.Repeat("/", 199)), "x", 0, true)
	}
	used := int(inUse().Heap) - before
	st := b.Stats()
	if n := st.RetainedMessages; n < 100 || n > 400 || used > 8<<20 {
		t.Errorf("%d messages are retained, and cost %d octets", n, used)
	}
	if st.Dropped["retained_full"] != uint64(10_000-st.RetainedMessages) {
		t.Errorf("dropped %v", st.Dropped)
	}
}

// A SUBSCRIBE or UNSUBSCRIBE with more filters than a client may have is not read to its
// end: decoded, a filter of one octet takes many times the memory.
func TestTooManyFilters(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxSubscriptions = 10 })
	ask, end := mqtt.Subscribe{PacketID: 1}, mqtt.Unsubscribe{PacketID: 1}
	for range fewFilters + 1 {
		ask.Subscriptions = append(ask.Subscriptions, mqtt.Subscription{Filter: []byte("a")})
		end.Filters = append(end.Filters, []byte("a"))
	}
	for _, packet := range []mqtt.Packet{&ask, &end} {
		p := login(t, b, mqtt.V5, "p")
		p.send(packet)
		if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeQuota {
			t.Errorf("%v: DISCONNECT %v", packet.Type(), code)
		}
		p.closed()
		old := login(t, b, mqtt.V311, "p")
		old.send(packet)
		old.closed()
	}
	until(t, "four were disconnected", func() bool { return b.Stats().Disconnects["quota_exceeded"] == 4 })
	if n := b.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}
