package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/mqttsn"
)

var connectPacket = &mqttsn.Connect{CleanSession: true, ProtocolID: 1, ClientID: []byte("cli-1")}

func TestConnect(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{KeepAlive: time.Minute})
		if c.State() != Active {
			t.Errorf("state is %v", c.State())
		}
	})
}

// A gateway that does not answer is asked Nretry times more, Tretry apart.
func TestConnectNoAnswer(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		start := time.Now()
		done := g.call(func() error { return c.Connect(t.Context(), ConnectOptions{CleanSession: true}) })
		g.expect(connectPacket)
		for range 3 {
			g.expectAfter(10*time.Second, connectPacket)
		}
		if err := <-done; !errors.Is(err, ErrNoAnswer) {
			t.Errorf("Connect: %v", err)
		}
		if took := time.Since(start); took != 40*time.Second {
			t.Errorf("gives up after %v", took)
		}
		if c.State() != Disconnected {
			t.Errorf("state is %v", c.State())
		}
	})
}

func TestConnectRefused(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Connect(t.Context(), ConnectOptions{CleanSession: true}) })
		g.expect(connectPacket)
		g.send(mqttsn.Connack{ReturnCode: mqttsn.Congestion})
		var refused *ReturnCodeError
		if err := <-done; !errors.As(err, &refused) || refused.Code != mqttsn.Congestion || err.Error() != "CONNECT refused: congestion" {
			t.Errorf("Connect: %v", err)
		}
		if _, err := c.Subscribe(t.Context(), Named("a"), 0); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

func TestConnectCancelled(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := g.call(func() error { return c.Connect(ctx, ConnectOptions{CleanSession: true}) })
		g.expect(connectPacket)
		why := errors.New("enough")
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("Connect: %v", err)
		}
		g.connect(ConnectOptions{CleanSession: true})
	})
}

func TestConnectWill(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		o := ConnectOptions{CleanSession: true, Will: &Will{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true}}
		done := g.call(func() error { return c.Connect(t.Context(), o) })
		topic := &mqttsn.WillTopic{QoS: 1, Retain: true, Topic: []byte("w")}
		message := &mqttsn.WillMsg{Message: []byte("gone")}
		g.expect(&mqttsn.Connect{CleanSession: true, Will: true, ProtocolID: 1, ClientID: []byte("cli-1")})
		g.send(mqttsn.WillTopicReq{})
		g.expect(topic)
		g.expectAfter(10*time.Second, topic) // the first was lost
		g.send(mqttsn.WillMsgReq{})
		g.expect(message)
		g.send(mqttsn.WillTopicReq{}) // a CONNECT was late, the gateway begins again
		g.expect(topic)
		g.send(mqttsn.WillMsgReq{})
		g.expect(message)
		g.expectAfter(10*time.Second, message)
		g.send(mqttsn.Connack{})
		g.ok(done)
	})
}

// An empty will topic deletes a stored will; the gateway asks nothing more.
func TestConnectDeletesWill(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Connect(t.Context(), ConnectOptions{Will: &Will{}}) })
		g.expect(&mqttsn.Connect{Will: true, ProtocolID: 1, ClientID: []byte("cli-1")})
		g.send(mqttsn.WillTopicReq{})
		g.expect(&mqttsn.WillTopic{})
		g.send(mqttsn.Connack{})
		g.ok(done)
	})
}

func TestConnectWillNotAnnounced(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Connect(t.Context(), ConnectOptions{CleanSession: true}) })
		g.expect(connectPacket)
		g.send(mqttsn.WillTopicReq{})
		if err := <-done; err == nil {
			t.Error("Connect succeeds")
		}
	})
}

// A gateway that asks for the will without end is left alone after a while.
func TestConnectWillEndless(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Connect(t.Context(), ConnectOptions{Will: &Will{Topic: "w"}}) })
		g.receive()
		for {
			g.send(mqttsn.WillTopicReq{})
			synctest.Wait()
			select {
			case err := <-done:
				if err == nil {
					t.Error("Connect succeeds")
				}
				return
			default:
				g.receive()
			}
		}
	})
}

func TestConnectBadOptions(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		if err := c.Connect(t.Context(), ConnectOptions{KeepAlive: 65536 * time.Second}); err == nil {
			t.Error("a keep alive of 65536 s is accepted")
		}
		if err := c.Connect(t.Context(), ConnectOptions{KeepAlive: -1}); err == nil {
			t.Error("a negative keep alive is accepted")
		}
		c.o.ClientID = "a\x00b"
		if err := c.Connect(t.Context(), ConnectOptions{}); err == nil {
			t.Error("a client id with NUL is accepted")
		}
	})
}

func TestDisconnect(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Disconnect(t.Context()) })
		g.expect(&mqttsn.Disconnect{})
		g.expectAfter(10*time.Second, &mqttsn.Disconnect{})
		g.send(mqttsn.Disconnect{}, mqttsn.Disconnect{})
		g.ok(done)
		if c.State() != Disconnected {
			t.Errorf("state is %v", c.State())
		}
		if err := c.Disconnect(t.Context()); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Disconnect: %v", err)
		}
		g.told("[] []")
	})
}

