package client

import (
	"bytes"
	"errors"
	"time"

	"mqttsn-gateway/mqttsn"
)

// receive does what a packet from the gateway asks for. It runs on the reader.
func (c *Client) receive(p mqttsn.Packet) {
	c.noteAlive()
	switch p := p.(type) {
	case *mqttsn.Publish:
		c.receivePublish(p)
	case *mqttsn.Register:
		c.receiveRegister(p)
	case *mqttsn.Pubrel:
		c.mu.Lock()
		c.received.release(time.Now(), p.MsgID)
		c.mu.Unlock()
		respond(c, mqttsn.Pubcomp{MsgID: p.MsgID})
	case *mqttsn.Pingreq:
		respond(c, mqttsn.Pingresp{}) // [SN-6.11]
	case *mqttsn.Disconnect:
		c.receiveDisconnect()
	case *mqttsn.Pingresp:
		c.receivePingresp()
	case *mqttsn.Puback:
		c.receivePuback(p)
	case *mqttsn.Pubrec:
		if !c.answer(p.MsgID, answer{packet: p.Type()}, mqttsn.TypePublish) {
			// An exchange that we gave up: let the gateway end it as well.
			respond(c, mqttsn.Pubrel{MsgID: p.MsgID})
		}
	case *mqttsn.Pubcomp:
		c.answer(p.MsgID, answer{packet: p.Type()}, mqttsn.TypePublish)
	case *mqttsn.Regack:
		c.answer(p.MsgID, answer{packet: p.Type(), code: p.ReturnCode, topicID: p.TopicID}, mqttsn.TypeRegister)
	case *mqttsn.Suback:
		c.answer(p.MsgID, answer{packet: p.Type(), code: p.ReturnCode, topicID: p.TopicID, qos: p.QoS}, mqttsn.TypeSubscribe)
	case *mqttsn.Unsuback:
		c.answer(p.MsgID, answer{packet: p.Type()}, mqttsn.TypeUnsubscribe)
	case *mqttsn.Connack:
		c.receiveConnack(p)
	case *mqttsn.WillTopicReq, *mqttsn.WillMsgReq:
		c.answerControl(answer{packet: p.Type()}, mqttsn.TypeConnect)
	case *mqttsn.WillTopicResp:
		c.answerControl(answer{packet: p.Type(), code: p.ReturnCode}, mqttsn.TypeWillTopicUpd)
	case *mqttsn.WillMsgResp:
		c.answerControl(answer{packet: p.Type(), code: p.ReturnCode}, mqttsn.TypeWillMsgUpd)
	case *mqttsn.GWInfo:
		g := Gateway{ID: p.GatewayID, Address: bytes.Clone(p.Address)}
		c.answerControl(answer{packet: p.Type(), gateway: g}, mqttsn.TypeSearchGW)
	}
	// What else there is, a gateway does not send to a client, or the client has no
	// use for, such as ADVERTISE.
}

// answer hands an answer to the exchange with that MsgId if it is for such a request.
// What the gateway gives a name to is known before the next packet is looked at.
func (c *Client) answer(msgID uint16, a answer, request mqttsn.Type) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.exchanges[msgID]
	if x == nil || x.request != request {
		return false
	}
	if x.topic != "" && a.topicID != 0 && a.code == mqttsn.Accepted && !c.topics.learn(a.topicID, x.topic, c.o.MaxTopics) {
		a.err = errTopicID
	}
	x.post(a)
	return true
}

var errTopicID = errors.New("no room for the topic ID that the gateway assigned, or it is a reserved one")

// answerControl hands an answer to the exchange without a MsgId.
func (c *Client) answerControl(a answer, request mqttsn.Type) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking != nil && c.asking.request == request {
		c.asking.post(a)
	}
}

// noteAlive takes any packet as a sign of life. For the keep alive it makes up for a
// PINGRESP that is missing; a wake-up in progress it tells once, since more notes would
// fill the inbox.
func (c *Client) noteAlive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings = min(c.pings, 1)
	if x := c.asking; x != nil && x.collecting && len(x.inbox) == 0 {
		x.post(answer{})
	}
}

func (c *Client) receiveConnack(p *mqttsn.Connack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking == nil || c.asking.request != mqttsn.TypeConnect {
		return
	}
	c.state = Disconnected
	if p.ReturnCode == mqttsn.Accepted {
		c.state = Active
		c.startPingLocked()
	}
	c.asking.post(answer{packet: p.Type(), code: p.ReturnCode})
}

func (c *Client) receiveDisconnect() {
	c.mu.Lock()
	x, state := c.asking, c.state
	if x != nil && x.request == mqttsn.TypeDisconnect {
		c.state = x.becomes
		c.asleepAt = time.Now()
		c.ping.Stop()
		x.post(answer{packet: mqttsn.TypeDisconnect})
		c.mu.Unlock()
		return
	}
	asleepAt := c.asleepAt
	connecting := x != nil && x.request == mqttsn.TypeConnect
	c.mu.Unlock()
	switch {
	case state == Disconnected:
		return
	case connecting:
		return // can only be about what was before
	case state != Active && time.Since(asleepAt) < c.o.Tretry:
		return // a second answer to Sleep; a gateway that means it says it again
	}
	c.lose(ErrDisconnected, false)
}

