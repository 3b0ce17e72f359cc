package client

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

func TestPublishQoS0(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		for _, topic := range []Topic{Predefined(10), Short("ab")} {
			if err := c.Publish(t.Context(), topic, []byte("hi"), mqttsn.QoS0, true); err != nil {
				t.Fatal(err)
			}
			g.expect(&mqttsn.Publish{Retain: true, TopicIDType: topic.Type, TopicID: topic.ID, Data: []byte("hi")})
		}
	})
}

// A name is registered when it is first published to, and the id is kept.
func TestPublishNamed(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		publish := func() error { return c.Publish(t.Context(), Named("s/temp"), []byte("1"), mqttsn.QoS0, false) }
		done := g.call(publish)
		register := &mqttsn.Register{MsgID: 1, TopicName: []byte("s/temp")}
		g.expect(register)
		g.expectAfter(10*time.Second, register)
		g.send(mqttsn.Regack{TopicID: 5, MsgID: 9}, mqttsn.Regack{TopicID: 5, MsgID: 1})
		g.expect(&mqttsn.Publish{TopicID: 5, Data: []byte("1")})
		g.ok(done)
		g.ok(g.call(publish))
		g.expect(&mqttsn.Publish{TopicID: 5, Data: []byte("1")})
		// The gateway has forgotten the id. A QoS 0 message is lost, the next one not.
		g.send(mqttsn.Puback{TopicID: 5, ReturnCode: mqttsn.InvalidTopicID})
		g.told("[PUBLISH s/temp refused: invalid topic ID] []")
		done = g.call(publish)
		g.expect(&mqttsn.Register{MsgID: 2, TopicName: []byte("s/temp")})
		g.send(mqttsn.Regack{TopicID: 6, MsgID: 2})
		g.expect(&mqttsn.Publish{TopicID: 6, Data: []byte("1")})
		g.ok(done)
	})
}

func TestRegister(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		var id uint16
		register := func() (err error) {
			id, err = c.Register(t.Context(), "a/b")
			return err
		}
		done := g.call(register)
		g.expect(&mqttsn.Register{MsgID: 1, TopicName: []byte("a/b")})
		g.send(mqttsn.Regack{TopicID: 7, MsgID: 1})
		g.ok(done)
		if id != 7 {
			t.Errorf("Register gives %d", id)
		}
		g.ok(g.call(func() error { return c.Publish(t.Context(), Registered(7), nil, 0, false) }))
		g.expect(&mqttsn.Publish{TopicID: 7})

		done = g.call(register)
		g.expect(&mqttsn.Register{MsgID: 2, TopicName: []byte("a/b")})
		g.send(mqttsn.Regack{MsgID: 2, ReturnCode: mqttsn.NotSupported})
		if err := <-done; err == nil || err.Error() != "REGISTER a/b refused: not supported" {
			t.Errorf("Register: %v", err)
		}
		done = g.call(register)
		g.expect(&mqttsn.Register{MsgID: 3, TopicName: []byte("a/b")})
		g.send(mqttsn.Regack{TopicID: 0xFFFF, MsgID: 3})
		if err := <-done; !errors.Is(err, errTopicID) {
			t.Errorf("Register: %v", err)
		}
	})
}

func TestPublishQoS1(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Publish(t.Context(), Predefined(10), []byte("hi"), mqttsn.QoS1, false) })
		p := &mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicPredefined, TopicID: 10, MsgID: 1, Data: []byte("hi")}
		g.expect(p)
		p.DUP = true
		g.expectAfter(10*time.Second, p)
		g.expectAfter(10*time.Second, p)
		g.send(mqttsn.Puback{TopicID: 10, MsgID: 2}, mqttsn.Puback{TopicID: 10, MsgID: 1}, mqttsn.Puback{TopicID: 10, MsgID: 1})
		g.ok(done)
		g.told("[] []")

		// The next has a MsgId of its own and no DUP.
		done = g.call(func() error { return c.Publish(t.Context(), Predefined(10), nil, mqttsn.QoS1, false) })
		g.expect(&mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicPredefined, TopicID: 10, MsgID: 2})
		g.send(mqttsn.Puback{MsgID: 2, ReturnCode: mqttsn.NotSupported})
		if err := <-done; err == nil || err.Error() != "PUBLISH predefined topic ID 10 refused: not supported" {
			t.Errorf("Publish: %v", err)
		}
	})
}

