package e2e

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// mqttClient is an MQTT 5 client at the broker, for one test: it publishes what devices
// are to get and watches what they publish. It shares no code with the gateway's broker.
type mqttClient struct {
	t    testing.TB
	id   string
	conn net.Conn
	// writing serialises the test's packets and the reader's acknowledgements.
	writing sync.Mutex
	// answers are the packets that the test waits for; messages are the rest.
	answers  chan packets.Packet
	messages chan message
	lastID   uint16
	// sessionPresent is what CONNACK said.
	sessionPresent bool
}

// message is an application message as the broker delivered it.
type message struct {
	topic, payload string
	qos            byte
	retain         bool
	at             time.Time
}

// messageBacklog is more than any test leaves unread.
const messageBacklog = 1 << 17

// dialMQTT connects with a clean session, or with one that stays.
func dialMQTT(t testing.TB, addr, id string, clean bool) *mqttClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c := &mqttClient{t: t, id: id, conn: conn, answers: make(chan packets.Packet, 16), messages: make(chan message, messageBacklog)}
	t.Cleanup(func() { _ = conn.Close() })
	connect := packets.NewControlPacket(packets.CONNECT)
	content := connect.Content.(*packets.Connect)
	content.ClientID, content.CleanStart, content.KeepAlive = id, clean, 300
	if !clean {
		expiry := uint32(3600)
		content.Properties.SessionExpiryInterval = &expiry
	}
	c.write(connect)
	go c.serve()
	connack := answer[*packets.Connack](c)
	if connack.ReasonCode != 0 {
		t.Fatalf("broker refuses %s: %02X", id, connack.ReasonCode)
	}
	c.sessionPresent = connack.SessionPresent
	return c
}

func (c *mqttClient) write(p *packets.ControlPacket) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, _ = p.WriteTo(c.conn) // who waits for the answer sees that it failed
}

// serve reads until the connection ends. It acknowledges at once whatever comes.
func (c *mqttClient) serve() {
	defer close(c.answers)
	for {
		p, err := packets.ReadPacket(c.conn)
		if err != nil {
			return
		}
		switch content := p.Content.(type) {
		case *packets.Publish:
			if content.QoS > 0 {
				reply := packets.NewControlPacket([]byte{packets.PUBACK, packets.PUBREC}[content.QoS-1])
				setID(reply, content.PacketID)
				c.write(reply)
			}
			c.messages <- message{content.Topic, string(content.Payload), content.QoS, content.Retain, time.Now()}
		case *packets.Pubrel:
			reply := packets.NewControlPacket(packets.PUBCOMP)
			setID(reply, content.PacketID)
			c.write(reply)
		default:
			c.answers <- p.Content
		}
	}
}

func setID(p *packets.ControlPacket, id uint16) {
	switch content := p.Content.(type) {
	case *packets.Puback:
		content.PacketID = id
	case *packets.Pubrec:
		content.PacketID = id
	case *packets.Pubrel:
		content.PacketID = id
	case *packets.Pubcomp:
		content.PacketID = id
	}
}

// answer waits for the packet that answers the test's latest one.
func answer[P packets.Packet](c *mqttClient) P {
	c.t.Helper()
	var want P
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case got, ok := <-c.answers:
		if p, right := got.(P); right {
			return p
		}
		c.t.Fatalf("%s: broker answers %v (connected: %v), want %T", c.id, got, ok, want)
	case <-timer.C:
		c.t.Fatalf("%s: broker does not answer, want %T", c.id, want)
	}
	return want
}

func (c *mqttClient) subscribe(filter string, qos byte) {
	c.t.Helper()
	c.lastID++
	p := packets.NewControlPacket(packets.SUBSCRIBE)
	content := p.Content.(*packets.Subscribe)
	content.PacketID = c.lastID
	content.Subscriptions = []packets.SubOptions{{Topic: filter, QoS: qos}}
	c.write(p)
	if suback := answer[*packets.Suback](c); suback.Reasons[0] != qos {
		c.t.Fatalf("%s: subscription to %s got %02X", c.id, filter, suback.Reasons[0])
	}
}

// publish returns when the broker has taken the message; QoS 0 is taken once a
// PINGRESP has come back.
func (c *mqttClient) publish(topic, payload string, qos byte, retain ...bool) {
	c.t.Helper()
	c.publishWith(topic, payload, qos, func(p *packets.Publish) { p.Retain = len(retain) > 0 && retain[0] })
}

// publishWith is publish for a packet that differs by a change.
func (c *mqttClient) publishWith(topic, payload string, qos byte, change func(*packets.Publish)) {
	c.t.Helper()
	c.lastID++
	p := packets.NewControlPacket(packets.PUBLISH)
	content := p.Content.(*packets.Publish)
	content.Topic, content.Payload, content.QoS = topic, []byte(payload), qos
	change(content)
	if qos > 0 {
		content.PacketID = c.lastID
	}
	c.write(p)
	switch qos {
	case 0:
		c.write(pingreq())
		answer[*packets.Pingresp](c)
	case 1:
		c.taken(topic, answer[*packets.Puback](c).ReasonCode)
	case 2:
		c.taken(topic, answer[*packets.Pubrec](c).ReasonCode)
		release := packets.NewControlPacket(packets.PUBREL)
		setID(release, c.lastID)
		c.write(release)
		answer[*packets.Pubcomp](c)
	}
}

func (c *mqttClient) taken(topic string, code byte) {
	c.t.Helper()
	if code >= 0x80 {
		c.t.Fatalf("%s: broker refuses a message to %s: %02X", c.id, topic, code)
	}
}

// next is the next message, false if none comes in time.
func (c *mqttClient) next(limit time.Duration) (message, bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case m := <-c.messages:
		return m, true
	case <-timer.C:
		return message{}, false
	}
}

// expect is the next message, which has to be the one described.
func (c *mqttClient) expect(topic, payload string, qos byte) message {
	c.t.Helper()
	m, ok := c.next(patience)
	if !ok {
		c.t.Fatalf("%s: no message, want %s=%q", c.id, topic, payload)
	}
	if m.topic != topic || m.payload != payload || m.qos != qos {
		c.t.Fatalf("%s got %v, want %s=%q QoS %d", c.id, m, topic, payload, qos)
	}
	return m
}

// nothing lets the time pass, in which no message may come.
func (c *mqttClient) nothing(length time.Duration) {
	c.t.Helper()
	if m, ok := c.next(length); ok {
		c.t.Fatalf("%s got %v, want nothing", c.id, m)
	}
}

func (m message) String() string {
	payload := fmt.Sprintf("%q", m.payload)
	if len(m.payload) > 40 {
		payload = fmt.Sprintf("%q… (%d octets)", m.payload[:40], len(m.payload))
	}
	return fmt.Sprintf("%s=%s QoS %d retain %v", m.topic, payload, m.qos, m.retain)
}

func pingreq() *packets.ControlPacket { return packets.NewControlPacket(packets.PINGREQ) }
