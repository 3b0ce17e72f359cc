package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

// fake is a broker whose every packet the test writes. The gateway's health connection
// it serves by itself.
type fake struct {
	t       testing.TB
	address string
	peers   chan *peer
	tries   atomic.Int32 // connections of clients
	mute    atomic.Bool  // never answer the health connection
	old     atomic.Bool  // answer like an MQTT 3.1.1 broker
	refuse  atomic.Int32 // refuse the health connection with this code
	shut    func()       // end all connections, and let no more in
}

// peer is one client's connection to the fake.
type peer struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	connect *packets.Connect
}

func startFake(t testing.TB) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, address: l.Addr().String(), peers: make(chan *peer, 1000)}
	var mu sync.Mutex
	var open []net.Conn
	f.shut = func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			_ = conn.Close()
		}
		open = nil
	}
	t.Cleanup(f.shut)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			go f.welcome(conn)
		}
	}()
	return f
}

func (f *fake) welcome(conn net.Conn) {
	p := &peer{t: f.t, conn: conn, r: bufio.NewReader(conn)}
	first, err := packets.ReadPacket(p.r)
	if err != nil {
		return
	}
	p.connect = first.Content.(*packets.Connect)
	if f.old.Load() {
		_, _ = conn.Write([]byte{0x20, 2, 0, 1}) // unacceptable protocol version
		_ = conn.Close()
		return
	}
	if !strings.Contains(p.connect.ClientID, "-health-") {
		f.tries.Add(1)
		f.peers <- p
		return
	}
	if code := f.refuse.Load(); code != 0 {
		p.connack(byte(code), false, nil)
		return
	}
	if f.mute.Load() {
		return
	}
	p.connack(0, false, nil)
	for !f.mute.Load() {
		if _, err := packets.ReadPacket(p.r); err != nil {
			return
		}
		p.raw(0xD0, 0)
	}
}

// next is the next client's connection.
func (f *fake) next() *peer {
	f.t.Helper()
	select {
	case p := <-f.peers:
		return p
	case <-time.After(patience):
		f.t.Fatal("no client connects")
		return nil
	}
}

// welcomed is the next client's connection, with its CONNECT accepted.
func (f *fake) welcomed(present bool) *peer {
	f.t.Helper()
	p := f.next()
	p.connack(0, present, nil)
	return p
}

type writerTo interface {
	WriteTo(io.Writer) (int64, error)
}

func (p *peer) send(packet writerTo) { _, _ = packet.WriteTo(p.conn) }

func (p *peer) raw(b ...byte) { _, _ = p.conn.Write(b) }

func (p *peer) close() { _ = p.conn.Close() }

func (p *peer) connack(code byte, present bool, props *packets.Properties) {
	if props == nil {
		props = &packets.Properties{}
	}
	p.send(&packets.Connack{ReasonCode: code, SessionPresent: present, Properties: props})
}

// read reads a packet. packets does not know the short form of DISCONNECT.
func (p *peer) read() (*packets.ControlPacket, error) {
	if b, err := p.r.Peek(2); err == nil && b[0] == 0xE0 && b[1] == 0 {
		_, _ = p.r.Discard(2)
		return packets.NewControlPacket(packets.DISCONNECT), nil
	}
	return packets.ReadPacket(p.r)
}

// want reads the next packet, which has to be of this kind; PINGREQs are answered.
func (p *peer) want(kind byte) packets.Packet {
	p.t.Helper()
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		got, err := p.read()
		if err != nil {
			p.t.Fatalf("want packet %d, got %v", kind, err)
		}
		if got.Type == packets.PINGREQ && kind != packets.PINGREQ {
			p.raw(0xD0, 0)
			continue
		}
		if got.Type != kind {
			p.t.Fatalf("want packet %d, got %v", kind, got)
		}
		return got.Content
	}
}

