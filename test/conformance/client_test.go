package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// client is one connection to the broker.
type client struct {
	*T
	conn    net.Conn
	reader  *mqtt.Reader
	connack *mqtt.Connack // as connect got it
}

// dial opens a connection and says nothing.
func (t *T) dial() *client {
	t.Helper()
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{T: t, conn: conn, reader: mqtt.NewReader(conn, 0)}
}

// connect connects as t.id(name), with clean start and what is changed. It is accepted.
func (t *T) connect(name string, change ...func(c *mqtt.Connect)) *client {
	t.Helper()
	c := t.dial()
	p := &mqtt.Connect{CleanStart: true, KeepAlive: 60, ClientID: []byte(t.id(name))}
	for _, f := range change {
		f(p)
	}
	c.send(p)
	c.connack = expect[*mqtt.Connack](c)
	if c.connack.Code != mqtt.CodeSuccess {
		t.Fatalf("CONNACK %v", c.connack.Code)
	}
	return c
}

// lasting is a change to CONNECT: the session goes on when the connection ends, and an
// earlier one is taken up.
func lasting(c *mqtt.Connect) {
	c.CleanStart = false
	c.Properties.SessionExpiry = mqtt.Some(uint32(3600))
}

// send sends packets that obey the rules.
func (c *client) send(packets ...mqtt.Packet) {
	c.Helper()
	var b []byte
	for _, p := range packets {
		b = p.Append(b, c.version)
	}
	c.write(b)
}

// packet sends a packet in the notation of octets, with arguments as Sprintf takes them.
func (c *client) packet(first byte, notation string, args ...any) {
	c.Helper()
	b, err := packet(first, fmt.Sprintf(notation, args...))
	if err != nil {
		c.Fatalf("%v", err)
	}
	c.write(b)
}

// octets sends octets in their notation, with arguments as Sprintf takes them.
func (c *client) octets(notation string, args ...any) {
	c.Helper()
	b, err := octets(fmt.Sprintf(notation, args...))
	if err != nil {
		c.Fatalf("%v", err)
	}
	c.write(b)
}

// write sends octets. The broker may have closed the connection already: reading tells.
func (c *client) write(b []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.patience))
	if _, err := c.conn.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("the broker does not read")
	}
}

// drop closes the connection without a DISCONNECT.
func (c *client) drop() { c.conn.Close() }

// leave disconnects, and waits until the broker has closed the connection.
func (c *client) leave() {
	c.Helper()
	c.send(&mqtt.Disconnect{})
	c.closed()
}

// frame reads the next packet as it came.
func (c *client) frame() (mqtt.Header, []byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.patience))
	h, body, err := c.reader.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("nothing comes, and the connection is still open")
	}
	return h, slices.Clone(body), err
}

// next reads the next packet; nil when the broker has closed the connection.
func (c *client) next() mqtt.Packet {
	c.Helper()
	h, body, err := c.frame()
	if bad := (*mqtt.Error)(nil); errors.As(err, &bad) {
		c.Fatalf("the broker sent %v", err)
	}
	if err != nil {
		return nil
	}
	d := mqtt.Decoder{From: mqtt.FromServer}
	p, err := d.Decode(h, body, c.version)
	if err != nil {
		c.Fatalf("the broker sent %v: % x", err, body)
	}
	return p
}

// expect reads the next packet, which must be a T.
func expect[P mqtt.Packet](c *client) P {
	c.Helper()
	p := c.next()
	want, ok := p.(P)
	if !ok {
		c.Fatalf("read %s, want %T", show(p), want)
	}
	return want
}

func show(p mqtt.Packet) string {
	if p == nil {
		return "the end of the connection"
	}
	if d, ok := p.(*mqtt.Disconnect); ok {
		return "DISCONNECT " + d.Code.String()
	}
	return fmt.Sprintf("%v %+v", p.Type(), p)
}

// closed expects that the broker closes the connection; nothing else comes before.
func (c *client) closed() {
	c.Helper()
	if p := c.next(); p != nil {
		c.Fatalf("read %s, want the end of the connection", show(p))
	}
}

// failed expects that the broker closes the connection because of an error. With MQTT 5
// it may say why in a DISCONNECT first, with one of these codes, or any failure if none
// is given.
func (c *client) failed(codes ...mqtt.Code) {
	c.Helper()
	p := c.next()
	if d, ok := p.(*mqtt.Disconnect); ok && c.version == mqtt.V5 {
		if !d.Code.Failed() || len(codes) > 0 && !slices.Contains(codes, d.Code) {
			c.Fatalf("DISCONNECT %v, want %v", d.Code, codes)
		}
		p = c.next()
	}
	if p != nil {
		c.Fatalf("read %s, want the end of the connection", show(p))
	}
}

