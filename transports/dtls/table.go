package dtls

import (
	"net/netip"
	"time"

	"mqttsn-gateway/transports"
)

// evictAfter is how long a connection must have been silent to make room for another.
const evictAfter = 10 * time.Minute

// establish makes a connection of a handshake that has succeeded, unless there is no room
// for it, or its client has to have a name and has none.
func (l *Link) establish(c *conn) error {
	psk, der := c.assoc.identity()
	name := string(psk)
	if der != nil {
		var err error
		name, err = certificateName(der)
		if err != nil && l.options.ClientCertificates == certificatesRequired {
			return err
		}
	}
	c.seen.Store(l.clock())
	var evicted, replaced, crowded *conn

	l.mu.Lock()
	if c.stage == gone { // it has had to yield
		l.mu.Unlock()
		return errFull
	}
	if c.removed(l.trust.now.Load()) { // since the handshake began
		l.mu.Unlock()
		return errRemoved
	}
	if name != "" && !l.begun.take(time.Now(), name) {
		l.mu.Unlock()
		return errOften
	}
	if len(l.byNumber) >= l.options.MaxConnections {
		evicted = l.toReplace(name)
		if evicted == nil {
			l.mu.Unlock()
			return errFull
		}
		l.remove(evicted)
	}
	l.endHandshake(c)
	c.stage, c.name = established, name
	l.number++
	c.addr = transports.NumberAddr(l.number)
	l.byNumber[l.number] = c
	if before := l.byAddr[c.at]; before != nil {
		// Its client has begun anew, or a NAT has given its address to another. With a
		// connection id it may still be alive, and is found by that.
		before.at = noAddress
		if !before.takes || before.name == name {
			replaced = before
			l.remove(before)
		}
	}
	l.byAddr[c.at] = c
	crowded = l.enlist(c)
	l.counters.handshakes.Add(1)
	if c.resumption.resumed() {
		l.counters.resumed.Add(1)
	}
	l.mu.Unlock()

	c.mu.Lock()
	c.established, c.proofs = true, nil
	c.more.Broadcast()
	c.mu.Unlock()
	if evicted != nil {
		evicted.end(endedEvicted)
	}
	if replaced != nil {
		replaced.end(endedReplaced)
	}
	if crowded != nil {
		crowded.end(endedCrowded)
		l.lines.warn(&l.counters.closed.crowded, "DTLS connection closed", "link", l.name, "peer", c.origin.String(),
			"reason", "its identity has more than max_connections_per_identity: the longest silent had to go", "identity", printable([]byte(name)))
	}
	return nil
}

// enlist notes that c is one of its identity's connections. If there are too many, it takes
// out the one that has been silent longest and returns it.
func (l *Link) enlist(c *conn) (crowded *conn) {
	if c.name == "" {
		return nil
	}
	c.after = l.byName[c.name]
	if c.after != nil {
		c.after.before = c
	}
	l.byName[c.name] = c
	number := 1
	for other := c.after; other != nil; other = other.after {
		number++
		if crowded == nil || other.silentBefore(crowded) {
			crowded = other
		}
		if number > l.options.MaxConnectionsPerIdentity {
			break
		}
	}
	if number <= l.options.MaxConnectionsPerIdentity {
		return nil
	}
	l.remove(crowded)
	return crowded
}

// delist is the end of what enlist began.
func (l *Link) delist(c *conn) {
	switch {
	case c.before != nil:
		c.before.after = c.after
	case l.byName[c.name] != c:
		return
	case c.after == nil:
		delete(l.byName, c.name)
	default:
		l.byName[c.name] = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	}
	c.before, c.after = nil, nil
}

// manyConnections is how many connections one identity may have on a full link before it
// has to make room at once. A device that begins anew leaves one behind each time.
const manyConnections = 4

// owner is whose a connection is: an identity's, or without one a network's.
type owner struct {
	name   string
	prefix netip.Prefix
}

func (c *conn) owner() owner {
	if c.name != "" {
		return owner{name: c.name}
	}
	return owner{prefix: c.prefix}
}

