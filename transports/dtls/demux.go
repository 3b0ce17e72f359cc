package dtls

import (
	"crypto/rand"
	"net/netip"
	"sync/atomic"
	"time"

	"mqttsn-gateway/transports"
)

// demux says which connection a datagram is for, and answers those that are for none. One
// goroutine does that, and never waits: not for a handshake, nor for the gateway.
type demux struct {
	link    *Link
	cookies *cookies
	rate    *rate[netip.Prefix]
	answer  [maxAnswer]byte
}

func newDemux(l *Link) *demux {
	return &demux{link: l, cookies: newCookies(time.Now()), rate: newRate[netip.Prefix](l.options.MaxHellosPerPrefix)}
}

// receive takes a batch of the link below.
func (d *demux) receive(batch []transports.Datagram) {
	for i := range batch {
		from, ok := pathOf(&batch[i])
		if !ok {
			d.link.counters.drop.malformed.Add(1)
			continue
		}
		d.datagram(batch[i].Data, from)
	}
}

// datagram takes what has come from that address. By connection id it goes to the
// connection that has it, from wherever it comes; by address to the one that has proven
// that address, or is about to.
func (d *demux) datagram(b []byte, from path) {
	l := d.link
	drop := &l.counters.drop
	r, _, ok := readRecord(b)
	if !ok {
		drop.malformed.Add(1)
		return
	}
	if r.kind == typeCID {
		l.mu.Lock()
		c := l.byID[r.cid]
		l.mu.Unlock()
		if c == nil {
			drop.unknownID.Add(1)
			return
		}
		c.push(b, from)
		return
	}
	switch h, fault := readHello(r); fault {
	case helloGood:
		d.hello(h, b, from)
		return
	case helloMalformed:
		drop.malformed.Add(1)
		return
	case helloFragmented:
		drop.fragmented.Add(1)
		l.lines.warn(&drop.fragmented, "DTLS handshake ignored", "link", l.name, "peer", from.String(), "reason",
			"a ClientHello in pieces is not put together: let the client offer fewer cipher suites and extensions, or send larger datagrams")
		return
	}
	l.mu.Lock()
	beginning, known := l.handshakes[from.peer], l.byAddr[from.peer]
	l.mu.Unlock()
	if beginning == nil && known == nil {
		drop.unknownPeer.Add(1)
		return
	}
	if beginning != nil {
		beginning.push(b, from)
	}
	// While a client begins anew, nobody can tell for which an encrypted record is: each
	// takes its own.
	if known != nil && (beginning == nil || r.epoch > 0) {
		known.push(b, from)
	}
}

// hello answers a client's first hello without remembering anything of it, and begins a
// connection with a second one that proves, by the cookie of that answer, that the client
// is where it says (RFC 6347, 4.2.1). A hello with a bad cookie gets no answer: the cookie
// was made for another address or too long ago, and the library cannot take a third hello.
func (d *demux) hello(h hello, b []byte, from path) {
	l := d.link
	now := time.Now()
	tooLong := l.options.ConnectionID && h.connectionID() > maxClientID
	switch {
	case h.message == 1 && d.cookies.know(now, from.peer, h) && !tooLong: // it was not in the first
		l.begin(h, b, from)
		return
	case h.message != 0:
		l.counters.cookiesBad.Add(1)
		return
	case !d.rate.take(now, prefixOf(from.peer.Addr())):
		l.counters.drop.helloRate.Add(1)
		l.lines.warn(&l.counters.drop.helloRate, "DTLS handshake ignored", "link", l.name, "peer", from.String(),
			"reason", "its network is beyond max_hellos_per_prefix")
		return
	}
	var answer []byte
	switch {
	case h.version == versionDTLS12 && !tooLong:
		answer = appendVerifyRequest(d.answer[:0], h, d.cookies.bake(now, from.peer, h))
		l.counters.cookiesSent.Add(1)
	case h.version == versionDTLS12:
		answer = appendAlert(d.answer[:0], h.seq, alertHandshakeFailure)
		l.counters.failed.noCipherSuite.Add(1)
		l.lines.warn(&l.counters.failed.noCipherSuite, "DTLS handshake failed", "link", l.name, "peer", from.String(),
			"reason", "the client wants a connection id of more than 26 octets")
	default:
		answer = appendAlert(d.answer[:0], h.seq, alertProtocolVersion)
		l.counters.failed.version.Add(1)
		l.lines.warn(&l.counters.failed.version, "DTLS handshake failed",
			"link", l.name, "peer", from.String(), "reason", "the client speaks no DTLS 1.2")
	}
	if len(answer) <= len(b) { // always, as hellos are: see maxAnswer
		_ = l.transmit(answer, from) // a lost answer is asked for again
	}
}