func TestPublishQoS2(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		publish := func() error { return c.Publish(t.Context(), Short("ab"), []byte("hi"), mqttsn.QoS2, false) }
		done := g.call(publish)
		p := &mqttsn.Publish{QoS: 2, TopicIDType: mqttsn.TopicShort, TopicID: 0x6162, MsgID: 1, Data: []byte("hi")}
		g.expect(p)
		p.DUP = true
		g.expectAfter(10*time.Second, p)
		g.send(mqttsn.Puback{TopicID: 0x6162, MsgID: 1}) // no answer to a QoS 2 message
		g.expectAfter(10*time.Second, p)
		g.send(mqttsn.Pubrec{MsgID: 1})
		g.expect(&mqttsn.Pubrel{MsgID: 1})
		g.expectAfter(10*time.Second, &mqttsn.Pubrel{MsgID: 1})
		g.send(mqttsn.Pubcomp{MsgID: 1})
		g.ok(done)

		done = g.call(publish)
		g.receive()
		g.send(mqttsn.Puback{TopicID: 0x6162, MsgID: 2, ReturnCode: mqttsn.NotSupported})
		if err := <-done; err == nil || err.Error() != "PUBLISH ab refused: not supported" {
			t.Errorf("Publish: %v", err)
		}
		// What is not ours any more is let go of.
		g.send(mqttsn.Pubrec{MsgID: 2}, mqttsn.Pubcomp{MsgID: 2})
		g.expect(&mqttsn.Pubrel{MsgID: 2})
	})
}

// A QoS 1 message to a name whose id the gateway has forgotten is sent again, once.
func TestPublishRegistersAgain(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Publish(t.Context(), Named("a/b"), nil, mqttsn.QoS1, false) })
		for i := range uint16(2) {
			g.expect(&mqttsn.Register{MsgID: 1 + 2*i, TopicName: []byte("a/b")})
			g.send(mqttsn.Regack{TopicID: 5 + i, MsgID: 1 + 2*i})
			g.expect(&mqttsn.Publish{QoS: 1, TopicID: 5 + i, MsgID: 2 + 2*i})
			g.send(mqttsn.Puback{TopicID: 5 + i, MsgID: 2 + 2*i, ReturnCode: mqttsn.InvalidTopicID})
		}
		if err := <-done; err == nil || err.Error() != "PUBLISH a/b refused: invalid topic ID" {
			t.Errorf("Publish: %v", err)
		}
	})
}

// After congestion nothing is published for Twait [SN-6.6].
func TestPublishCongestion(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		publish := func(q mqttsn.QoS) error { return c.Publish(t.Context(), Predefined(1), nil, q, false) }
		done := g.call(func() error { return publish(mqttsn.QoS1) })
		g.receive()
		g.send(mqttsn.Puback{TopicID: 1, MsgID: 1, ReturnCode: mqttsn.Congestion})
		const want = "PUBLISH predefined topic ID 1 refused: congestion"
		if err := <-done; err == nil || err.Error() != want {
			t.Errorf("Publish: %v", err)
		}
		g.pass(5 * time.Minute)
		for _, q := range []mqttsn.QoS{0, 1, 2, mqttsn.QoSMinusOne} {
			if err := publish(q); err == nil || err.Error() != want {
				t.Errorf("Publish with QoS %v: %v", q, err)
			}
		}
		g.pass(time.Second)
		g.ok(g.call(func() error { return publish(mqttsn.QoS0) }))
		g.receive()
	})
	playConnected(t, Options{Twait: -1}, func(t *testing.T, c *Client, g *gateway) {
		g.send(mqttsn.Puback{TopicID: 1, ReturnCode: mqttsn.Congestion})
		g.told("[PUBLISH refused: congestion] []")
		g.ok(g.call(func() error { return c.Publish(t.Context(), Predefined(1), nil, 0, false) }))
		g.receive()
	})
}

