package embedded

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// The tests named TestDefectNN hold mistakes that other brokers make, by their numbers in
// the project's study of libraries. 4, 9 and 11 are in time_test.go, 5, 6, 8 and 16 in
// hostile_test.go. 13 and 14 are about authorization and WebSocket, which are not here.

// Defect 1: a client with a receive maximum does not lock the broker up, whatever comes
// from both sides at the same time.
func TestDefect01ReceiveMaximumDeadlock(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.Properties.ReceiveMaximum = 3 })
	p.subscribe(1, "t/#")
	const publishers, each = 4, 200
	var done sync.WaitGroup
	for i := range publishers {
		from := connected(t, b, fmt.Sprint("from", i), true)
		done.Go(func() {
			for n := range each {
				from.do(broker.Request{Op: broker.Publish, Topic: fmt.Sprint("t/", i), Payload: fmt.Append(nil, n), QoS: 1})
				b.Flush()
			}
		})
	}
	inFlight := 0
	next := make(map[string]int)
	for range publishers * each {
		packet, err := p.read(patience)
		if err != nil {
			t.Fatal(err)
		}
		m := packet.(*mqtt.Publish)
		if want := next[string(m.Topic)]; string(m.Payload) != fmt.Sprint(want) {
			t.Fatalf("%s: got %s, want %d", m.Topic, m.Payload, want)
		}
		next[string(m.Topic)]++
		if inFlight++; inFlight > 3 {
			t.Fatal("the receive maximum is exceeded") // [MQTT-3.3.4-9]
		}
		inFlight--
		p.send(&mqtt.Puback{PacketID: m.PacketID})
	}
	done.Wait()
}

// Defect 2: what waited comes in the order in which it was published [MQTT-4.6.0-1].
func TestDefect02ResendOrder(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		from := connected(t, b, "from", true)
		n := 0
		publish := func() {
			for range 30 {
				from.publish("t", fmt.Sprint(n), byte(1+n%2), false)
				n++
			}
			b.Flush()
		}
		publish()
		for range 3 {
			p.conn.Close()
			until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
			publish()
			p = login(t, b, v, "c", stay)
			for i := range b.options.MaxInflightMessages {
				p.gets(fmt.Sprint(i), mqtt.QoS(1+i%2))
			}
			p.quiet()
		}
	})
}

// Defect 3: with a receive maximum of 2, six messages, one acknowledgement and a new
// connection, nothing is lost and the maximum is kept.
func TestDefect03ReceiveMaximumLoss(t *testing.T) {
	b := serve(t)
	two := func(c *mqtt.Connect) {
		stay(c)
		c.Properties.ReceiveMaximum = 2
	}
	p := login(t, b, mqtt.V5, "c", two)
	p.subscribe(1, "t")
	from := connected(t, b, "from", true)
	for i := range 6 {
		from.publish("t", fmt.Sprint(i), 1, false)
	}
	b.Flush()
	first := p.gets("0", 1)
	p.gets("1", 1)
	p.quiet()
	p.send(&mqtt.Puback{PacketID: first.PacketID})
	p.gets("2", 1)
	p.quiet()
	p.conn.Close()
	p = login(t, b, mqtt.V5, "c", two)
	for i := 1; i < 6; i += 2 {
		var got []uint16
		for j := i; j < min(i+2, 6); j++ {
			got = append(got, p.gets(fmt.Sprint(j), 1).PacketID)
		}
		p.quiet()
		for _, id := range got {
			p.send(&mqtt.Puback{PacketID: id})
		}
	}
	p.quiet()
	if n := b.Stats().QueuedMessages; n != 0 {
		t.Errorf("%d messages are still queued", n)
	}
}

