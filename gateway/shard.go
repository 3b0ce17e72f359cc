package gateway

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// shard is a set of sessions that one goroutine at a time may touch: whoever holds mu.
type shard struct {
	gateway *Gateway
	index   int
	inbox   inbox

	mu        sync.Mutex
	clients   map[string]*client // by ClientID: the truth
	restored  []*client          // whose sessions may not have gone on yet after a restart
	deadlines deadlines
	timer     *time.Timer
	alarm     time.Duration // when the timer goes off; 0: not set
	decoder   mqttsn.Decoder
	fx        session.Effects
	outbox    outbox
	spare     []event
	counts    counts
	queued    int        // octets of the messages that wait for its clients
	durable   store.Mark // up to which all is known to be durable
	waiting   waiting
	holding   atomic.Bool // packets are held: a commit is of interest
	// complaints bounds the log lines about clients that are refused or revoked, moves those
	// about clients that go on from another address.
	complaints, moves bucket
	newcomers         newcomers
}

// expireBatch is how many deadlines are served before a shard is left for others: after
// a stall all sessions may be due at once.
const expireBatch = 1000

func newShard(g *Gateway, index int) *shard {
	s := &shard{gateway: g, index: index, clients: make(map[string]*client)}
	s.complaints = bucket{rate: 1, burst: 10}
	s.moves = bucket{rate: 1, burst: 10}
	s.outbox = newOutbox(g.links, func(transports.Datagram) { s.counts.dropped[linkBusy]++ })
	s.inbox.limit = inboxLimit(g)
	s.timer = time.AfterFunc(time.Hour, s.ring)
	s.timer.Stop()
	return s
}

// leave ends a visit: it works off the inbox, sends, sets the timer and lets go. Its
// caller calls Gateway.settle afterwards, since what the visit led to may wait elsewhere.
func (s *shard) leave(now time.Time) {
	s.drain(now)
	if len(s.waiting.clients) > 0 {
		s.releaseAll()
	}
	s.outbox.flush()
	if due, ok := s.deadlines.earliest(); ok && (s.alarm == 0 || due < s.alarm) {
		s.alarm = max(due, 1)
		s.timer.Reset(due - s.gateway.since(now))
	}
	s.mu.Unlock()
}

// run works off a batch of the inbox, unless somebody is inside, who will look at it
// again after leaving. It reports whether it did anything.
func (s *shard) run() (ran bool) {
	if !s.inbox.some() || !s.mu.TryLock() {
		return false
	}
	s.leave(time.Now())
	return true
}

// catchUp works off the inbox until a batch is left at most, and waits if somebody is
// inside.
func (s *shard) catchUp() {
	for s.inbox.crowded() {
		s.mu.Lock()
		s.leave(time.Now())
	}
}

// drain steps the sessions that the broker has told something, until a batch is done.
func (s *shard) drain(now time.Time) {
	for n := 0; n < inboxBatch && s.inbox.some(); {
		events := s.inbox.take(s.spare)
		n += len(events)
		for i := range events {
			ev := &events[i]
			c := ev.client
			void := c.gone || ev.epoch != c.epoch.Load()
			if ev.Kind == broker.Delivered {
				s.counts.messages.Received++
				if void && ev.QoS > 0 {
					s.counts.messages.Returned++
				} else if void {
					s.counts.sessionDropped[session.Disconnection]++
				}
			}
			if void {
				continue
			}
			if s.overflows(c, &ev.Event) {
				s.counts.sessionDropped[session.QueueFull]++
				continue
			}
			switch ev.Kind {
			case broker.Answered:
				c.waiting--
				c.known = c.known || ev.SessionPresent
			case broker.Closed:
				c.waiting = 0 // no answers follow
			}
			c.session.Broker(now, ev.Event, &s.fx)
			s.apply(now, c)
		}
		clear(events)
		s.spare = events
	}
}

// overflows reports whether an event is a QoS 0 message that would have to wait for its client,
// and too much waits for all of them already.
func (s *shard) overflows(c *client, ev *broker.Event) bool {
	return s.queued >= s.gateway.options.MaxQueuedBytesTotal/len(s.gateway.shards) &&
		ev.Kind == broker.Delivered && ev.QoS == 0 && (c.queued > 0 || c.session.State() == session.Asleep)
}

// ring is the timer's visit: it steps the sessions whose deadline has come.
func (s *shard) ring() {
	if s.gateway.over.Load() {
		return // somebody was inside when it was stopped, and has set it again
	}
	s.mu.Lock()
	now := time.Now()
	s.alarm = 0
	for range expireBatch {
		c := s.deadlines.next(s.gateway.since(now))
		if c == nil {
			break
		}
		if at := c.session.Deadline(); !at.IsZero() && !at.After(now) {
			c.session.Expire(now, &s.fx)
		}
		s.apply(now, c)
	}
	s.leave(now)
	s.gateway.settle()
}