// begin makes a connection for a hello with a valid cookie, if there is room.
func (l *Link) begin(h hello, b []byte, from path) {
	drop := &l.counters.drop
	l.mu.Lock()
	if c := l.byAddr[from.peer]; c != nil && c.cookie == [cookieSize]byte(h.cookie()) {
		l.mu.Unlock()
		drop.duplicate.Add(1)
		return
	}
	before := l.handshakes[from.peer]
	if before != nil && before.cookie == [cookieSize]byte(h.cookie()) {
		l.mu.Unlock()
		before.push(b, from) // it has not heard us
		return
	}
	refused, why := l.admit(h, b, from, before)
	l.mu.Unlock()
	if refused != nil {
		refused.Add(1)
		l.lines.warn(refused, "DTLS handshake ignored", "link", l.name, "peer", from.String(), "reason", why)
	}
}

// admit begins the connection, in place of before if there is one, or says where its
// refusal is to be counted and why it is refused.
func (l *Link) admit(h hello, b []byte, from path, before *conn) (refused *atomic.Uint64, why string) {
	prefix := prefixOf(from.peer.Addr())
	switch {
	case l.isClosed:
		return nil, ""
	case !l.failures.left(time.Now(), prefix):
		return &l.counters.drop.failureRate, "its network is beyond max_failures_per_prefix"
	case l.perPrefix[prefix] >= l.options.MaxHandshakesPerPrefix && !l.yield(prefix):
		return &l.counters.drop.prefixLimit, "its network has max_handshakes_per_prefix under way"
	case l.half >= l.options.MaxHandshakes && !l.yield(netip.Prefix{}):
		return &l.counters.drop.handshakeLimit, "max_handshakes are under way"
	}
	c, err := l.newConn(h, b, from)
	if err != nil { // with these options it worked in Listen
		return &l.counters.failed.other, err.Error()
	}
	l.half++
	l.perPrefix[prefix]++
	l.handshakes[from.peer] = c
	l.all[c] = struct{}{}
	l.running.Add(1)
	go l.start(c)
	if before != nil {
		before.ended.Store(endedReplaced)
		before.cancel()
	}
	return nil, ""
}

// yieldAfter is how long a handshake may hold its place while others wait for one: few
// networks need that long for one, and stalled ones would keep all others out until their
// deadline.
const yieldAfter = 3 // seconds

// yield ends the oldest handshake from prefix, or from anywhere if that is zero, to make
// room for another; false if there is none old enough.
func (l *Link) yield(prefix netip.Prefix) bool {
	var oldest *conn
	for _, c := range l.handshakes {
		if (c.prefix == prefix || !prefix.IsValid()) && (oldest == nil || c.seen.Load() < oldest.seen.Load()) {
			oldest = c
		}
	}
	if oldest == nil || oldest.seen.Load() > l.clock()-yieldAfter {
		return false
	}
	l.remove(oldest)
	oldest.ended.Store(endedYielded)
	oldest.cancel()
	return true
}

func (l *Link) start(c *conn) {
	defer l.running.Done()
	c.run()
}

// offerID gives c's connection id to the library, which asks if the client takes one.
func (l *Link) offerID(c *conn) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.stage != gone {
		c.takes = true
		l.byID[c.id] = c
	}
	return c.id[:]
}

func newConnectionID() (id connectionID) {
	_, _ = rand.Read(id[:]) // it never fails: crypto/rand ends the program first
	return id
}

// move notes that c's client has a new address: a valid record, newer than all others, has
// come from there. An address that another connection has proven remains with it, since a
// client can write what it likes into its datagrams; c is found by its connection id.
func (l *Link) move(c *conn, to netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.stage != established {
		return
	}
	l.counters.moved.Add(1)
	if l.byAddr[c.at] == c {
		delete(l.byAddr, c.at)
	}
	c.at = noAddress
	if l.byAddr[to] == nil {
		c.at = to
		l.byAddr[to] = c
	}
}