// refused expects that the broker does not let the client in: it may answer CONNECT with
// one of these codes, or any failure if none is given, and closes the connection.
func (c *client) refused(codes ...mqtt.Code) {
	c.Helper()
	p := c.next()
	if a, ok := p.(*mqtt.Connack); ok {
		if !a.Code.Failed() || len(codes) > 0 && !slices.Contains(codes, a.Code) {
			c.Fatalf("CONNACK %v, want %v", a.Code, codes)
		}
		if a.SessionPresent {
			c.Fatalf("CONNACK %v with session present", a.Code)
		}
		p = c.next()
	}
	if p != nil {
		c.Fatalf("read %s, want the end of the connection", show(p))
	}
}

// quiet expects that the broker has sent nothing else when it answers a PINGREQ.
func (c *client) quiet() {
	c.Helper()
	c.send(&mqtt.Pingreq{})
	expect[*mqtt.Pingresp](c)
}

// packetID is a packet identifier that the test has not used.
func (c *client) packetID() uint16 {
	c.ids++
	return c.ids
}

// subscribe subscribes to t.topic(name) with these options, and is granted them.
func (c *client) subscribe(name string, qos mqtt.QoS, change ...func(s *mqtt.Subscribe)) *mqtt.Suback {
	c.Helper()
	p := &mqtt.Subscribe{PacketID: c.packetID(), Subscriptions: []mqtt.Subscription{{Filter: []byte(c.topic(name)), QoS: qos}}}
	for _, f := range change {
		f(p)
	}
	c.send(p)
	a := expect[*mqtt.Suback](c)
	if len(a.Codes) != 1 || a.Codes[0] != mqtt.Code(qos) {
		c.Fatalf("SUBACK %v, want %v", a.Codes, qos)
	}
	return a
}

// publish publishes to t.topic(name), and completes the exchange if nothing else comes
// meanwhile.
func (c *client) publish(name, payload string, qos mqtt.QoS, change ...func(p *mqtt.Publish)) {
	c.Helper()
	p := &mqtt.Publish{Topic: []byte(c.topic(name)), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		p.PacketID = c.packetID()
	}
	for _, f := range change {
		f(p)
	}
	c.send(p)
	switch qos {
	case mqtt.QoS1:
		expect[*mqtt.Puback](c)
	case mqtt.QoS2:
		expect[*mqtt.Pubrec](c)
		c.send(&mqtt.Pubrel{PacketID: p.PacketID})
		expect[*mqtt.Pubcomp](c)
	}
}

// retain is a change to PUBLISH.
func retain(p *mqtt.Publish) { p.Retain = true }

// gets expects a message with that payload and QoS next, and does not acknowledge it.
func (c *client) gets(payload string, qos mqtt.QoS) *mqtt.Publish {
	c.Helper()
	p := expect[*mqtt.Publish](c)
	if string(p.Payload) != payload || p.QoS != qos {
		c.Fatalf("got %q with QoS %d, want %q with QoS %d", p.Payload, p.QoS, payload, qos)
	}
	return p
}

// takes is gets, and completes the exchange of that message.
func (c *client) takes(payload string, qos mqtt.QoS) *mqtt.Publish {
	c.Helper()
	p := c.gets(payload, qos)
	switch qos {
	case mqtt.QoS1:
		c.send(&mqtt.Puback{PacketID: p.PacketID})
	case mqtt.QoS2:
		c.send(&mqtt.Pubrec{PacketID: p.PacketID})
		expect[*mqtt.Pubrel](c)
		c.send(&mqtt.Pubcomp{PacketID: p.PacketID})
	}
	return p
}

// none is the octet that says "no properties", for the versions that have properties.
func (t *T) none() string {
	if t.v5() {
		return "00"
	}
	return ""
}

// connectWith sends a CONNECT with these connect flags and this payload, in the notation
// of octets, with arguments as Sprintf takes them; keep alive is 60 s.
func (c *client) connectWith(flags byte, payload string, args ...any) {
	c.Helper()
	c.packet(0x10, `"MQTT" %02X %02X 003C %s `+payload, append([]any{byte(c.version), flags, c.none()}, args...)...)
}

// will is a change to CONNECT: a will for t.topic(name).
func (t *T) will(name, payload string, change ...func(w *mqtt.Will)) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.HasWill = true
		c.Will.Topic, c.Will.Payload = []byte(t.topic(name)), []byte(payload)
		for _, f := range change {
			f(&c.Will)
		}
	}
}