func (c *Client) receivePingresp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pings > 0 {
		c.startPingLocked()
	}
	if c.asking == nil || c.asking.request != mqttsn.TypePingreq {
		return
	}
	if c.state == Awake {
		c.state = Asleep // [SN-6.14]
	}
	c.asking.post(answer{packet: mqttsn.TypePingresp})
}

func (c *Client) receivePuback(p *mqttsn.Puback) {
	if p.ReturnCode == mqttsn.Congestion {
		c.holdPublishing() // [SN-6.6]
	}
	a := answer{packet: p.Type()}
	if p.ReturnCode != mqttsn.Accepted {
		a.err = refused(mqttsn.TypePublish, "", p.ReturnCode) // of a QoS 2 message too [SN-5.4.13]
	}
	if c.answer(p.MsgID, a, mqttsn.TypePublish) || p.ReturnCode == mqttsn.Accepted {
		return
	}
	c.mu.Lock()
	name := c.topics.names[p.TopicID]
	if p.ReturnCode == mqttsn.InvalidTopicID && p.MsgID == 0 {
		c.topics.forget(p.TopicID) // registered again before the next PUBLISH [SN-6.6]
	}
	c.mu.Unlock()
	c.report(refused(mqttsn.TypePublish, name, p.ReturnCode))
}

func (c *Client) receiveRegister(p *mqttsn.Register) {
	code := mqttsn.NotSupported
	if mqttsn.ValidTopicName(p.TopicName) && p.TopicID != 0x0000 && p.TopicID != 0xFFFF {
		c.mu.Lock()
		code = mqttsn.Congestion
		if c.topics.learn(p.TopicID, string(p.TopicName), c.o.MaxTopics) {
			code = mqttsn.Accepted
		}
		c.mu.Unlock()
	}
	respond(c, mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: code})
}

// receivePublish hands a message out and then acknowledges it.
func (c *Client) receivePublish(p *mqttsn.Publish) {
	topic, code, known := c.topicOf(p)
	switch {
	case !known:
		return
	case code != mqttsn.Accepted:
		respond(c, mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: code})
		return
	}
	if p.QoS == mqttsn.QoS2 {
		c.mu.Lock()
		duplicate := c.received.has(time.Now(), p)
		c.mu.Unlock()
		if duplicate {
			respond(c, mqttsn.Pubrec{MsgID: p.MsgID})
			return
		}
	}
	m := Message{
		Topic: topic, TopicIDType: p.TopicIDType, TopicID: p.TopicID,
		QoS: p.QoS, Retain: p.Retain, DUP: p.DUP, Payload: p.Data,
	}
	if !c.handOut(m) {
		return
	}
	switch p.QoS {
	case mqttsn.QoS1:
		respond(c, mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID})
	case mqttsn.QoS2:
		c.mu.Lock()
		c.received.add(p)
		c.mu.Unlock()
		respond(c, mqttsn.Pubrec{MsgID: p.MsgID})
	}
}

// topicOf finds the name of a message's topic, or the return code to refuse it with.
// known is false for a normal topic id that the SUBACK under way may be about to tell:
// then the message is left to be repeated.
func (c *Client) topicOf(p *mqttsn.Publish) (name string, code mqttsn.ReturnCode, known bool) {
	switch p.TopicIDType {
	case mqttsn.TopicShort:
		octets := mqttsn.ShortTopicName(p.TopicID)
		return string(octets[:]), mqttsn.Accepted, true
	case mqttsn.TopicPredefined:
		name, ok := c.o.Predefined[p.TopicID]
		if !ok && c.o.Predefined != nil {
			return "", mqttsn.InvalidTopicID, true // [SN-6.7]
		}
		return name, mqttsn.Accepted, true
	case mqttsn.TopicNormal:
		c.mu.Lock()
		name, ok := c.topics.names[p.TopicID]
		c.mu.Unlock()
		switch {
		case ok:
			return name, mqttsn.Accepted, true
		case len(c.subscribing) > 0:
			if p.QoS == mqttsn.QoS0 {
				c.drop()
			}
			return "", mqttsn.Accepted, false
		}
		return "", mqttsn.InvalidTopicID, true // [SN-6.10]
	default:
		return "", mqttsn.NotSupported, true
	}
}

// drop counts a message that nobody will send again.
func (c *Client) drop() {
	c.dropped.Add(1)
	c.report(ErrDropped)
}

// handOut gives a message to the application. It reports false if that does not take it.
func (c *Client) handOut(m Message) bool {
	taken := !c.held.Load()
	switch {
	case !taken:
	case c.o.OnMessage != nil:
		c.o.OnMessage(m)
	default:
		m.Payload = bytes.Clone(m.Payload)
		select {
		case c.messages <- m:
		default:
			taken = false
		}
	}
	if !taken {
		if m.QoS == mqttsn.QoS0 {
			c.drop()
		}
		return false
	}
	c.mu.Lock()
	if c.asking != nil && c.asking.collecting {
		c.asking.collected++
	}
	c.mu.Unlock()
	return true
}