func TestPublishQoSMinusOne(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.ok(g.call(func() error { return c.Publish(t.Context(), Short("ab"), []byte("hi"), mqttsn.QoSMinusOne, false) }))
		g.expect(&mqttsn.Publish{QoS: 3, TopicIDType: mqttsn.TopicShort, TopicID: 0x6162, Data: []byte("hi")})
		if err := c.Publish(t.Context(), Named("a/b"), nil, mqttsn.QoSMinusOne, false); !errors.Is(err, errMinusOne) {
			t.Errorf("Publish: %v", err)
		}
		if err := c.Publish(t.Context(), Predefined(1), nil, mqttsn.QoS0, false); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Publish: %v", err)
		}
	})
}

func TestPublishBadTopics(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		for _, topic := range []Topic{{}, Named(""), Registered(0), Short("a"), Short("abc")} {
			if err := c.Publish(t.Context(), topic, nil, mqttsn.QoS0, false); !errors.Is(err, errTopic) {
				t.Errorf("Publish to %v: %v", topic, err)
			}
			if _, err := c.Subscribe(t.Context(), topic, mqttsn.QoS0); !errors.Is(err, errTopic) {
				t.Errorf("Subscribe to %v: %v", topic, err)
			}
			if err := c.Unsubscribe(t.Context(), topic); !errors.Is(err, errTopic) {
				t.Errorf("Unsubscribe from %v: %v", topic, err)
			}
		}
	})
}

func TestPublishLarge(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		largest := bytes.Repeat([]byte("x"), mqttsn.MaxPacket-9)
		g.ok(g.call(func() error { return c.Publish(t.Context(), Predefined(1), largest, 0, false) }))
		if n := len(g.receive()); n != mqttsn.MaxPacket {
			t.Errorf("sends %d octets", n)
		}
		for _, q := range []mqttsn.QoS{0, 1} {
			err := c.Publish(t.Context(), Predefined(1), append(largest, 'x'), q, false)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("Publish: %v", err)
			}
		}
		g.send(mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: 0x6162, Data: largest})
		if m := g.message(); !bytes.Equal(m.Payload, largest) {
			t.Errorf("receives %d octets", len(m.Payload))
		}
	})
}

// One QoS 1 or 2 message is open at a time [SN-6.6], or as many as Inflight says; and
// one registration for all who publish to a name.
func TestPublishConcurrently(t *testing.T) {
	for _, inflight := range []int{1, 3} {
		playConnected(t, Options{Inflight: inflight}, func(t *testing.T, c *Client, g *gateway) {
			var calls []<-chan error
			for range 4 {
				calls = append(calls, g.call(func() error {
					return c.Publish(t.Context(), Named("a/b"), nil, mqttsn.QoS1, false)
				}))
			}
			g.expect(&mqttsn.Register{MsgID: 1, TopicName: []byte("a/b")})
			g.send(mqttsn.Regack{TopicID: 5, MsgID: 1})
			for sent := 0; sent < 4; {
				n := min(inflight, 4-sent)
				for i := range n {
					g.expect(&mqttsn.Publish{QoS: 1, TopicID: 5, MsgID: uint16(2 + sent + i)})
				}
				g.silent()
				for i := range n {
					g.send(mqttsn.Puback{TopicID: 5, MsgID: uint16(2 + sent + i)})
				}
				sent += n
			}
			for _, done := range calls {
				g.ok(done)
			}
		})
	}
}

// MsgId wraps around past 0, and past those that are in use.
func TestMsgIDWraps(t *testing.T) {
	playConnected(t, Options{Inflight: 2}, func(t *testing.T, c *Client, g *gateway) {
		publish := func() error { return c.Publish(t.Context(), Predefined(1), nil, mqttsn.QoS1, false) }
		first := g.call(publish)
		g.receive() // MsgId 1 stays open
		c.mu.Lock()
		c.msgID = 65534
		c.mu.Unlock()
		for _, id := range []uint16{65535, 2} {
			done := g.call(publish)
			g.expect(&mqttsn.Publish{QoS: 1, TopicIDType: 1, TopicID: 1, MsgID: id})
			g.send(mqttsn.Puback{TopicID: 1, MsgID: id})
			g.ok(done)
		}
		g.send(mqttsn.Puback{TopicID: 1, MsgID: 1})
		g.ok(first)
	})
}

