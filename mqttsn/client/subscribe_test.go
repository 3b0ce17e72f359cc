package client

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

func TestSubscribeForms(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		for i, want := range []mqttsn.Subscribe{
			{QoS: 2, TopicName: []byte("a/#")},
			{QoS: 2, TopicIDType: mqttsn.TopicPredefined, TopicID: 10},
			{QoS: 2, TopicIDType: mqttsn.TopicShort, TopicID: 0x6162},
		} {
			topic := []Topic{Named("a/#"), Predefined(10), Short("ab")}[i]
			want.MsgID = uint16(2*i + 1)
			var granted mqttsn.QoS
			done := g.call(func() (err error) {
				granted, err = c.Subscribe(t.Context(), topic, mqttsn.QoS2)
				return err
			})
			g.expect(want)
			want.DUP = true // [SN-5.4.15]
			g.expectAfter(10*time.Second, want)
			g.send(mqttsn.Suback{QoS: 1, MsgID: want.MsgID})
			g.ok(done)
			if granted != 1 {
				t.Errorf("QoS %v granted", granted)
			}
			done = g.call(func() error { return c.Unsubscribe(t.Context(), topic) })
			gone := mqttsn.Unsubscribe{TopicIDType: want.TopicIDType, MsgID: want.MsgID + 1, TopicID: want.TopicID, TopicName: want.TopicName}
			g.expect(gone)
			g.expectAfter(10*time.Second, gone)
			g.send(mqttsn.Unsuback{MsgID: gone.MsgID})
			g.ok(done)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error {
			_, err := c.Subscribe(t.Context(), Named("a/#/b"), mqttsn.QoS2)
			return err
		})
		g.receive()
		g.send(mqttsn.Suback{MsgID: 1, ReturnCode: mqttsn.NotSupported})
		if err := <-done; err == nil || err.Error() != "SUBSCRIBE a/#/b refused: not supported" {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

// subscribe subscribes to a/b, which gets topic id 5.
func (g *gateway) subscribe() {
	g.t.Helper()
	done := g.call(func() error {
		_, err := g.c.Subscribe(g.t.Context(), Named("a/b"), mqttsn.QoS2)
		return err
	})
	g.expect(&mqttsn.Subscribe{QoS: 2, MsgID: 1, TopicName: []byte("a/b")})
	g.send(mqttsn.Suback{QoS: 2, TopicID: 5, MsgID: 1})
	g.ok(done)
}

// A message may follow SUBACK at once; one that overtakes it is left to be repeated,
// and not refused for its unknown topic id.
func TestMessageAroundSuback(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error {
			_, err := c.Subscribe(t.Context(), Named("a/b"), mqttsn.QoS1)
			return err
		})
		g.receive()
		p := mqttsn.Publish{QoS: 1, TopicID: 5, MsgID: 9, Data: []byte("x")}
		g.send(p, mqttsn.Publish{TopicID: 5})
		g.told("[message dropped] []") // the one with QoS 0
		p.DUP = true
		g.send(mqttsn.Suback{QoS: 1, TopicID: 5, MsgID: 1}, p)
		g.expect(mqttsn.Puback{TopicID: 5, MsgID: 9})
		g.ok(done)
		if m := g.message(); m.Topic != "a/b" || string(m.Payload) != "x" || !m.DUP || m.QoS != 1 {
			t.Errorf("message %+v", m)
		}
	})
}

func TestMessages(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.send(mqttsn.Register{TopicID: 6, MsgID: 77, TopicName: []byte("x/y")})
		g.expect(mqttsn.Regack{TopicID: 6, MsgID: 77})
		g.send(
			mqttsn.Publish{TopicID: 6, Data: []byte("normal")},
			mqttsn.Publish{TopicIDType: mqttsn.TopicPredefined, TopicID: 6, Retain: true, Data: []byte("predefined")},
			mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: 0x6162, Data: []byte("short")},
		)
		for _, want := range []string{"x/y normal 6 false normal", " predefined 6 true predefined", "ab short 24930 false short"} {
			m := g.message()
			if got := fmt.Sprintf("%s %v %d %v %s", m.Topic, m.TopicIDType, m.TopicID, m.Retain, m.Payload); got != want {
				t.Errorf("message %q, want %q", got, want)
			}
		}
	})
}

