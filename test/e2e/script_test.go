package e2e

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// script is an MQTT 5 broker that answers as the test says. It stores and delivers
// nothing.
type script struct {
	addr string
	// mu guards the answers: the reason codes for CONNECT, SUBSCRIBE, and PUBLISH of QoS
	// 1 and 2.
	mu                          sync.Mutex
	connect, subscribe, publish byte
	// leave closes the listener and all connections.
	leave func()
}

func startScript(t *testing.T) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{addr: listener.Addr().String(), subscribe: 2}
	ctx, leave := context.WithCancel(t.Context())
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	s.leave = leave
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			go s.serve(conn)
		}
	}()
	return s
}

// answers sets the reason codes to give from now on.
func (s *script) answers(connect, subscribe, publish byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connect, s.subscribe, s.publish = connect, subscribe, publish
}

func (s *script) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		if reply := s.step(p.Content); reply != nil {
			if _, err := reply.WriteTo(conn); err != nil {
				return
			}
		}
		if p.Type == packets.DISCONNECT {
			return
		}
	}
}

func (s *script) step(p packets.Packet) *packets.ControlPacket {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := p.(type) {
	case *packets.Pingreq:
		return packets.NewControlPacket(packets.PINGRESP)
	case *packets.Connect:
		reply := packets.NewControlPacket(packets.CONNACK)
		reply.Content.(*packets.Connack).ReasonCode = s.connect
		return reply
	case *packets.Subscribe:
		reply := packets.NewControlPacket(packets.SUBACK)
		content := reply.Content.(*packets.Suback)
		content.PacketID, content.Reasons = p.PacketID, []byte{s.subscribe}
		return reply
	case *packets.Unsubscribe:
		reply := packets.NewControlPacket(packets.UNSUBACK)
		content := reply.Content.(*packets.Unsuback)
		content.PacketID, content.Reasons = p.PacketID, []byte{0}
		return reply
	case *packets.Publish:
		return s.stepPublish(p)
	case *packets.Pubrel:
		reply := packets.NewControlPacket(packets.PUBCOMP)
		setID(reply, p.PacketID)
		return reply
	}
	return nil
}

func (s *script) stepPublish(p *packets.Publish) *packets.ControlPacket {
	var reply *packets.ControlPacket
	switch p.QoS {
	case 0:
		return nil
	case 1:
		reply = packets.NewControlPacket(packets.PUBACK)
		reply.Content.(*packets.Puback).ReasonCode = s.publish
	default:
		reply = packets.NewControlPacket(packets.PUBREC)
		reply.Content.(*packets.Pubrec).ReasonCode = s.publish
	}
	setID(reply, p.PacketID)
	return reply
}