// A DISCONNECT that nobody asked for ends what is open; then the client may connect
// again, and a late second one does no harm.
func TestDisconnectedByGateway(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Publish(t.Context(), Predefined(1), nil, mqttsn.QoS1, false) })
		g.receive()
		g.send(mqttsn.Disconnect{})
		if err := <-done; !errors.Is(err, ErrDisconnected) {
			t.Errorf("Publish: %v", err)
		}
		g.told("[] [gateway has ended the connection]")
		if err := c.Publish(t.Context(), Predefined(1), nil, mqttsn.QoS0, false); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Publish: %v", err)
		}
		done = g.call(func() error { return c.Connect(t.Context(), ConnectOptions{CleanSession: true}) })
		g.expect(connectPacket)
		g.send(mqttsn.Disconnect{}, mqttsn.Connack{})
		g.ok(done)
		g.told("[] []")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newPipe(perfect)
		c := New(near, Options{ClientID: "c", OnLost: func(err error) { t.Errorf("lost: %v", err) }})
		done := make(chan error, 1)
		go func() { done <- c.Connect(t.Context(), ConnectOptions{}) }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Connect: %v", err)
		}
		if err := c.Connect(t.Context(), ConnectOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Connect after Close: %v", err)
		}
		if _, open := <-c.Messages(); open {
			t.Error("Messages is open")
		}
		if err := c.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestConnectionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newPipe(perfect)
		lost := make(chan error, 1)
		c := New(near, Options{ClientID: "c", OnLost: func(err error) { lost <- err }})
		near.Close()
		err := <-lost
		if err == nil {
			t.Error("no error")
		}
		if got := c.Connect(t.Context(), ConnectOptions{}); !errors.Is(got, err) {
			t.Errorf("Connect: %v, want %v", got, err)
		}
		c.Close()
	})
}

func TestKeepAlive(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{KeepAlive: time.Minute})
		for range 3 {
			g.expectAfter(45*time.Second, &mqttsn.Pingreq{})
			g.send(mqttsn.Pingresp{})
		}
		// One is lost and repeated.
		g.expectAfter(45*time.Second, &mqttsn.Pingreq{})
		g.expectAfter(10*time.Second, &mqttsn.Pingreq{})
		g.send(mqttsn.Pingresp{})
		g.told("[] []")
		// All are lost.
		g.expectAfter(45*time.Second, &mqttsn.Pingreq{})
		for range 3 {
			g.expectAfter(10*time.Second, &mqttsn.Pingreq{})
		}
		g.pass(10*time.Second - 1)
		g.told("[] []")
		g.pass(1)
		g.told("[] [PINGREQ: no answer from the gateway (sent 4 times)]")
		if c.State() != Disconnected {
			t.Errorf("state is %v", c.State())
		}
	})
}

// With a short keep alive the repetitions are closer, so that one loss does no harm.
func TestShortKeepAlive(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{KeepAlive: 10 * time.Second})
		g.expectAfter(7500*time.Millisecond, &mqttsn.Pingreq{})
		g.expectAfter(2500*time.Millisecond, &mqttsn.Pingreq{})
		g.send(mqttsn.Pingresp{})
		g.expectAfter(7500*time.Millisecond, &mqttsn.Pingreq{})
		g.send(mqttsn.Pingresp{})
	})
}

// Nothing keeps a connection alive that is asleep or not there, or is left to the caller.
func TestNoKeepAlive(t *testing.T) {
	play(t, Options{NoPing: true}, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{KeepAlive: time.Second})
		g.pass(time.Hour)
		g.silent()
	})
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{KeepAlive: time.Minute})
		done := g.call(func() error { return c.Sleep(t.Context(), time.Hour) })
		g.expect(&mqttsn.Disconnect{HasDuration: true, Duration: 3600})
		g.send(mqttsn.Disconnect{})
		g.ok(done)
		g.pass(time.Hour)
		g.silent()
		g.connect(ConnectOptions{KeepAlive: time.Minute})
		g.expectAfter(45*time.Second, &mqttsn.Pingreq{})
	})
}

func TestPing(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.Ping(t.Context()) })
		g.expect(&mqttsn.Pingreq{})
		g.send(mqttsn.Pingresp{})
		g.ok(done)
		g.send(mqttsn.Pingreq{}) // [SN-6.11]
		g.expect(&mqttsn.Pingresp{})
	})
}

func TestUpdateWill(t *testing.T) {
	playConnected(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		done := g.call(func() error { return c.UpdateWillTopic(t.Context(), "w", mqttsn.QoS2, true) })
		g.expect(&mqttsn.WillTopicUpd{QoS: 2, Retain: true, Topic: []byte("w")})
		g.send(mqttsn.WillMsgResp{}, mqttsn.WillTopicResp{})
		g.ok(done)
		done = g.call(func() error { return c.UpdateWillTopic(t.Context(), "", 0, false) })
		g.expect(&mqttsn.WillTopicUpd{})
		g.send(mqttsn.WillTopicResp{})
		g.ok(done)
		done = g.call(func() error { return c.UpdateWillMessage(t.Context(), []byte("m")) })
		g.expect(&mqttsn.WillMsgUpd{Message: []byte("m")})
		g.send(mqttsn.WillMsgResp{ReturnCode: mqttsn.NotSupported})
		if err := <-done; err == nil || err.Error() != "WILLMSGUPD refused: not supported" {
			t.Errorf("UpdateWillMessage: %v", err)
		}
	})
}

func TestSearchGateway(t *testing.T) {
	play(t, Options{}, func(t *testing.T, c *Client, g *gateway) {
		var found Gateway
		done := g.call(func() (err error) {
			found, err = c.SearchGateway(t.Context(), 2)
			return err
		})
		search := &mqttsn.SearchGW{Radius: 2}
		g.expect(search)
		g.expectAfter(10*time.Second, search)
		g.expectAfter(20*time.Second, search)
		g.expectAfter(40*time.Second, search)
		g.send(mqttsn.GWInfo{GatewayID: 7, Address: []byte{1, 2}})
		g.ok(done)
		if found.ID != 7 || string(found.Address) != "\x01\x02" {
			t.Errorf("found %+v", found)
		}
	})
}
