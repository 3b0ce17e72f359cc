package faults

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// listener is an MQTT 5 client with a session that stays: it receives with QoS 2, and
// comes back whenever its connection ends, with what it has to remember.
type listener struct {
	id, addr, filter string
	ledger           *Ledger
	unreleased       map[uint16]bool
	// ready is set once it has subscribed; connects counts how often it has connected, lost
	// how often the broker had lost its session.
	ready          atomic.Bool
	connects, lost atomic.Int32

	mu      sync.Mutex
	conn    net.Conn
	closed  bool
	stopped chan struct{}
}

// listen starts a listener.
func listen(t testing.TB, l *Ledger, addr, id, filter string) *listener {
	t.Helper()
	s := &listener{id: id, addr: addr, filter: filter, ledger: l, unreleased: map[uint16]bool{}, stopped: make(chan struct{})}
	go s.run()
	t.Cleanup(s.stop)
	return s
}

func (s *listener) stop() {
	s.mu.Lock()
	s.closed = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.mu.Unlock()
	<-s.stopped
}

// run connects again and again.
func (s *listener) run() {
	defer close(s.stopped)
	for {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		s.mu.Lock()
		s.conn = conn
		closed := s.closed
		s.mu.Unlock()
		if err == nil && !closed {
			s.serve(conn)
		}
		if err == nil {
			_ = conn.Close()
		}
		if closed {
			return
		}
		pass(20 * time.Millisecond)
	}
}

// serve goes on until the connection ends. A broker that says nothing for long is asked.
func (s *listener) serve(conn net.Conn) {
	expiry := uint32(24 * 3600)
	connect := packets.NewControlPacket(packets.CONNECT)
	content := connect.Content.(*packets.Connect)
	content.ClientID, content.KeepAlive = s.id, 600
	content.Properties.SessionExpiryInterval = &expiry
	if _, err := connect.WriteTo(conn); err != nil {
		return
	}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		p, err := packets.ReadPacket(conn)
		if err != nil || !s.hear(conn, p) {
			return
		}
	}
}

// hear takes one packet; false ends the connection.
func (s *listener) hear(conn net.Conn, p *packets.ControlPacket) bool {
	var reply *packets.ControlPacket
	switch c := p.Content.(type) {
	case *packets.Connack:
		if c.ReasonCode != 0 {
			return false
		}
		s.connects.Add(1)
		if c.SessionPresent && s.ready.Load() {
			return true
		}
		if s.ready.Load() {
			s.lost.Add(1)
		}
		clear(s.unreleased)
		reply = packets.NewControlPacket(packets.SUBSCRIBE)
		subscribe := reply.Content.(*packets.Subscribe)
		subscribe.PacketID = 1
		subscribe.Subscriptions = []packets.SubOptions{{Topic: s.filter, QoS: 2}}
	case *packets.Suback:
		s.ready.Store(len(c.Reasons) == 1 && c.Reasons[0] == 2)
		return s.ready.Load()
	case *packets.Publish:
		if c.QoS < 2 || !s.unreleased[c.PacketID] {
			s.ledger.Receive(s.id, c.Topic, c.QoS, c.Duplicate, c.Payload)
		}
		switch c.QoS {
		case 0:
			return true
		case 1:
			reply = packets.NewControlPacket(packets.PUBACK)
			reply.Content.(*packets.Puback).PacketID = c.PacketID
		case 2:
			s.unreleased[c.PacketID] = true
			reply = packets.NewControlPacket(packets.PUBREC)
			reply.Content.(*packets.Pubrec).PacketID = c.PacketID
		}
	case *packets.Pubrel:
		delete(s.unreleased, c.PacketID)
		reply = packets.NewControlPacket(packets.PUBCOMP)
		reply.Content.(*packets.Pubcomp).PacketID = c.PacketID
	default:
		return p.Type != packets.DISCONNECT
	}
	_, err := reply.WriteTo(conn)
	return err == nil
}
