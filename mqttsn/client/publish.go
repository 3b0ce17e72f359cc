package client

import (
	"context"
	"errors"
	"time"

	"mqttsn-gateway/mqttsn"
)

// Register asks the gateway for the topic id of a name.
func (c *Client) Register(ctx context.Context, name string) (topicID uint16, err error) {
	if err := c.acquire(ctx, c.registering); err != nil { // one at a time [SN-6.5]
		return 0, err
	}
	defer func() { <-c.registering }()
	return c.register(ctx, name)
}

func (c *Client) register(ctx context.Context, name string) (uint16, error) {
	x, err := c.begin(mqttsn.TypeRegister, name)
	if err != nil {
		return 0, err
	}
	defer c.end(x)
	a, err := c.ask(ctx, x, &mqttsn.Register{MsgID: x.id, TopicName: []byte(name)}, mqttsn.TypeRegack)
	if err != nil {
		return 0, err
	}
	return a.topicID, refused(mqttsn.TypeRegister, name, a.code)
}

// Publish publishes a message. QoS 1 and 2 return when the gateway has taken it, QoS 0
// and -1 when it is sent. QoS -1 needs no connection, and a pre-defined or short topic.
// A name without a topic id is registered first.
func (c *Client) Publish(ctx context.Context, t Topic, payload []byte, q mqttsn.QoS, retain bool) error {
	if err := t.check(); err != nil {
		return err
	}
	if err := c.mayPublish(t); err != nil {
		return err
	}
	p := mqttsn.Publish{QoS: q, Retain: retain, TopicIDType: t.Type, TopicID: t.ID, Data: payload}
	switch q {
	case mqttsn.QoSMinusOne:
		if t.Type == mqttsn.TopicNormal {
			return errMinusOne // [SN-6.8]
		}
		return send(c, p)
	case mqttsn.QoS0:
		if err := c.resolve(ctx, t, &p); err != nil {
			return err
		}
		return send(c, p)
	}
	if err := c.acquire(ctx, c.publishing); err != nil { // Inflight at a time [SN-6.6]
		return err
	}
	defer func() { <-c.publishing }()
	for again := false; ; again = true {
		if err := c.resolve(ctx, t, &p); err != nil {
			return err
		}
		err := c.publish(ctx, t, p)
		if code, _ := refusal(err); code != mqttsn.InvalidTopicID || again || t.Name == "" {
			return err
		}
		// The gateway has forgotten the id: register the name again first [SN-6.6].
		c.mu.Lock()
		c.topics.forget(p.TopicID)
		c.mu.Unlock()
	}
}

var errMinusOne = errors.New("QoS -1 needs a pre-defined or short topic")

// publish goes through the exchange of one QoS 1 or 2 message.
func (c *Client) publish(ctx context.Context, t Topic, p mqttsn.Publish) error {
	x, err := c.begin(mqttsn.TypePublish, "")
	if err != nil {
		return err
	}
	defer c.end(x)
	x.publish = p
	x.publish.MsgID = x.id
	if p.QoS == mqttsn.QoS1 {
		_, err = c.ask(ctx, x, &x.publish, mqttsn.TypePuback)
	} else {
		_, err = c.ask(ctx, x, &x.publish, mqttsn.TypePubrec)
	}
	if code, ok := refusal(err); ok {
		return refused(mqttsn.TypePublish, t.String(), code)
	}
	if err != nil || p.QoS == mqttsn.QoS1 {
		return err
	}
	_, err = c.ask(ctx, x, &mqttsn.Pubrel{MsgID: x.id}, mqttsn.TypePubcomp)
	return err
}

// resolve fills in the topic id of a named topic, and checks that there is a connection.
func (c *Client) resolve(ctx context.Context, t Topic, p *mqttsn.Publish) error {
	id, err := c.topicID(t)
	if err != nil || id != 0 || t.Type != mqttsn.TopicNormal {
		p.TopicID = id
		return err
	}
	if err := c.acquire(ctx, c.registering); err != nil {
		return err
	}
	defer func() { <-c.registering }()
	// Someone may have registered the name while we waited.
	if p.TopicID, err = c.topicID(t); err == nil && p.TopicID == 0 {
		p.TopicID, err = c.register(ctx, t.Name)
	}
	return err
}

// topicID is the id to publish with; 0 for a name that has none yet.
func (c *Client) topicID(t Topic) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, c.err
	case c.state == Disconnected:
		return 0, ErrNotConnected
	case t.Name == "":
		return t.ID, nil
	}
	return c.topics.ids[t.Name], nil
}

// mayPublish refuses while the gateway's congestion lasts.
func (c *Client) mayPublish(t Topic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holdUntil.IsZero() || !time.Now().Before(c.holdUntil) {
		return nil
	}
	return &ReturnCodeError{Request: mqttsn.TypePublish, Topic: t.String(), Code: mqttsn.Congestion}
}

// holdPublishing begins the waiting time after congestion.
func (c *Client) holdPublishing() {
	if c.o.Twait < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holdUntil = time.Now().Add(c.o.Twait)
}
