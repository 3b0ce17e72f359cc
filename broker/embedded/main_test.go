package embedded

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childAddr); addr != "" {
		child(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// listeners are listeners at these addresses.
func listeners(addresses ...string) (all []ListenerOptions) {
	for _, a := range addresses {
		l := DefaultListenerOptions()
		l.Listen = a
		all = append(all, l)
	}
	return all
}

// newBroker makes a broker without listeners that is not served.
func newBroker(t testing.TB, change ...func(*Options)) *Broker {
	t.Helper()
	o := DefaultOptions()
	o.Listeners = nil
	for _, f := range change {
		f(&o)
	}
	b, err := New(o, nil, silent())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serve makes a broker at a free port and serves it until the test ends.
func serve(t testing.TB, change ...func(*Options)) *Broker {
	t.Helper()
	b := newBroker(t, append([]func(*Options){func(o *Options) { o.Listeners = listeners("127.0.0.1:0") }}, change...)...)
	run(t, b)
	return b
}

func run(t testing.TB, b *Broker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Serve(ctx, func() {}); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// until polls until f holds.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// station is a device as the gateway sees it: it records what it is told.
type station struct {
	broker.Conn
	t  testing.TB
	id string

	mu     sync.Mutex
	events []broker.Event
}

func (d *station) Receive(ev broker.Event) {
	d.mu.Lock()
	d.events = append(d.events, ev)
	d.mu.Unlock()
}

func open(t testing.TB, b *Broker, id string) *station {
	d := &station{t: t, id: id}
	d.Conn = b.Open(id, d)
	return d
}

// connected is a device that has connected.
func connected(t testing.TB, b *Broker, id string, clean bool) *station {
	t.Helper()
	d := open(t, b, id)
	d.do(broker.Request{Op: broker.Connect, CleanSession: clean})
	d.answer()
	return d
}

func (d *station) do(r broker.Request) {
	d.t.Helper()
	if err := d.Do(&r); err != nil {
		d.t.Fatalf("%s: Do(%+v): %v", d.id, r, err)
	}
}

// take returns what was told since the last take.
func (d *station) take() []broker.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

// next waits for the next event.
func (d *station) next() broker.Event {
	d.t.Helper()
	var ev broker.Event
	until(d.t, d.id+" is told something", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.events) == 0 {
			return false
		}
		ev, d.events = d.events[0], d.events[1:]
		return true
	})
	return ev
}

// answer waits for an answer, which must be the next event and no failure.
func (d *station) answer() broker.Event {
	d.t.Helper()
	ev := d.next()
	if ev.Kind != broker.Answered || ev.Code.Failed() {
		d.t.Fatalf("%s was told %+v, want an answer", d.id, ev)
	}
	return ev
}

func (d *station) subscribe(filter string, qos byte) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Subscribe, Topic: filter, QoS: qos})
	if ev := d.answer(); ev.QoS != qos {
		d.t.Fatalf("granted QoS %d, want %d", ev.QoS, qos)
	}
}

func (d *station) publish(topic, payload string, qos byte, retain bool) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Publish, Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
	if qos > 0 {
		d.answer()
	}
}

// delivered waits for a delivery with that payload and QoS, and returns its token.
func (d *station) delivered(payload string, qos byte) broker.Token {
	d.t.Helper()
	ev := d.next()
	if ev.Kind != broker.Delivered || string(ev.Message.Payload) != payload || ev.QoS != qos {
		d.t.Fatalf("%s was told %+v %v, want delivery of %q with QoS %d", d.id, ev, ev.Message, payload, qos)
	}
	return ev.Token
}

func (d *station) ack(token broker.Token) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Ack, Token: token})
}

// quiet fails if anything was told.
func (d *station) quiet() {
	d.t.Helper()
	if events := d.take(); len(events) > 0 {
		d.t.Fatalf("%s was told %+v, want nothing", d.id, events)
	}
}

// peer is an MQTT client, packet by packet.
type peer struct {
	t       testing.TB
	conn    net.Conn
	reader  *mqtt.Reader
	version mqtt.Version
	connack *mqtt.Connack
}