// toReplace is the connection to close when there are too many, for one of that name: the
// longest silent of who has most, if those are many, so that one key or one network cannot
// keep all others out. Else it is the one that has been silent longest, if that is long,
// first among those of the same client, which has connected anew.
func (l *Link) toReplace(name string) *conn {
	count := map[owner]int{}
	var most owner
	for _, c := range l.byNumber {
		o := c.owner()
		if count[o]++; count[o] > count[most] {
			most = o
		}
	}
	if count[most] > manyConnections {
		return l.silentLongest(func(c *conn) bool { return c.owner() == most })
	}
	latest := l.clock() - int64(evictAfter/time.Second)
	if own := l.silentLongest(func(c *conn) bool {
		return name != "" && c.name == name && c.seen.Load() <= latest
	}); own != nil {
		return own
	}
	return l.silentLongest(func(c *conn) bool { return c.seen.Load() <= latest })
}

// silentLongest is the connection that has been silent longest of those that it may be, or
// nil.
func (l *Link) silentLongest(may func(*conn) bool) (longest *conn) {
	for _, c := range l.byNumber {
		if may(c) && (longest == nil || c.silentBefore(longest)) {
			longest = c
		}
	}
	return longest
}

// silentBefore says that c has been silent longer than d, or as long and is older.
func (c *conn) silentBefore(d *conn) bool {
	a, b := c.seen.Load(), d.seen.Load()
	return a < b || a == b && c.addr.Number() < d.addr.Number()
}

// endHandshake gives back the place that c's handshake has had.
func (l *Link) endHandshake(c *conn) {
	if c.stage != handshaking {
		return
	}
	l.half--
	if l.perPrefix[c.prefix]--; l.perPrefix[c.prefix] == 0 {
		delete(l.perPrefix, c.prefix)
	}
	if l.handshakes[c.origin.peer] == c {
		delete(l.handshakes, c.origin.peer)
	}
}

// remove takes c out of all tables by which it is found.
func (l *Link) remove(c *conn) {
	l.endHandshake(c)
	l.delist(c)
	c.stage = gone
	delete(l.byNumber, c.addr.Number())
	if l.byAddr[c.at] == c {
		delete(l.byAddr, c.at)
	}
	if l.byID[c.id] == c {
		delete(l.byID, c.id)
	}
}

// forget is the end of c's goroutine.
func (l *Link) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
	delete(l.all, c)
}

// closed counts a connection that has ended.
func (l *Link) closed(c *conn) {
	n := &l.counters.closed
	switch c.ended.Load() {
	case endedByPeer:
		n.peer.Add(1)
	case endedIdle:
		n.idle.Add(1)
	case endedReplaced:
		n.replaced.Add(1)
	case endedEvicted:
		n.evicted.Add(1)
	case endedRemoved:
		n.removed.Add(1)
	case endedCrowded:
		n.crowded.Add(1)
	}
}

// closeIdle closes the connections that have been silent too long.
func (l *Link) closeIdle() {
	var idle []*conn
	latest := l.clock() - int64(l.options.IdleTimeout/time.Second)
	l.mu.Lock()
	for _, c := range l.byNumber {
		if c.seen.Load() <= latest {
			idle = append(idle, c)
		}
	}
	l.mu.Unlock()
	for _, c := range idle {
		c.end(endedIdle)
	}
}

// removed says that c's client has proven an identity that psk_file does not have any more.
func (c *conn) removed(now *keyring) bool {
	identity, ok := c.proof.fromFile()
	return ok && !now.keys.has(identity)
}

// closeRemoved closes the connections whose identity is not there any more, and says how
// many they are. Handshakes under way end in establish.
func (l *Link) closeRemoved(now *keyring) int {
	var removed []*conn
	l.mu.Lock()
	for _, c := range l.byNumber {
		if c.removed(now) {
			removed = append(removed, c)
		}
	}
	l.mu.Unlock()
	for _, c := range removed {
		c.end(endedRemoved)
	}
	return len(removed)
}