func TestMessagesRefused(t *testing.T) {
	playConnected(t, Options{Predefined: map[uint16]string{1: "known"}, MaxTopics: 1}, func(t *testing.T, c *Client, g *gateway) {
		for _, q := range []mqttsn.QoS{0, 1, 2} {
			g.send(mqttsn.Publish{QoS: q, TopicID: 5, MsgID: 9})
			g.expect(mqttsn.Puback{TopicID: 5, MsgID: 9, ReturnCode: mqttsn.InvalidTopicID})
			g.send(mqttsn.Publish{QoS: q, TopicIDType: mqttsn.TopicPredefined, TopicID: 2, MsgID: 9})
			g.expect(mqttsn.Puback{TopicID: 2, MsgID: 9, ReturnCode: mqttsn.InvalidTopicID})
			g.send(mqttsn.Publish{QoS: q, TopicIDType: mqttsn.TopicReserved, TopicID: 2, MsgID: 9})
			g.expect(mqttsn.Puback{TopicID: 2, MsgID: 9, ReturnCode: mqttsn.NotSupported})
		}
		g.send(mqttsn.Publish{TopicIDType: mqttsn.TopicPredefined, TopicID: 1})
		if m := g.message(); m.Topic != "known" {
			t.Errorf("message %+v", m)
		}
		for _, bad := range []mqttsn.Register{
			{TopicID: 0, TopicName: []byte("a")}, {TopicID: 0xFFFF, TopicName: []byte("a")},
			{TopicID: 1}, {TopicID: 1, TopicName: []byte("a/#")}, {TopicID: 1, TopicName: []byte("\xff")},
		} {
			g.send(bad)
			g.expect(mqttsn.Regack{TopicID: bad.TopicID, ReturnCode: mqttsn.NotSupported})
		}
		g.send(mqttsn.Register{TopicID: 1, MsgID: 1, TopicName: []byte("a")}, mqttsn.Register{TopicID: 2, MsgID: 2, TopicName: []byte("b")})
		g.expect(mqttsn.Regack{TopicID: 1, MsgID: 1}, mqttsn.Regack{TopicID: 2, MsgID: 2, ReturnCode: mqttsn.Congestion})
	})
}

// A QoS 2 message is handed out once, however often it comes: before PUBREL, and after
// it out of order. Another message with the same MsgId is another message.
func TestMessageQoS2(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		p := mqttsn.Publish{QoS: 2, TopicIDType: mqttsn.TopicPredefined, TopicID: 1, MsgID: 9}
		for _, payload := range []string{"1", "2"} {
			p.Data = []byte(payload)
			g.send(p)
			g.expect(mqttsn.Pubrec{MsgID: 9})
			if m := g.message(); string(m.Payload) != payload {
				t.Errorf("message %+v", m)
			}
			g.send(p, mqttsn.Pubrel{MsgID: 9}, mqttsn.Pubrel{MsgID: 9}, p)
			g.expect(mqttsn.Pubrec{MsgID: 9}, mqttsn.Pubcomp{MsgID: 9}, mqttsn.Pubcomp{MsgID: 9}, mqttsn.Pubrec{MsgID: 9})
			if len(c.Messages()) != 0 {
				t.Error("the message is handed out twice")
			}
		}
		g.pass(10 * time.Second)
		g.send(p)
		g.expect(mqttsn.Pubrec{MsgID: 9})
		g.message()
	})
}

// When nobody takes messages, QoS 1 and 2 stay with the gateway and QoS 0 is lost.
func TestBufferFull(t *testing.T) {
	playConnected(t, Options{Buffer: 1}, func(t *testing.T, c *Client, g *gateway) {
		for q := mqttsn.QoS0; q <= 2; q++ {
			g.send(mqttsn.Publish{TopicIDType: mqttsn.TopicPredefined, TopicID: 1})
			p := mqttsn.Publish{QoS: q, TopicIDType: mqttsn.TopicPredefined, TopicID: 2, MsgID: 9}
			g.send(p)
			g.silent()
			g.message()
			g.send(p)
			switch q {
			case mqttsn.QoS1:
				g.expect(mqttsn.Puback{TopicID: 2, MsgID: 9})
			case mqttsn.QoS2:
				g.expect(mqttsn.Pubrec{MsgID: 9})
			}
			g.message()
		}
		g.told("[message dropped] []")
		if c.Dropped() != 1 {
			t.Errorf("%d dropped", c.Dropped())
		}
	})
}

