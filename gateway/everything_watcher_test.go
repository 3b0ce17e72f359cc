package gateway_test

import (
	"sync"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/embedded"
)

// watcher is an MQTT client with a lasting session that subscribes to all, as far as it can
// be told from within this process: it believes nothing before it is durable.
type watcher struct {
	account
	world  *everything
	conn   broker.Conn
	tokens map[broker.Token]string // payloads of those with QoS 2

	mu    sync.Mutex
	waits []broker.Event
}

func (c *watcher) open(b *embedded.Broker) {
	if c.filters == nil {
		c.account = *newAccount("watcher")
	}
	c.mu.Lock()
	c.waits = nil
	c.mu.Unlock()
	c.conn = b.Open("watcher", c)
	if err := c.conn.Do(&broker.Request{Op: broker.Connect, Token: 1}); err != nil {
		c.world.Fatal(err)
	}
	if err := c.conn.Do(&broker.Request{Op: broker.Subscribe, Token: 2, Topic: "#", QoS: 2}); err != nil {
		c.world.Fatal(err)
	}
}

func (c *watcher) Receive(ev broker.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, ev)
}

// look takes what is durable by now.
func (c *watcher) look() {
	for {
		ev, ok := c.next()
		if !ok {
			return
		}
		c.take(ev)
	}
}

func (c *watcher) next() (ev broker.Event, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waits) == 0 || c.waits[0].Mark > c.world.store.Durable() {
		return ev, false
	}
	ev = c.waits[0]
	c.waits = c.waits[1:]
	return ev, true
}

func (c *watcher) take(ev broker.Event) {
	w := c.world
	switch {
	case ev.Kind == broker.Answered && ev.Code.Failed():
		w.Fatalf("the watcher was told %v", ev.Code)
	case ev.Kind == broker.Answered && ev.Token == 2 && len(c.filters) == 0:
		c.filters["#"] = subscribed{2, w.order}
	case ev.Kind == broker.Delivered:
		payload := string(ev.Message.Payload)
		before, known := c.tokens[ev.Token]
		if ev.QoS > 0 && known && before != payload {
			w.Errorf("token %d stood for %q and stands for %q", ev.Token, before, payload)
		}
		if ev.QoS < 2 || !known {
			w.receives(&c.account, payload, ev.QoS)
		}
		if ev.QoS == 0 {
			return
		}
		if ev.QoS == 2 {
			c.tokens[ev.Token] = payload
		}
		if err := c.conn.Do(&broker.Request{Op: broker.Ack, Token: ev.Token}); err != nil {
			w.Fatal(err)
		}
	}
}

// retire ends the watcher's session.
func (c *watcher) retire() {
	for topic := range c.world.retained {
		if err := c.conn.Do(&broker.Request{Op: broker.Publish, Topic: topic, Retain: true}); err != nil {
			c.world.Fatal(err)
		}
	}
	for _, r := range []broker.Request{{Op: broker.Disconnect}, {Op: broker.Connect, Token: 3, CleanSession: true}, {Op: broker.Disconnect}} {
		if err := c.conn.Do(&r); err != nil {
			c.world.Fatal(err)
		}
	}
}
