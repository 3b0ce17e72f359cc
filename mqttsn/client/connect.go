package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mqttsn-gateway/mqttsn"
)

// Will is the message that the gateway publishes when it has lost the client.
type Will struct {
	// Topic of the will. If it is empty, the client answers the gateway's question with
	// the empty form, which deletes a stored will [SN-5.4.7].
	Topic   string
	Payload []byte
	QoS     mqttsn.QoS
	Retain  bool
}

// ConnectOptions say what connection a client wants.
type ConnectOptions struct {
	// CleanSession forgets subscriptions and will of before [SN-6.3].
	CleanSession bool
	// KeepAlive is the longest time without a packet from the client. It is rounded up
	// to seconds, at most 65535; 0 is none. The client sends PINGREQ by itself when
	// three quarters of it are over, unless Options.NoPing.
	KeepAlive time.Duration
	// Will is the new will; nil leaves a stored one as it is, unless CleanSession.
	Will *Will
}

// Connect connects to the gateway, or connects again: after a loss, from sleep, or with
// other options.
func (c *Client) Connect(ctx context.Context, o ConnectOptions) error {
	duration, err := seconds(o.KeepAlive)
	if err != nil {
		return fmt.Errorf("keep alive: %w", err)
	}
	if !mqttsn.ValidUTF8([]byte(c.o.ClientID)) {
		return fmt.Errorf("client id %q is not UTF-8 without control characters", c.o.ClientID)
	}
	if err := c.acquire(ctx, c.control); err != nil {
		return err
	}
	defer func() { <-c.control }()
	x, err := c.beginControl(mqttsn.TypeConnect)
	if err != nil {
		return err
	}
	defer c.end(x)

	c.mu.Lock()
	c.ping.Stop()
	c.keepAlive = time.Duration(duration) * time.Second
	if o.CleanSession {
		c.topics.clear()
		c.received.clear()
	}
	c.mu.Unlock()
	return c.connect(ctx, x, o, duration)
}

// maxPrompts is how many questions of the gateway a CONNECT answers: two are usual, and
// a repetition under way may double them.
const maxPrompts = 10

// connect goes through the messages of figure 3. Each of ours is repeated until the
// gateway asks for something or answers the whole. A question is answered whenever it
// comes: a CONNECT that was late may have made the gateway begin again.
func (c *Client) connect(ctx context.Context, x *exchange, o ConnectOptions, duration uint16) error {
	var p mqttsn.Packet = &mqttsn.Connect{
		CleanSession: o.CleanSession,
		Will:         o.Will != nil,
		ProtocolID:   mqttsn.ProtocolID,
		Duration:     duration,
		ClientID:     []byte(c.o.ClientID),
	}
	for range maxPrompts {
		a, err := c.ask(ctx, x, p, mqttsn.TypeConnack, mqttsn.TypeWillTopicReq, mqttsn.TypeWillMsgReq)
		if err != nil {
			return err
		}
		if a.packet == mqttsn.TypeConnack {
			return refused(mqttsn.TypeConnect, "", a.code)
		}
		if o.Will == nil {
			return errors.New("gateway asks for a will that CONNECT did not announce")
		}
		switch a.packet {
		case mqttsn.TypeWillTopicReq:
			p = &mqttsn.WillTopic{QoS: o.Will.QoS, Retain: o.Will.Retain, Topic: []byte(o.Will.Topic)}
		case mqttsn.TypeWillMsgReq:
			p = &mqttsn.WillMsg{Message: o.Will.Payload}
		}
	}
	return errors.New("gateway asks for the will again and again")
}

// Disconnect ends the connection in good order: the will is not published.
func (c *Client) Disconnect(ctx context.Context) error {
	return c.disconnect(ctx, mqttsn.Disconnect{}, Disconnected)
}

// Sleep tells the gateway to keep messages, and to expect the client to Wake within
// duration, which is rounded up to seconds: 1 to 65535 [SN-6.14].
func (c *Client) Sleep(ctx context.Context, duration time.Duration) error {
	d, err := seconds(duration)
	if err == nil && d == 0 {
		err = errDuration
	}
	if err != nil {
		return fmt.Errorf("sleep duration: %w", err)
	}
	return c.disconnect(ctx, mqttsn.Disconnect{HasDuration: true, Duration: d}, Asleep)
}

func (c *Client) disconnect(ctx context.Context, p mqttsn.Disconnect, becomes State) error {
	if err := c.acquire(ctx, c.control); err != nil {
		return err
	}
	defer func() { <-c.control }()
	x, err := c.beginControl(mqttsn.TypeDisconnect)
	if err != nil {
		return err
	}
	defer c.end(x)
	c.mu.Lock()
	x.becomes = becomes
	c.mu.Unlock()
	_, err = c.ask(ctx, x, &p, mqttsn.TypeDisconnect)
	return err
}

// Wake makes a sleeping client awake, collects the messages that wait for it, and lets
// it sleep again. It returns how many messages have come.
func (c *Client) Wake(ctx context.Context) (messages int, err error) {
	return c.pingGateway(ctx, &mqttsn.Pingreq{ClientID: []byte(c.o.ClientID)})
}

// Ping asks the gateway for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.pingGateway(ctx, &mqttsn.Pingreq{})
	return err
}

func (c *Client) pingGateway(ctx context.Context, p *mqttsn.Pingreq) (messages int, err error) {
	if err := c.acquire(ctx, c.control); err != nil {
		return 0, err
	}
	defer func() { <-c.control }()
	x, err := c.beginControl(mqttsn.TypePingreq)
	if err != nil {
		return 0, err
	}
	defer c.end(x)

	c.mu.Lock()
	x.collecting = len(p.ClientID) > 0
	if x.collecting && c.state == Asleep {
		c.state = Awake
	}
	c.mu.Unlock()
	_, err = c.ask(ctx, x, p, mqttsn.TypePingresp)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Awake {
		c.state = Asleep // given up; the next Wake may do better
	}
	return x.collected, err
}

// UpdateWillTopic replaces topic, QoS and retain flag of the stored will. An empty topic
// deletes the will [SN-5.4.22].
func (c *Client) UpdateWillTopic(ctx context.Context, topic string, q mqttsn.QoS, retain bool) error {
	p := &mqttsn.WillTopicUpd{QoS: q, Retain: retain, Topic: []byte(topic)}
	return c.updateWill(ctx, p, mqttsn.TypeWillTopicResp)
}

// UpdateWillMessage replaces the payload of the stored will [SN-5.4.23].
func (c *Client) UpdateWillMessage(ctx context.Context, payload []byte) error {
	return c.updateWill(ctx, &mqttsn.WillMsgUpd{Message: payload}, mqttsn.TypeWillMsgResp)
}

func (c *Client) updateWill(ctx context.Context, p mqttsn.Packet, wanted mqttsn.Type) error {
	if err := c.acquire(ctx, c.control); err != nil {
		return err
	}
	defer func() { <-c.control }()
	x, err := c.beginControl(p.Type())
	if err != nil {
		return err
	}
	defer c.end(x)
	a, err := c.ask(ctx, x, p, wanted)
	if err != nil {
		return err
	}
	return refused(p.Type(), "", a.code)
}

var errDuration = errors.New("must be 1 to 65535 seconds")

// seconds is a Duration field: rounded up, so that what is promised can be kept.
func seconds(d time.Duration) (uint16, error) {
	s := (d + time.Second - 1) / time.Second
	if d < 0 || s > 65535 {
		return 0, errDuration
	}
	return uint16(s), nil
}
