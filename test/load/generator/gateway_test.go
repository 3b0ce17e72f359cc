//go:build linux

package generator

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// fakeGateway is the least that the generator can drive: one topic id per client, and
// one MQTT client at a time. Every loseth message on its way is dropped, if not 0.
type fakeGateway struct {
	t    *testing.T
	udp  *net.UDPConn
	tcp  net.Listener
	lose int
	seen int

	mu     sync.Mutex
	topics map[string]*net.UDPAddr // the client that has this topic
	names  map[string]string       // the topic of the client at this address
	mqtt   net.Conn
}

func startFakeGateway(t *testing.T, lose int) *fakeGateway {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeGateway{t: t, udp: udp, tcp: tcp, lose: lose, topics: map[string]*net.UDPAddr{}, names: map[string]string{}}
	var all sync.WaitGroup
	all.Go(f.serveUDP)
	all.Go(f.serveTCP)
	t.Cleanup(func() {
		_ = udp.Close()
		_ = tcp.Close()
		all.Wait()
	})
	return f
}

func (f *fakeGateway) dropped() bool {
	f.seen++
	return f.lose > 0 && f.seen%f.lose == 0
}

func (f *fakeGateway) serveUDP() {
	b := make([]byte, 2000)
	for {
		n, from, err := f.udp.ReadFromUDP(b)
		if err != nil {
			return
		}
		p, err := mqttsn.Decode(b[:n])
		if err != nil {
			f.t.Errorf("%x: %v", b[:n], err)
			return
		}
		f.mu.Lock()
		if answer := f.device(from, p); answer != nil {
			_, _ = f.udp.WriteToUDP(answer.Append(nil), from)
		}
		f.mu.Unlock()
	}
}

// device answers a packet of a client.
func (f *fakeGateway) device(from *net.UDPAddr, p mqttsn.Packet) mqttsn.Packet {
	switch p := p.(type) {
	case *mqttsn.Connect:
		return &mqttsn.Connack{}
	case *mqttsn.Register:
		f.names[from.String()] = string(p.TopicName)
		return &mqttsn.Regack{TopicID: 1, MsgID: p.MsgID}
	case *mqttsn.Subscribe:
		f.topics[string(p.TopicName)] = from
		return &mqttsn.Suback{QoS: p.QoS, TopicID: 1, MsgID: p.MsgID}
	case *mqttsn.Pingreq:
		return &mqttsn.Pingresp{}
	case *mqttsn.Disconnect:
		return &mqttsn.Disconnect{}
	case *mqttsn.Publish:
		if f.mqtt != nil && !f.dropped() {
			var m mqttConn
			m.publish(f.names[from.String()], p.Data, byte(p.QoS))
			_, _ = f.mqtt.Write(m.out)
		}
		if p.QoS == mqttsn.QoS1 {
			return &mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}
		}
	}
	return nil
}

func (f *fakeGateway) serveTCP() {
	for {
		c, err := f.tcp.Accept()
		if err != nil {
			return
		}
		f.serveMQTT(c)
		_ = c.Close()
	}
}

func (f *fakeGateway) serveMQTT(c net.Conn) {
	f.mu.Lock()
	f.mqtt = c
	f.mu.Unlock()
	var in []byte
	for b := make([]byte, 1<<16); ; {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		in = append(in, b[:n]...)
		for {
			kind, body, rest, ok := cutPacket(in)
			if !ok {
				break
			}
			in = rest
			f.packet(c, kind, body)
		}
	}
}

// packet answers a packet of the MQTT client.
func (f *fakeGateway) packet(c net.Conn, kind byte, body []byte) {
	switch kind {
	case mqttConnect:
		_, _ = c.Write([]byte{mqttConnack, 2, 0, 0})
	case mqttSubscribe:
		_, _ = c.Write([]byte{mqttSuback, 3, body[0], body[1], body[len(body)-1]})
	case mqttPublish, mqttPublish | 2:
		end := 2 + int(binary.BigEndian.Uint16(body))
		topic, payload := body[2:end], body[end:]
		if kind != mqttPublish {
			_, _ = c.Write([]byte{mqttPuback, 2, payload[0], payload[1]})
			payload = payload[2:]
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		p := mqttsn.Publish{QoS: mqttsn.QoS(kind >> 1 & 3), TopicID: 1, MsgID: 7, Data: payload}
		if f.dropped() {
			return
		}
		_, _ = f.udp.WriteToUDP(p.Append(nil), f.topics[string(topic)])
	}
}

// TestScenarios runs every scenario in turn on the same clients.
func TestScenarios(t *testing.T) {
	g := connect(t, startFakeGateway(t, 0), 30*time.Second)
	for _, s := range Scenarios {
		r, err := g.Run(s, 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost > 0 || r.Duplicates > 0 || r.Refused > 0 || r.P50 == 0 || r.P99 < r.P50 {
			t.Errorf("%s: %+v", s, r)
		}
	}
}

// TestLossIsSeen runs every scenario with messages until the gateway has lost some.
func TestLossIsSeen(t *testing.T) {
	g := connect(t, startFakeGateway(t, 50), 200*time.Millisecond)
	for _, s := range Scenarios[1:] {
		lost := 0
		for deadline := time.Now().Add(30 * time.Second); lost == 0 && time.Now().Before(deadline); {
			r, err := g.Run(s, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			lost = r.Lost
		}
		if lost == 0 {
			t.Errorf("%s: nothing is missing", s)
		}
	}
}

func connect(t *testing.T, f *fakeGateway, patience time.Duration) *Generator {
	t.Helper()
	g, err := New(Options{UDP: f.udp.LocalAddr().String(), MQTT: f.tcp.Addr().String(), Clients: 20, Window: 16, Payload: 64, SubscriberQoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	g.patience = patience
	if err := g.Connect(); err != nil {
		t.Fatal(err)
	}
	return g
}
