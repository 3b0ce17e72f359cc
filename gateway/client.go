package gateway

import (
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
)

// client is the shell's record of one client: its session, where it is, and its line to
// the broker. It belongs to the holder of its shard, but for what Receive uses.
type client struct {
	shard   *shard
	session *session.Session
	conn    broker.Conn
	place   *place // where the client was last; nil once it is gone
	// as is on whose behalf the session was begun or taken over. Nobody with another
	// identity, or without any, gets at it any more.
	as broker.Principal

	// user is what its messages tell of where they come from; nil until it is asked for.
	user   []broker.UserProperty
	signal int8 // at which its last packet was received, in dBm; 0 if not known

	messages, octets meter // what it has published
	// known says that the client has said more than CONNECT, or the broker had its session.
	known bool

	queued int // octets that wait for it, as shard.queued has them

	due   time.Duration // deadlines: filed under this instant
	filed int           // deadlines: position in the heap, or notFiled

	recorded bool       // the store has a record of where it is
	kept     *place     // what that says; nil if nowhere
	asIs     bool       // it was restored, and its session has not gone on yet
	mark     store.Mark // up to which all must be durable before a packet leaves
	held     *held      // the packets that wait for that; nil as long as there are none

	epoch   atomic.Uint32 // counts broker connections; see event
	waiting int32         // requests that the broker has not answered yet
	gone    bool
}

// livesAt reports whether c is at peer: it came from there last, and nobody else since.
func (c *client) livesAt(peer transports.Peer) bool {
	return c.place != nil && c.place.peer == peer && !c.place.stale.Load()
}

// Receive takes an event of the client's broker connection: broker.Receiver.
func (c *client) Receive(ev broker.Event) {
	c.shard.inbox.push(event{client: c, epoch: c.epoch.Load(), Event: ev})
}

// ask puts one request to the broker and keeps count of the answers to come.
func (c *client) ask(r *broker.Request) error {
	if r.Op == broker.Connect {
		r.As = c.as
	}
	switch r.Op {
	case broker.Publish, broker.Abandon:
		r.User = c.origin()
	case broker.Connect, broker.SetWill:
		if r.Will != nil {
			r.User = c.origin()
		}
	}
	err := c.conn.Do(r)
	switch {
	case r.Op == broker.Disconnect || r.Op == broker.Abandon:
		// What the closed connection still has in the inbox is void.
		c.epoch.Add(1)
		c.waiting = 0
	case err == nil && answered(r):
		c.waiting++
	}
	return err
}

// answered reports whether the broker answers such a request.
func answered(r *broker.Request) bool {
	switch r.Op {
	case broker.Connect, broker.Subscribe, broker.Unsubscribe:
		return true
	case broker.Publish:
		return r.QoS > 0
	}
	return false
}