// Defect 7: a client that is idle costs little: nothing is allocated for what may come.
func TestDefect07MemoryPerClient(t *testing.T) {
	const n = 1000
	b := serve(t)
	heap := inUse().Heap
	conns := make([]broker.Conn, n)
	to := new(sink)
	ids := make([]string, n)
	for i := range conns {
		ids[i] = fmt.Sprint("device-", i)
	}
	for i := range conns {
		conns[i] = b.Open(ids[i], to)
		_ = conns[i].Do(&broker.Request{Op: broker.Connect})
	}
	after := inUse().Heap
	if each := int(after-heap) / n; each > 420 {
		t.Errorf("%d octets per device, want 420", each)
	}
	clients := make([]net.Conn, n)
	heap = after
	for i := range clients {
		conn, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients[i] = conn
		_, _ = conn.Write((&mqtt.Connect{CleanStart: true, ClientID: fmt.Append(nil, "client-", i)}).Append(nil, mqtt.V311))
		_, _ = io.ReadFull(conn, make([]byte, 4))
	}
	after = inUse().Heap // the other ends of the connections, in this process too, included
	each := int(after-heap) / n
	t.Logf("%d octets per MQTT client", each)
	if each > 8192 {
		t.Errorf("%d octets per MQTT client, want 8192", each)
	}
	_ = conns[n-1].Do(&broker.Request{Op: broker.Disconnect})
}

// Defect 10: an acknowledgement says that the message is with its subscribers.
func TestDefect10AckAfterQueued(t *testing.T) {
	b := serve(t)
	d := connected(t, b, "d", false)
	d.subscribe("t", 2)
	d.do(broker.Request{Op: broker.Disconnect})
	p := login(t, b, mqtt.V311, "p")
	m := &mqtt.Publish{Topic: []byte("t"), PacketID: 1}
	for i := range 100 {
		m.QoS = mqtt.QoS(1 + i%2)
		p.send(m)
		if m.QoS == 1 {
			expect[*mqtt.Puback](p)
		} else {
			expect[*mqtt.Pubrec](p)
		}
		if n := b.Stats().QueuedMessages; n != i+1 {
			t.Fatalf("%d messages are queued after %d acknowledgements", n, i+1)
		}
		if m.QoS == 2 {
			p.send(&mqtt.Pubrel{PacketID: 1})
			expect[*mqtt.Pubcomp](p)
		}
	}
}

// Defect 10 as well: MQTT 3.1.1 has no DISCONNECT from the server.
func TestDefect10NoDisconnectBefore5(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V311, "c")
	login(t, b, mqtt.V311, "c")
	rest, _ := io.ReadAll(p.conn)
	if len(rest) > 0 {
		t.Errorf("the old connection got %x", rest)
	}
}

// Defect 12: the broker does not walk its clients again and again.
func TestDefect12IdleCostsNothing(t *testing.T) {
	b := newBroker(t)
	for i := range 10_000 {
		d := connected(t, b, fmt.Sprint(i), false)
		d.subscribe("t", 1)
		if i%2 == 0 {
			d.do(broker.Request{Op: broker.Disconnect})
		}
	}
	b.mu.Lock() // with this held, nobody can visit a session
	defer b.mu.Unlock()
	if n := testing.AllocsPerRun(100, func() {
		b.expire()
		b.sys.publish()
		b.settle()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Defect 15: what clients send does not get into the log, and what they do wrong does not
// flood it.
func TestDefect15LogsNoPayload(t *testing.T) {
	var text lockedBuffer
	o := DefaultOptions()
	o.Listeners = listeners("127.0.0.1:0")
	b, err := New(o, nil, slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, b)
	const secret = "s3cr3t"
	for range 10 {
		p := login(t, b, mqtt.V5, "c", func(c *mqtt.Connect) {
			c.KeepAlive = 1
			c.Username, c.Password = []byte(secret), []byte(secret)
			c.HasWill, c.Will.Topic, c.Will.Payload = true, []byte("will"), []byte(secret)
		})
		p.publish("t", secret, 1, true)
		p.send(&mqtt.Publish{Topic: []byte("$SYS/x"), Payload: []byte(secret), QoS: 1, PacketID: 1})
		expect[*mqtt.Puback](p)
		_, _ = io.WriteString(p.conn, "\x36\x0C\x00\x01a\x00\x01\x00"+secret)
		expect[*mqtt.Disconnect](p)
	}
	stop()
	if s := text.String(); strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
		t.Error("a payload is in the log")
	} else if strings.Contains(s, "WARN") || strings.Contains(s, "ERROR") {
		t.Errorf("the log is loud:\n%s", s)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
