package dtls

import "sync/atomic"

// Stats is what a link has done and has at the moment. Counts are since Listen.
type Stats struct {
	// Connections and Handshaking are those of now; the latter have shown a valid cookie.
	Connections, Handshaking int
	// Handshakes have come to a good end, Failed have not.
	Handshakes uint64
	// Resumed are those of Handshakes that took up a session.
	Resumed uint64
	Failed  Failures
	// CookiesSent are the HelloVerifyRequests sent; CookiesBad came in hellos but are not
	// ours, or too old, or another address's.
	CookiesSent, CookiesBad uint64
	// Moved are the changes of address that connections with a connection id have made.
	Moved uint64
	// Closed are the connections that have ended.
	Closed Closings
	// Drops are the datagrams and messages that were dropped.
	Drops Drops
}

// Failures are handshakes that failed, by reason.
type Failures struct {
	// WrongKey: the client's key for its identity is not ours.
	WrongKey uint64
	// UnknownIdentity: there is no key for the identity.
	UnknownIdentity uint64
	// Lookup: key_server did not say which key the identity has.
	Lookup uint64
	// NoCipherSuite: the client offers no cipher suite, curve or extension that we take, or
	// wants a connection id of more than 26 octets.
	NoCipherSuite uint64
	// Version: the client speaks no DTLS 1.2. It was answered without keeping state.
	Version uint64
	// Certificate: the client's certificate is missing, has expired, is not from
	// client_ca_file, or has no name in it while client_certificates is required.
	Certificate uint64
	// Refused: the client has ended it, perhaps since it does not trust our certificate.
	Refused uint64
	// Timeout: it took longer than handshake_timeout, or than 3 seconds while others
	// waited for its place.
	Timeout uint64
	// Replaced: the client has begun again.
	Replaced uint64
	// Full: max_connections are there, of many clients, none of them silent for long.
	Full uint64
	// IdentityRate: the identity has had max_connects_per_identity in this second.
	IdentityRate uint64
	// Other: anything else, such as a message out of place, or the end of the gateway.
	Other uint64
}

// Closings are connections that have ended, by reason.
type Closings struct {
	// Peer: by the client.
	Peer uint64
	// Idle: silent for idle_timeout.
	Idle uint64
	// Replaced: by a new one from the same address.
	Replaced uint64
	// Evicted: had to make room for a new one, at max_connections.
	Evicted uint64
	// Removed: psk_file was read anew and does not have the identity any more.
	Removed uint64
	// Crowded: one more of its identity than max_connections_per_identity.
	Crowded uint64
}

// Drops are dropped datagrams and messages, by reason.
type Drops struct {
	// Malformed were neither a DTLS record nor, from an unknown address, a ClientHello.
	Malformed uint64
	// Fragmented were ClientHellos in pieces, which are not put together.
	Fragmented uint64
	// UnknownPeer came from an address, UnknownID had a connection id, that no connection has.
	UnknownPeer, UnknownID uint64
	// HelloRate were hellos beyond max_hellos_per_prefix.
	HelloRate uint64
	// HandshakeLimit and PrefixLimit were hellos with a valid cookie beyond
	// max_handshakes and max_handshakes_per_prefix.
	HandshakeLimit, PrefixLimit uint64
	// FailureRate were hellos with a valid cookie beyond max_failures_per_prefix.
	FailureRate uint64
	// Duplicate were hellos that have led to a connection already.
	Duplicate uint64
	// Unencrypted came for a connection that takes encrypted records only.
	Unencrypted uint64
	// Backlog came faster than a connection or handshake takes them.
	Backlog uint64
	// Queue were messages received for which queue had no room.
	Queue uint64
	// Oversize were messages to be sent or received, but longer than the link carries.
	Oversize uint64
	// Unsendable were to be sent to a connection that does not exist any more.
	Unsendable uint64
	// Busy were to be sent when the link below was full.
	Busy uint64
	// Unproven were to be sent to a client that has moved to another network, from which
	// too little has come yet; up to 32 KiB wait, and are counted if the connection ends.
	Unproven uint64
}

// counters are what Stats is made from.
type counters struct {
	handshakes, resumed     atomic.Uint64
	cookiesSent, cookiesBad atomic.Uint64
	moved                   atomic.Uint64

	failed struct {
		wrongKey, unknownIdentity, lookup, noCipherSuite, version, certificate, refused, timeout, replaced, full, identityRate, other atomic.Uint64
	}
	closed struct {
		peer, idle, replaced, evicted, removed, crowded atomic.Uint64
	}
	drop struct {
		malformed, fragmented, unknownPeer, unknownID, helloRate, handshakeLimit, prefixLimit, failureRate,
		duplicate, unencrypted, backlog, queue, oversize, unsendable, busy, unproven atomic.Uint64
	}
}

// Stats may be called from any goroutine, also after Close.
func (l *Link) Stats() Stats {
	c := &l.counters
	l.mu.Lock()
	s := Stats{Connections: len(l.byNumber), Handshaking: l.half}
	l.mu.Unlock()
	s.Handshakes, s.Moved = c.handshakes.Load(), c.moved.Load()
	s.Resumed = c.resumed.Load()
	s.CookiesSent, s.CookiesBad = c.cookiesSent.Load(), c.cookiesBad.Load()
	f := &c.failed
	s.Failed = Failures{
		WrongKey: f.wrongKey.Load(), UnknownIdentity: f.unknownIdentity.Load(), Lookup: f.lookup.Load(), NoCipherSuite: f.noCipherSuite.Load(),
		Version: f.version.Load(), Certificate: f.certificate.Load(), Refused: f.refused.Load(), Timeout: f.timeout.Load(),
		Replaced: f.replaced.Load(), Full: f.full.Load(), IdentityRate: f.identityRate.Load(), Other: f.other.Load(),
	}
	s.Closed = Closings{
		Peer: c.closed.peer.Load(), Idle: c.closed.idle.Load(),
		Replaced: c.closed.replaced.Load(), Evicted: c.closed.evicted.Load(), Removed: c.closed.removed.Load(),
		Crowded: c.closed.crowded.Load(),
	}
	d := &c.drop
	s.Drops = Drops{
		Malformed: d.malformed.Load(), Fragmented: d.fragmented.Load(),
		UnknownPeer: d.unknownPeer.Load(), UnknownID: d.unknownID.Load(), HelloRate: d.helloRate.Load(),
		HandshakeLimit: d.handshakeLimit.Load(), PrefixLimit: d.prefixLimit.Load(), FailureRate: d.failureRate.Load(), Duplicate: d.duplicate.Load(),
		Unencrypted: d.unencrypted.Load(), Backlog: d.backlog.Load(), Queue: d.queue.Load(), Oversize: d.oversize.Load(),
		Unsendable: d.unsendable.Load(), Busy: d.busy.Load(), Unproven: d.unproven.Load(),
	}
	return s
}