// dial opens a connection to the broker without saying anything.
func dial(t testing.TB, b *Broker, v mqtt.Version) *peer {
	t.Helper()
	return dialAt(t, b.Addrs()[0], v)
}

func dialAt(t testing.TB, addr net.Addr, v mqtt.Version) *peer {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, conn, v)
}

func newPeer(t testing.TB, conn net.Conn, v mqtt.Version) *peer {
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, conn: conn, version: v, reader: mqtt.NewReader(conn, 0)}
}

// login is dial with a CONNECT that is accepted.
func login(t testing.TB, b *Broker, v mqtt.Version, id string, change ...func(*mqtt.Connect)) *peer {
	t.Helper()
	p := dial(t, b, v)
	p.connect(id, change...)
	return p
}

func (p *peer) connect(id string, change ...func(*mqtt.Connect)) {
	p.t.Helper()
	c := &mqtt.Connect{CleanStart: true, ClientID: []byte(id)}
	for _, f := range change {
		f(c)
	}
	p.send(c)
	p.connack = expect[*mqtt.Connack](p)
	if p.connack.Code.Failed() {
		p.t.Fatalf("CONNACK %v", p.connack.Code)
	}
}

// stay is a CONNECT whose session outlives the connection, in all versions.
func stay(c *mqtt.Connect) {
	c.CleanStart = false
	c.Properties.SessionExpiry = mqtt.Some(uint32(3600))
}

func (p *peer) send(packets ...mqtt.Packet) {
	p.t.Helper()
	var b []byte
	for _, packet := range packets {
		b = packet.Append(b, p.version)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// read reads the next packet; it is the caller's to keep.
func (p *peer) read(wait time.Duration) (mqtt.Packet, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(wait))
	h, body, err := p.reader.Next()
	if err != nil {
		return nil, err
	}
	packet, err := mqtt.Decode(h, append([]byte{}, body...), p.version)
	if err != nil {
		p.t.Fatalf("the broker sent %v", err)
	}
	return packet, nil
}

// expect reads the next packet, which must be a T.
func expect[T mqtt.Packet](p *peer) T {
	p.t.Helper()
	packet, err := p.read(patience)
	if err != nil {
		p.t.Fatalf("reading, want %T: %v", *new(T), err)
	}
	want, ok := packet.(T)
	if !ok {
		p.t.Fatalf("read %T %+v, want %T", packet, packet, *new(T))
	}
	return want
}

// closed expects that the broker has closed the connection.
func (p *peer) closed() {
	p.t.Helper()
	packet, err := p.read(patience)
	if err == nil {
		p.t.Fatalf("read %T %+v, want the end", packet, packet)
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		p.t.Fatal("the connection is still open")
	}
}

// quiet fails if the broker sends anything before it answers a PINGREQ.
func (p *peer) quiet() {
	p.t.Helper()
	p.send(&mqtt.Pingreq{})
	expect[*mqtt.Pingresp](p)
}

func (p *peer) subscribe(qos mqtt.QoS, filters ...string) {
	p.t.Helper()
	s := &mqtt.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f), QoS: qos})
	}
	p.send(s)
	for i, code := range expect[*mqtt.Suback](p).Codes {
		if code != mqtt.Code(qos) {
			p.t.Fatalf("SUBACK for %s: %v", filters[i], code)
		}
	}
}

// publish publishes, and completes the exchange if nothing else comes meanwhile.
func (p *peer) publish(topic, payload string, qos mqtt.QoS, retain bool) {
	p.t.Helper()
	p.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: retain, PacketID: 7})
	switch qos {
	case mqtt.QoS1:
		expect[*mqtt.Puback](p)
	case mqtt.QoS2:
		expect[*mqtt.Pubrec](p)
		p.send(&mqtt.Pubrel{PacketID: 7})
		expect[*mqtt.Pubcomp](p)
	}
}

// gets expects a message, and returns the packet.
func (p *peer) gets(payload string, qos mqtt.QoS) *mqtt.Publish {
	p.t.Helper()
	m := expect[*mqtt.Publish](p)
	if string(m.Payload) != payload || m.QoS != qos {
		p.t.Fatalf("got %q with QoS %d, want %q with QoS %d", m.Payload, m.QoS, payload, qos)
	}
	return m
}
