package embedded

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// clients are the open connections of MQTT clients. A connection is pending until it has
// sent its CONNECT: those are bounded on their own, or who says nothing would keep out
// who does.
type clients struct {
	mu        sync.Mutex
	open      map[*client]struct{}
	closed    bool               // nobody new is let in
	group     sync.WaitGroup     // of all goroutines that serve connections
	connected int                // that are not pending
	pending   list.List          // *client, the oldest first
	addresses map[netip.Addr]int // open connections; nil if they are not limited
	rates     addressRates       // nil if they are not limited
	rate      bucket             // of all
}

func (l *clients) init(o *Options) {
	l.open = make(map[*client]struct{})
	if o.MaxConnectionsPerAddress > 0 {
		l.addresses = make(map[netip.Addr]int)
	}
	if o.ConnectRatePerAddress > 0 {
		l.rates = make(addressRates)
	}
}

// stage is how far a connection has come.
type stage byte

const (
	pendingStage   stage = iota // it has not sent CONNECT
	connectedStage              // it counts as a client
	droppedStage                // it had to make room for others
)

// serve serves a new connection in a goroutine. It reports false, and closes it, if it is
// not let in.
func (b *Broker) serve(from *listener, conn net.Conn) bool {
	c := &client{broker: b, socket: conn, conn: conn, listener: from}
	c.out.client = c
	if over := from.over(c); over != nil {
		c.conn = over
	} else {
		c.out.direct = mqtt.NewWriter(conn)
	}
	if b.options.MaxPacketRate > 0 || b.options.Access != nil {
		c.ended = make(chan struct{})
	}
	l := &b.clients
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		conn.Close()
		return false
	}
	if what := l.mayOpen(c, addressOf(conn)); what != noLimit {
		l.mu.Unlock()
		b.limited.meet(what, remote(conn))
		conn.Close()
		return false
	}
	var oldest *client
	if l.pending.Len() >= b.options.MaxPendingConnections {
		// In a flood the newest one is the likeliest to mean it: whoever does needs a
		// moment only.
		oldest = l.pending.Remove(l.pending.Front()).(*client)
		oldest.stage = droppedStage
	}
	l.open[c] = struct{}{}
	c.waiting = l.pending.PushBack(c)
	b.stats.connections.Add(1)
	b.stats.accepted.Add(1)
	l.group.Go(c.run)
	l.mu.Unlock()
	if oldest != nil {
		b.limited.meet(pendingLimit, remote(oldest.socket))
		oldest.socket.Close()
	}
	return true
}

// mayOpen judges a connection by where it comes from, and counts it there. The caller
// holds l.mu.
func (l *clients) mayOpen(c *client, from netip.Addr) limit {
	o := &c.broker.options
	switch {
	case !from.IsValid():
		return noLimit
	case l.addresses != nil && l.addresses[from] >= o.MaxConnectionsPerAddress:
		return addressLimit
	case l.rates != nil && !l.rates.allow(from, c.broker.now(), o.ConnectRatePerAddress):
		return addressRateLimit
	case l.addresses != nil:
		l.addresses[from]++
	}
	return noLimit
}

// admit lets a client in whose CONNECT has come, as far as there is room for it. One whose
// last connection is still there needs none: it takes the place of that, which may well be
// dead. It reports false if it does not: the client was told, and the connection is ending.
func (c *client) admit(id string) bool {
	l, o := &c.broker.clients, &c.broker.options
	last := c.broker.connection(id)
	l.mu.Lock()
	what := noLimit
	switch own := c.listener.options.MaxConnections; {
	case c.stage == droppedStage:
		l.mu.Unlock()
		c.gone = true
		return false
	case l.connected >= o.MaxConnections && last == nil:
		what = connectionsLimit
	case own > 0 && c.listener.connected >= own && (last == nil || last.listener != c.listener):
		what = listenerLimit
	default:
		l.pending.Remove(c.waiting)
		c.waiting, c.stage = nil, connectedStage
		l.connected++
		c.listener.connected++
	}
	l.mu.Unlock()
	if what != noLimit {
		c.broker.limited.meet(what, remote(c.socket))
		why := limitNames[what] + " are connected"
		c.turnAway(id, broker.CodeQuota, why)
		c.refuse(broker.CodeQuota, why)
		return false
	}
	return true
}

// connection is the MQTT client that is connected with that id, nil for none.
func (b *Broker) connection(id string) *client {
	b.mu.Lock()
	s := b.sessions[id]
	b.mu.Unlock()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, _ := s.line.(*client)
	return c
}

// unheard counts a connection that ends before its CONNECT has come, if it had its time.
func (c *client) unheard(err error) {
	if errors.Is(err, errSilent) {
		c.broker.limited.meet(connectTimeLimit, remote(c.socket))
		return
	}
	if why := foreign(c.reader.Rest()); why != nil {
		c.failHandshake(why)
	}
}

// remove forgets a connection that has ended.
func (l *clients) remove(c *client) {
	l.mu.Lock()
	delete(l.open, c)
	switch c.stage {
	case pendingStage:
		l.pending.Remove(c.waiting)
	case connectedStage:
		l.connected--
		c.listener.connected--
	}
	if from := addressOf(c.socket); l.addresses[from] > 1 {
		l.addresses[from]--
	} else {
		delete(l.addresses, from)
	}
	l.mu.Unlock()
	c.broker.stats.connections.Add(-1)
}

// stats is how many connections are pending.
func (l *clients) stats() (pending int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.Len()
}