func TestTopicString(t *testing.T) {
	for want, topic := range map[string]Topic{
		"a/b": Named("a/b"), "ab": Short("ab"), "predefined topic ID 7": Predefined(7), "normal topic ID 8": Registered(8),
	} {
		if topic.String() != want {
			t.Errorf("%+v is %q", topic, topic.String())
		}
	}
}

func TestTopicTable(t *testing.T) {
	var table topicTable
	table.clear()
	steps := []struct {
		id   uint16
		name string
		ok   bool
	}{{0, "a", false}, {0xFFFF, "a", false}, {1, "a", true}, {2, "b", true}, {3, "c", false}, {1, "c", true}, {3, "c", false}, {2, "c", true}}
	for _, s := range steps {
		if ok := table.learn(s.id, s.name, 2); ok != s.ok {
			t.Errorf("learn(%d, %q) = %v", s.id, s.name, ok)
		}
	}
	if got := fmt.Sprint(table.names, table.ids); got != "map[1:c 2:c] map[c:2]" {
		t.Errorf("table is %s", got)
	}
	table.forget(1)
	if got := fmt.Sprint(table.names, table.ids); got != "map[2:c] map[c:2]" {
		t.Errorf("table is %s", got)
	}
	table.forget(2)
	if len(table.names)+len(table.ids) != 0 {
		t.Errorf("table is %v", table)
	}
}

func TestPublishAllocates(t *testing.T) {
	var sent int
	c := New(&echo{in: make(chan []byte, 1), sent: &sent}, Options{ClientID: "c"})
	defer c.Close()
	if err := c.Connect(t.Context(), ConnectOptions{}); err != nil {
		t.Fatal(err)
	}
	payload := []byte("payload")
	for q, most := range map[mqttsn.QoS]float64{mqttsn.QoSMinusOne: 0, mqttsn.QoS0: 0, mqttsn.QoS1: 0} {
		allocs := testing.AllocsPerRun(200, func() {
			if err := c.Publish(t.Context(), Predefined(1), payload, q, false); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > most {
			t.Errorf("QoS %v allocates %v times", q, allocs)
		}
	}
	if sent < 600 {
		t.Errorf("only %d packets sent", sent)
	}
}

// echo is a gateway that accepts connections and QoS 1 messages, without allocating.
type echo struct {
	in     chan []byte
	sent   *int
	answer [16]byte
}

func (e *echo) Write(b []byte) (int, error) {
	*e.sent++
	var out []byte
	switch typ, _, _ := mqttsn.Peek(b); typ {
	case mqttsn.TypeConnect:
		out = mqttsn.Connack{}.Append(e.answer[:0])
	case mqttsn.TypePublish:
		if b[2]>>5&3 != 1 {
			return len(b), nil
		}
		out = append(append(e.answer[:0], 7, byte(mqttsn.TypePuback)), b[3], b[4], b[5], b[6], 0)
	default:
		return len(b), nil
	}
	e.in <- out
	return len(b), nil
}

func (e *echo) Read(b []byte) (int, error) {
	d, ok := <-e.in
	if !ok {
		return 0, errors.New("closed")
	}
	return copy(b, d), nil
}

func (e *echo) Close() error {
	close(e.in)
	return nil
}

func BenchmarkPublish(b *testing.B) {
	for _, q := range []mqttsn.QoS{mqttsn.QoS0, mqttsn.QoS1} {
		b.Run("QoS"+q.String(), func(b *testing.B) {
			var sent int
			c := New(&echo{in: make(chan []byte, 1), sent: &sent}, Options{ClientID: "c"})
			defer c.Close()
			if err := c.Connect(b.Context(), ConnectOptions{}); err != nil {
				b.Fatal(err)
			}
			payload := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Publish(b.Context(), Predefined(1), payload, q, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