// publish wants a PUBLISH with this payload.
func (p *peer) publish(payload string, qos byte, dup bool) *packets.Publish {
	p.t.Helper()
	got := p.want(packets.PUBLISH).(*packets.Publish)
	if string(got.Payload) != payload || got.QoS != qos || got.Duplicate != dup {
		p.t.Fatalf("PUBLISH %q QoS %d DUP %v, want %q QoS %d DUP %v", got.Payload, got.QoS, got.Duplicate, payload, qos, dup)
	}
	return got
}

func (p *peer) subscribe(filter string) *packets.Subscribe {
	p.t.Helper()
	got := p.want(packets.SUBSCRIBE).(*packets.Subscribe)
	if len(got.Subscriptions) != 1 || got.Subscriptions[0].Topic != filter {
		p.t.Fatalf("SUBSCRIBE %+v, want %q", got.Subscriptions, filter)
	}
	return got
}

func (p *peer) puback(id uint16, code byte) {
	p.send(&packets.Puback{PacketID: id, ReasonCode: code, Properties: &packets.Properties{}})
}

func (p *peer) pubrec(id uint16, code byte) {
	p.send(&packets.Pubrec{PacketID: id, ReasonCode: code, Properties: &packets.Properties{}})
}

func (p *peer) pubcomp(id uint16) {
	p.send(&packets.Pubcomp{PacketID: id, Properties: &packets.Properties{}})
}

func (p *peer) pubrel(id uint16) {
	p.send(&packets.Pubrel{PacketID: id, Properties: &packets.Properties{}})
}

func (p *peer) suback(id uint16, code byte) {
	p.send(&packets.Suback{PacketID: id, Reasons: []byte{code}, Properties: &packets.Properties{}})
}

func (p *peer) deliver(id uint16, payload string, qos byte, dup bool) {
	p.send(&packets.Publish{
		Topic: "t", Payload: []byte(payload), QoS: qos, PacketID: id, Duplicate: dup, Properties: &packets.Properties{},
	})
}

func (p *peer) disconnect(code byte) {
	p.send(&packets.Disconnect{ReasonCode: code, Properties: &packets.Properties{}})
	p.close()
}

// wantEnd wants the client to close the connection.
func (p *peer) wantEnd() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	if got, err := p.read(); err != io.EOF {
		p.t.Fatalf("want the end of the connection, got %v %v", got, err)
	}
}

// exchange starts a served Broker, a fake, and one connected client.
func exchange(t testing.TB, change func(*Options), clean bool) (*served, *fake, *device, *peer) {
	t.Helper()
	f := startFake(t)
	o := quick(f.address)
	if change != nil {
		change(&o)
	}
	b := serve(t, o)
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1000, CleanSession: clean})
	p := f.welcomed(false)
	d.answer(1000, 0)
	return b, f, d, p
}

func TestConnectSaysWhatItMust(t *testing.T) {
	for _, clean := range []bool{true, false} {
		_, _, d, p := exchange(t, func(o *Options) { o.ClientIDPrefix = "x/"; o.Username = "me" }, clean)
		c, props := p.connect, p.connect.Properties
		expiry := uint32(7 * 24 * 3600)
		if clean {
			expiry = 3600
		}
		got := fmt.Sprint(c.ProtocolVersion, c.ClientID, c.CleanStart, c.WillFlag, c.Username, c.PasswordFlag, c.KeepAlive,
			*props.SessionExpiryInterval, *props.ReceiveMaximum, *props.MaximumPacketSize)
		want := fmt.Sprint(5, "x/c", clean, false, "me", false, 60, expiry, 16, 262144)
		if got != want {
			t.Fatalf("CONNECT %s, want %s", got, want)
		}
		d.do(broker.Request{Op: broker.Disconnect})
		goodbye := p.want(packets.DISCONNECT).(*packets.Disconnect)
		if forget := goodbye.Properties.SessionExpiryInterval; (forget != nil && *forget == 0) != clean {
			t.Fatalf("DISCONNECT of a session with CleanSession %v: %v", clean, goodbye)
		}
		p.wantEnd()
	}
}
