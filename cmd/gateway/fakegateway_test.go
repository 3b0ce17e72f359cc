package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"mqttsn-gateway/mqttsn"
)

// fakeGateway answers gateway pub and gateway sub over UDP and writes down what they
// send, one packet per line.
type fakeGateway struct {
	port string

	// deliver are the messages that a client gets after its last SUBSCRIBE, or if it
	// sleeps, when it wakes up.
	deliver []mqttsn.Packet
	// refuse answers packets of a type with a return code.
	refuse map[mqttsn.Type]mqttsn.ReturnCode
	// mtu, if set, is the size of the largest datagram that it takes.
	mtu int
	// asleep makes the gateway keep messages for PINGREQ.
	asleep bool

	conn *net.UDPConn
	mu   sync.Mutex
	log  []string
}

// startFakeGateway starts one; setUp may be nil.
func startFakeGateway(t *testing.T, setUp func(*fakeGateway)) *fakeGateway {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	g := &fakeGateway{port: port, conn: conn, refuse: make(map[mqttsn.Type]mqttsn.ReturnCode)}
	if setUp != nil {
		setUp(g)
	}
	stopped := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-stopped
	})
	go func() {
		defer close(stopped)
		b := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if g.mtu == 0 || n <= g.mtu {
				g.receive(from, b[:n], nil)
			}
		}
	}()
	return g
}

// lines is what clients have sent.
func (g *fakeGateway) lines() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.log, "\n")
}

func (g *fakeGateway) note(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log = append(g.log, fmt.Sprintf(format, args...))
}

func (g *fakeGateway) receive(from netip.AddrPort, b, node []byte) {
	p, err := mqttsn.Decode(b)
	if err != nil {
		g.note("%v", err)
		return
	}
	send := func(packets ...mqttsn.Packet) {
		for _, p := range packets {
			out := p.Append(nil)
			if node != nil {
				out = mqttsn.Encapsulated{NodeID: node, Packet: out}.Append(nil)
			}
			if _, err := g.conn.WriteToUDPAddrPort(out, from); err != nil {
				g.note("%v", err)
			}
		}
	}
	code := g.refuse[p.Type()]
	switch p := p.(type) {
	case *mqttsn.Encapsulated:
		g.note("node %s", p.NodeID)
		g.receive(from, p.Packet, append([]byte{}, p.NodeID...))
	case *mqttsn.Connect:
		g.note("CONNECT %s clean=%v will=%v %ds", p.ClientID, p.CleanSession, p.Will, p.Duration)
		if p.Will && code == mqttsn.Accepted {
			send(mqttsn.WillTopicReq{})
			return
		}
		send(mqttsn.Connack{ReturnCode: code})
	case *mqttsn.WillTopic:
		g.note("WILLTOPIC %s qos=%v retain=%v", p.Topic, p.QoS, p.Retain)
		send(mqttsn.WillMsgReq{})
	case *mqttsn.WillMsg:
		g.note("WILLMSG %s", p.Message)
		send(mqttsn.Connack{})
	case *mqttsn.Register:
		g.note("REGISTER %s", p.TopicName)
		send(mqttsn.Regack{TopicID: 5, MsgID: p.MsgID, ReturnCode: code})
	case *mqttsn.Publish:
		data := string(p.Data)
		if len(data) > 20 {
			data = fmt.Sprintf("%d octets", len(data))
		}
		g.note("PUBLISH %v %d qos=%v retain=%v %q", p.TopicIDType, p.TopicID, p.QoS, p.Retain, data)
		switch {
		case code != mqttsn.Accepted || p.QoS == mqttsn.QoS1:
			send(mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: code})
		case p.QoS == mqttsn.QoS2:
			send(mqttsn.Pubrec{MsgID: p.MsgID})
		}
	case *mqttsn.Pubrel:
		g.note("PUBREL")
		send(mqttsn.Pubcomp{MsgID: p.MsgID})
	case *mqttsn.Subscribe:
		g.note("SUBSCRIBE %v %d %s qos=%v", p.TopicIDType, p.TopicID, p.TopicName, p.QoS)
		send(mqttsn.Suback{QoS: p.QoS, MsgID: p.MsgID, ReturnCode: code})
		if !g.asleep {
			send(g.deliver...)
		}
	case *mqttsn.Regack:
		g.note("REGACK %d", p.TopicID)
	case *mqttsn.Puback:
		g.note("PUBACK %d", p.MsgID)
	case *mqttsn.Pingreq:
		g.note("PINGREQ %s", p.ClientID)
		send(g.deliver...)
		send(mqttsn.Pingresp{})
	case *mqttsn.Disconnect:
		g.note("DISCONNECT %v %d", p.HasDuration, p.Duration)
		send(mqttsn.Disconnect{})
	default:
		g.note("%v", p.Type())
	}
}
