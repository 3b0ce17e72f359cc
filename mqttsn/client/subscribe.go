package client

import (
	"context"

	"mqttsn-gateway/mqttsn"
)

// Subscribe asks for the messages of a topic, or of all topics that match a filter. It
// returns the QoS that the gateway grants.
func (c *Client) Subscribe(ctx context.Context, t Topic, q mqttsn.QoS) (granted mqttsn.QoS, err error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	if err := c.acquire(ctx, c.subscribing); err != nil { // one at a time [SN-6.9]
		return 0, err
	}
	defer func() { <-c.subscribing }()
	x, err := c.begin(mqttsn.TypeSubscribe, t.Name)
	if err != nil {
		return 0, err
	}
	defer c.end(x)
	x.subscribe = mqttsn.Subscribe{QoS: q, TopicIDType: t.Type, MsgID: x.id, TopicID: t.ID, TopicName: []byte(t.Name)}
	a, err := c.ask(ctx, x, &x.subscribe, mqttsn.TypeSuback)
	if err != nil {
		return 0, err
	}
	return a.qos, refused(mqttsn.TypeSubscribe, t.String(), a.code)
}

// Unsubscribe ends a subscription. The gateway cannot refuse it.
func (c *Client) Unsubscribe(ctx context.Context, t Topic) error {
	if err := t.check(); err != nil {
		return err
	}
	if err := c.acquire(ctx, c.subscribing); err != nil { // one at a time [SN-6.9]
		return err
	}
	defer func() { <-c.subscribing }()
	x, err := c.begin(mqttsn.TypeUnsubscribe, "")
	if err != nil {
		return err
	}
	defer c.end(x)
	p := &mqttsn.Unsubscribe{TopicIDType: t.Type, MsgID: x.id, TopicID: t.ID, TopicName: []byte(t.Name)}
	_, err = c.ask(ctx, x, p, mqttsn.TypeUnsuback)
	return err
}
