package client

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/mqttsn"
)

// sender is a gateway for the tests with loss: it accepts what the client publishes, and
// sends it messages, one in flight, repeated until they are acknowledged.
type sender struct {
	conn *pipe

	queue []mqttsn.QoS // of the messages still to be sent, the first in flight
	next  uint32       // its number, which is its payload
	msgID uint16       // its MsgId
	rel   bool         // PUBREC has come

	taken map[uint32]int  // messages from the client
	open  map[uint16]bool // QoS 2 messages from the client
}

func (s *sender) run(done <-chan struct{}) {
	retry := time.NewTicker(2 * time.Second)
	defer retry.Stop()
	for {
		select {
		case b := <-s.conn.in:
			p, err := mqttsn.Decode(b)
			if err != nil {
				panic(err)
			}
			s.receive(p)
		case <-retry.C:
			s.push(true)
		case <-done:
			return
		}
	}
}

func (s *sender) send(p mqttsn.Packet) { _, _ = s.conn.Write(p.Append(nil)) }

func (s *sender) receive(p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Connect:
		s.send(mqttsn.Connack{})
	case *mqttsn.Register:
		s.send(mqttsn.Regack{TopicID: 7, MsgID: p.MsgID})
	case *mqttsn.Disconnect:
		s.send(mqttsn.Disconnect{})
	case *mqttsn.Pingreq:
		if len(s.queue) == 0 || len(p.ClientID) == 0 {
			s.send(mqttsn.Pingresp{})
		} else {
			s.push(false)
		}
	case *mqttsn.Publish:
		n := binary.BigEndian.Uint32(p.Data)
		if p.QoS == mqttsn.QoS1 {
			s.taken[n]++
			s.send(mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID})
			return
		}
		if !s.open[p.MsgID] {
			s.open[p.MsgID] = true
			s.taken[n]++
		}
		s.send(mqttsn.Pubrec{MsgID: p.MsgID})
	case *mqttsn.Pubrel:
		s.send(mqttsn.Pubcomp{MsgID: p.MsgID})
	case *mqttsn.Puback:
		if len(s.queue) > 0 && s.queue[0] == mqttsn.QoS1 && p.MsgID == s.msgID {
			s.advance()
		}
	case *mqttsn.Pubrec:
		if len(s.queue) > 0 && s.queue[0] == mqttsn.QoS2 && p.MsgID == s.msgID {
			s.rel = true
			s.push(false)
		}
	case *mqttsn.Pubcomp:
		if s.rel && p.MsgID == s.msgID {
			s.advance()
		}
	}
}

func (s *sender) advance() {
	s.queue, s.rel = s.queue[1:], false
	s.next++
	s.msgID++
	s.push(false)
}

// push sends what is in flight.
func (s *sender) push(again bool) {
	switch {
	case len(s.queue) == 0:
	case s.rel:
		s.send(mqttsn.Pubrel{MsgID: s.msgID})
	default:
		s.send(mqttsn.Publish{
			DUP: again, QoS: s.queue[0], TopicIDType: mqttsn.TopicPredefined, TopicID: 1,
			MsgID: s.msgID, Data: binary.BigEndian.AppendUint32(nil, s.next),
		})
	}
}

// TestRough sends messages both ways over a network that loses, doubles and reorders
// datagrams: none is lost, and QoS 2 ones come once.
//
// QoS 1 upward is at least once; downward a repetition that was delayed past the
// acknowledgement may come as a second copy too.
func TestRough(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRough(t, seed) })
		})
	}
}

func testRough(t *testing.T, seed uint64) {
	const each = 100
	near, far := newPipe(rough(rand.New(rand.NewPCG(seed, 0))))
	gw := &sender{conn: far, msgID: 1, taken: make(map[uint32]int), open: make(map[uint16]bool)}
	for i := range 2 * each {
		gw.queue = append(gw.queue, []mqttsn.QoS{mqttsn.QoS1, mqttsn.QoS2}[i%2])
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() { gw.run(done); close(stopped) }()

	received := make(map[uint32]int)
	c := New(near, Options{
		ClientID: "cli-1", Tretry: time.Second, Nretry: 30,
		OnMessage: func(m Message) { received[binary.BigEndian.Uint32(m.Payload)]++ },
	})
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		close(done)
		<-stopped
		<-time.After(time.Second) // for what is under way
	}()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	check(c.Connect(ctx, ConnectOptions{CleanSession: true, KeepAlive: time.Minute}))
	for i := range uint32(2 * each) {
		q := []mqttsn.QoS{mqttsn.QoS1, mqttsn.QoS2}[i%2]
		check(c.Publish(ctx, Named("a/b"), binary.BigEndian.AppendUint32(nil, i), q, false))
	}
	check(c.Sleep(ctx, time.Hour))
	// The gateway says PINGRESP when all has been taken; but a late PINGRESP of the keep
	// alive may seem to say it earlier, so a client looks again.
	for range 3 {
		_, err := c.Wake(ctx)
		check(err)
	}
	check(c.Disconnect(ctx))
	for i := range uint32(2 * each) {
		for direction, m := range map[string]map[uint32]int{"up": gw.taken, "down": received} {
			switch n := m[i]; {
			case n == 0:
				t.Errorf("message %d %s is lost", i, direction)
			case n > 1 && i%2 == 1:
				t.Errorf("message %d %s comes %d times with QoS 2", i, direction, n)
			}
		}
	}
}

// TestGarbage sends a client everything that a gateway could get wrong, in every state:
// nothing breaks, and nothing changes its state but a DISCONNECT.
func TestGarbage(t *testing.T) {
	datagrams := [][]byte{{}, {0}, {1}, {2}, {1, 0}, {0xFF}}
	for typ := range 256 {
		for size := range 12 {
			b := make([]byte, size+2)
			b[0], b[1] = byte(size+2), byte(typ)
			datagrams = append(datagrams, b)
			ones := append(make([]byte, 2), []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}[:size]...)
			ones[0], ones[1] = byte(size+2), byte(typ)
			datagrams = append(datagrams, ones, ones[:len(ones)-1])
		}
	}
	test := func(t *testing.T, c *Client, g *gateway) {
		state := c.State()
		for _, b := range datagrams {
			if len(b) == 2 && b[1] == byte(mqttsn.TypeDisconnect) || len(b) == 4 && b[1] == byte(mqttsn.TypeDisconnect) && b[0] == 4 {
				continue
			}
			if _, err := g.conn.Write(b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for len(g.conn.in) > 0 {
				<-g.conn.in
			}
			for len(c.Messages()) > 0 {
				<-c.Messages()
			}
		}
		if c.State() != state {
			t.Errorf("state goes from %v to %v", state, c.State())
		}
		g.connect(ConnectOptions{CleanSession: true})
	}
	play(t, Options{}, test)
	playConnected(t, Options{}, test)
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Sleep(t.Context(), time.Hour) })
		g.receive()
		g.send(mqttsn.Disconnect{})
		g.ok(done)
		test(t, c, g)
	})
}
