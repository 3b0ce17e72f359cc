package gateway

import (
	"bytes"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/mqttsn"
)

const (
	// minusOneQueue is how many QoS -1 messages wait for the broker connection.
	minusOneQueue = 64
	// minusOneRetry is how long a refused broker connection is left alone.
	minusOneRetry = time.Second
)

// anonymous publishes the QoS -1 messages of clients without a session over a broker
// connection of its own [SN-7.1], which is made when the first of them comes.
type anonymous struct {
	gateway *Gateway
	inbox   inbox

	mu      sync.Mutex
	conn    broker.Conn
	state   anonymousState
	retryAt time.Duration
	queue   []broker.Request
	rate    bucket
	lost    uint64 // messages dropped after they were queued
}

type anonymousState int

const (
	anonymousIdle anonymousState = iota
	anonymousConnecting
	anonymousUp
)

func newAnonymous(g *Gateway) *anonymous {
	rate := float64(g.options.QoSMinusOneRate)
	a := &anonymous{gateway: g, rate: bucket{rate: rate, burst: rate}}
	a.inbox.limit = inboxLimit(g)
	a.conn = g.broker.Open(g.options.QoSMinusOneClientID, a)
	return a
}

// Receive takes an event of the broker connection: broker.Receiver.
func (a *anonymous) Receive(ev broker.Event) { a.inbox.push(event{Event: ev}) }

// publish sends a message on its way, or says why not. QoS -1 goes to the broker as
// QoS 0; DUP and MsgId mean nothing here [SN-6.8]. The rights are those of its sender, and
// from are its user properties.
func (a *anonymous) publish(now time.Duration, p *mqttsn.Publish, rights *auth.Rights, from []broker.UserProperty) (reason, bool) {
	if !a.gateway.options.QoSMinusOne {
		return minusOneOff, false
	}
	topic, ok := a.topic(p)
	if !ok {
		return minusOneTopic, false
	}
	if !rights.MayPublish(topic) {
		return minusOneDenied, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gateway.closing.Load() {
		return shuttingDown, false
	}
	if !a.rate.take(now) {
		return minusOneRate, false
	}
	r := broker.Request{Op: broker.Publish, Topic: topic, Payload: p.Data, Retain: p.Retain, User: from}
	if a.state == anonymousUp {
		if a.conn.Do(&r) != nil {
			return minusOneBroker, false
		}
		return 0, true
	}
	if len(a.queue) >= minusOneQueue || a.state == anonymousIdle && now < a.retryAt {
		return minusOneBroker, false
	}
	r.Payload = bytes.Clone(p.Data)
	a.queue = append(a.queue, r)
	if a.state == anonymousIdle {
		a.state = anonymousConnecting
		if a.conn.Do(&broker.Request{Op: broker.Connect, CleanSession: true, As: a.gateway.commonUser()}) != nil {
			a.refused(now)
		}
	}
	return 0, true
}

// topic is the topic that a QoS -1 message is for: TopicIdType 01 and 10 only [SN-6.8].
func (a *anonymous) topic(p *mqttsn.Publish) (string, bool) {
	switch p.TopicIDType {
	case mqttsn.TopicPredefined:
		return a.gateway.options.Session.Predefined.Name("", p.TopicID)
	case mqttsn.TopicShort:
		name := []byte{byte(p.TopicID >> 8), byte(p.TopicID)}
		return string(name), mqttsn.ValidTopicName(name)
	}
	return "", false
}

// run works off what the broker has told. Like a shard's it gives way to whoever is
// inside, who looks again afterwards. It reports whether it did anything.
func (a *anonymous) run(now time.Duration) (ran bool) {
	for a.inbox.some() && a.mu.TryLock() {
		for _, ev := range a.inbox.take(nil) {
			a.event(now, ev.Event)
		}
		a.mu.Unlock()
		ran = true
	}
	return ran
}

func (a *anonymous) event(now time.Duration, ev broker.Event) {
	switch {
	case ev.Kind == broker.Answered && a.state == anonymousConnecting && !ev.Code.Failed():
		a.state = anonymousUp
		for i := range a.queue {
			if a.conn.Do(&a.queue[i]) != nil {
				a.lost++
			}
		}
		a.queue = nil
	case ev.Kind == broker.Closed, ev.Kind == broker.Answered && a.state == anonymousConnecting:
		a.refused(now)
	}
}

func (a *anonymous) refused(now time.Duration) {
	a.state = anonymousIdle
	a.retryAt = now + minusOneRetry
	a.lost += uint64(len(a.queue))
	a.queue = nil
}

// close ends the broker connection.
func (a *anonymous) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != anonymousIdle {
		_ = a.conn.Do(&broker.Request{Op: broker.Disconnect})
		a.state = anonymousIdle
	}
}

func (a *anonymous) dropped() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lost
}