func TestOnMessage(t *testing.T) {
	var got []string
	o := Options{OnMessage: func(m Message) { got = append(got, m.Topic+"="+string(m.Payload)) }}
	playConnected(t, o, func(t *testing.T, c *Client, g *gateway) {
		g.subscribe()
		p := mqttsn.Publish{QoS: 1, TopicID: 5, MsgID: 3, Data: []byte("1")}
		g.send(p)
		g.expect(mqttsn.Puback{TopicID: 5, MsgID: 3})
		c.Hold(true)
		g.send(p)
		g.silent()
		c.Hold(false)
		g.send(p)
		g.expect(mqttsn.Puback{TopicID: 5, MsgID: 3})
		if fmt.Sprint(got) != "[a/b=1 a/b=1]" {
			t.Errorf("messages %v", got)
		}
	})
}

// A clean session begins without the topic ids of the last, another one keeps them.
func TestTopicIDsAcrossSessions(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.subscribe()
		g.connect(ConnectOptions{})
		g.send(mqttsn.Publish{TopicID: 5})
		g.message()
		g.connect(ConnectOptions{CleanSession: true})
		g.send(mqttsn.Publish{TopicID: 5})
		g.expect(mqttsn.Puback{TopicID: 5, ReturnCode: mqttsn.InvalidTopicID})
	})
}

func TestSleepAndWake(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.subscribe()
		done := g.call(func() error { return c.Sleep(t.Context(), 90*time.Second) })
		g.expect(&mqttsn.Disconnect{HasDuration: true, Duration: 90})
		g.send(mqttsn.Disconnect{})
		g.ok(done)
		if c.State() != Asleep {
			t.Errorf("state is %v", c.State())
		}
		for range 2 {
			var n int
			done = g.call(func() (err error) {
				n, err = c.Wake(t.Context())
				return err
			})
			wake := &mqttsn.Pingreq{ClientID: []byte("cli-1")}
			g.expect(wake)
			g.expectAfter(10*time.Second, wake)
			if c.State() != Awake {
				t.Errorf("state is %v", c.State())
			}
			// Each packet restarts Tretry.
			for i := range 6 {
				g.pass(9 * time.Second)
				g.send(mqttsn.Publish{QoS: 1, TopicID: 5, MsgID: uint16(i)})
				g.expect(mqttsn.Puback{TopicID: 5, MsgID: uint16(i)})
				g.message()
			}
			g.expectAfter(10*time.Second, wake)
			g.send(mqttsn.Pingresp{})
			g.ok(done)
			if n != 6 || c.State() != Asleep {
				t.Errorf("%d messages, state is %v", n, c.State())
			}
		}
		g.connect(ConnectOptions{})
		g.send(mqttsn.Publish{TopicID: 5})
		g.message()
	})
}

// A gateway that is not there leaves the client asleep; one that has lost the client
// says DISCONNECT.
func TestWakeFails(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Sleep(t.Context(), time.Minute) })
		g.receive()
		g.send(mqttsn.Disconnect{})
		g.ok(done)
		wake := func() error {
			_, err := c.Wake(t.Context())
			return err
		}
		done = g.call(wake)
		g.receive()
		for range 3 {
			g.expectAfter(10*time.Second, &mqttsn.Pingreq{ClientID: []byte("cli-1")})
		}
		if err := <-done; err == nil || c.State() != Asleep {
			t.Errorf("Wake: %v, state is %v", err, c.State())
		}
		done = g.call(wake)
		g.receive()
		g.send(mqttsn.Disconnect{})
		if err := <-done; !errors.Is(err, ErrDisconnected) || c.State() != Disconnected {
			t.Errorf("Wake: %v, state is %v", err, c.State())
		}
		g.told("[] [gateway has ended the connection]")
	})
}

// A second answer to Sleep that comes late does not end the connection.
func TestSleepAnsweredTwice(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Sleep(t.Context(), time.Minute) })
		g.receive()
		g.send(mqttsn.Disconnect{}, mqttsn.Disconnect{})
		g.ok(done)
		g.told("[] []")
		if c.State() != Asleep {
			t.Errorf("state is %v", c.State())
		}
	})
}

func TestSleepDurations(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		for _, d := range []time.Duration{0, -1, 65536 * time.Second} {
			if err := c.Sleep(t.Context(), d); err == nil {
				t.Errorf("Sleep(%v) is accepted", d)
			}
		}
		done := g.call(func() error { return c.Sleep(t.Context(), time.Millisecond) })
		g.expect(&mqttsn.Disconnect{HasDuration: true, Duration: 1})
		g.send(mqttsn.Disconnect{})
		g.ok(done)
	})
}