// receive steps the sessions that a batch of datagrams is for.
func (s *shard) receive(in *intake, work []arrival) {
	s.mu.Lock()
	now := time.Now()
	s.drain(now) // what came before a PINGREQ is for the wake that it begins
	for i := range work {
		s.packet(now, in, &work[i])
	}
	s.leave(now)
}

func (s *shard) packet(now time.Time, in *intake, a *arrival) {
	p, err := s.decoder.Decode(a.packet)
	if err != nil {
		s.counts.dropped[malformed]++
		return
	}
	if len(s.restored) > 0 {
		s.resumeSender(now, a, p)
	}
	var c *client
	switch p := p.(type) {
	case *mqttsn.Connect:
		if c = s.connect(now, in, a, p); c == nil {
			return
		}
	case *mqttsn.Pingreq:
		if len(p.ClientID) > 0 {
			c = s.wake(in, a, p)
		} else {
			c = s.sender(in, a)
		}
	case *mqttsn.SearchGW: // whom it is from matters only as it shows that the client lives
		if c = s.sender(in, a); c != nil {
			s.counts.received[slot(p.Type())]++
			a.received = true
			c.heard(a)
			c.session.Heard(len(a.Data))
			c.session.Packet(now, p, &s.fx)
			s.apply(now, c)
		}
		in.unknown = append(in.unknown, *a)
		return
	default:
		c = s.sender(in, a)
	}
	if c == nil {
		in.unknown = append(in.unknown, *a)
		return
	}
	s.counts.received[slot(p.Type())]++
	c.place.local = a.Local
	if p.Type() == mqttsn.TypePublish && !s.mayPublish(now, c, len(a.packet)) {
		return
	}
	c.heard(a)
	c.known = c.known || p.Type() != mqttsn.TypeConnect
	c.session.Heard(len(a.Data))
	c.session.Packet(now, p, &s.fx)
	s.apply(now, c)
}

// apply is the only place where decisions of a session become deeds.
func (s *shard) apply(now time.Time, c *client) {
	fx, kept := &s.fx, s.gateway.store != nil
	if kept {
		s.locate(c)
	}
	// A request that the broker side does not take is answered at once, which may lead
	// to further requests.
	for i := 0; i < len(fx.Requests); i++ {
		r := &fx.Requests[i]
		err := c.ask(r)
		if kept {
			s.written(c, r, err)
		}
		switch {
		case err == nil:
		case answered(r):
			code := broker.CodeServerBusy
			if !errors.Is(err, broker.ErrBusy) {
				code = broker.CodeServerUnavailable
			}
			c.session.Broker(now, broker.Event{Kind: broker.Answered, Token: r.Token, Code: code}, fx)
		case r.Op == broker.Publish:
			s.counts.dropped[qos0Broker]++
		}
	}
	if kept {
		s.remember(c)
	}
	for packet := range fx.Packets() {
		s.send(c, packet)
	}
	s.counts.retransmissions += uint64(fx.Retransmissions)
	s.counts.unproven += uint64(fx.Unproven)
	s.counts.probes += uint64(fx.Probes)
	s.counts.messages.Delivered += uint64(fx.Delivered)
	s.counts.messages.Returned += uint64(fx.Returned)
	for why, n := range fx.Drops {
		s.counts.sessionDropped[why] += uint64(n)
	}
	_, octets := c.session.Queued()
	s.queued += octets - c.queued
	c.queued = octets
	if fx.Gone {
		s.forget(c)
	} else if at := c.session.Deadline(); !at.IsZero() {
		s.deadlines.file(c, s.gateway.since(at))
	}
	fx.Reset()
}

// takeLeave tells connected clients that the gateway goes [SN-6.12], and disconnects all
// clients from the broker. Sleepers are left asleep.
//
// Sessions that the store has are left as they are, at the broker too: the next process goes
// on with them. That includes active clients. They are told, since nobody knows when that
// will be, but whoever does not hear it is still connected after the restart; and whoever
// does comes back with a CONNECT.
func (s *shard) takeLeave() {
	s.mu.Lock()
	goodbye := mqttsn.Disconnect{}.Append(nil)
	for _, c := range s.clients {
		if c.asIs {
			continue
		}
		s.giveUp(c)
		if c.session.State() == session.Active {
			s.put(c, goodbye)
		}
		if !c.session.Stored() {
			_ = c.ask(&broker.Request{Op: broker.Disconnect})
		}
	}
	s.leave(time.Now())
}

// forget ends the shell's record of a client whose session is over.
func (s *shard) forget(c *client) {
	c.gone = true
	s.queued -= c.queued
	c.queued = 0
	rest, _ := c.session.Queued()
	s.counts.messages.Returned += uint64(rest)
	s.deadlines.remove(c)
	if c.held != nil && c.place != nil && !c.place.stale.Load() {
		c.held.place = c.place
	}
	s.gateway.routes.unbind(c)
	delete(s.clients, c.session.ID())
	s.gateway.clients.Add(-1)
}
