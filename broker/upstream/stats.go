package upstream

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
)

// Stats is a snapshot of what the upstream side has done since it was made, and does now.
type Stats struct {
	Up bool // the broker could be reached when it was last tried
	// Clients by what they are: connected to the broker, wanting to be (a Connect is not
	// answered yet, or the connection was lost), and gone but not finished with.
	Connected, Connecting, Reconnecting, Leaving int
	// Pending counts requests that wait for the broker's answer, Unacked messages that
	// wait for the client's.
	Pending, Unacked int

	Connects, Reconnects uint64 // CONNECTs that the broker has accepted
	ConnectionsLost      uint64 // connections that ended without our doing
	SessionsLost         uint64 // reconnects that did not find the session again
	TakenOver            uint64 // clients that went on elsewhere
	Published            uint64 // messages sent to the broker, each once
	Answered             uint64 // QoS 1 and 2 messages that the broker has taken
	Failed               map[broker.Code]uint64
	// Refused counts connections to the broker that could not be made, by reason: those of
	// package remote, and not_authorized (the broker refuses what was presented),
	// no_credentials, no_certificate and bad_client_id (there was nothing to present).
	Refused          map[string]uint64
	Uncertain        uint64 // QoS 2 messages of which nobody knows whether the broker passed them on
	LostQoS0         uint64 // QoS 0 messages that a lost connection took with it
	Delivered        uint64 // messages passed to the gateway
	Repeated         uint64 // messages that came again and were not passed on again
	Malformed        uint64 // messages with a topic that is none, refused
	Wills, WillsLost uint64 // to publish, and not published in time
	// Spooled counts messages taken into the store for the broker, Drained those that the
	// broker has taken from there, SpoolExpired those that were older than max_message_age.
	// SpooledNow and SpooledOctets are what is in the store, Oldest is when the oldest of it
	// was taken, or a bit before; the zero Time if there is nothing.
	Spooled, Drained, SpoolExpired uint64
	SpooledNow, SpooledOctets      int
	Oldest                         time.Time
	// DeadLetters counts messages refused for good, DeadLettersNow those that are kept.
	DeadLetters    uint64
	DeadLettersNow int
	// Kept counts messages of the broker that were put into the store, KeptExpired those that
	// expired there, KeptNow is how many wait for their clients.
	Kept, KeptExpired uint64
	KeptNow           int
	Damaged           uint64 // records that could not be understood
	LastError         string // the latest trouble with the broker
	LastErrorAt       time.Time
}

// counts is what is counted while running.
type counts struct {
	connects, reconnects, lines, sessionsLost, takenOver, published, answered, uncertain, lost,
	delivered, repeated, malformed, wills, willsLost, innocent,
	spooled, drained, expiredUp, expiredDown, deadLetters, kept, damaged atomic.Uint64
	spooledNow, octetsNow atomic.Int64
	failed                [256]atomic.Uint64
	robbed                atomic.Int64 // sessions with a robbery under way

	mu      sync.Mutex
	refused map[string]uint64
	trouble error
	at      time.Time
}

func (c *counts) fail(code broker.Code) { c.failed[code].Add(1) }

// remember keeps the latest trouble.
func (c *counts) remember(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	c.trouble, c.at = err, time.Now()
	c.mu.Unlock()
}

// Stats takes a snapshot. It visits every client: once every few seconds is fine.
func (b *Broker) Stats() Stats {
	c := &b.counts
	st := Stats{
		Up:       b.gate.open(),
		Connects: c.connects.Load(), Reconnects: c.reconnects.Load(), ConnectionsLost: c.lines.Load(),
		SessionsLost: c.sessionsLost.Load(), TakenOver: c.takenOver.Load(),
		Published: c.published.Load(), Answered: c.answered.Load(), Uncertain: c.uncertain.Load(), LostQoS0: c.lost.Load(),
		Delivered: c.delivered.Load(), Repeated: c.repeated.Load(), Malformed: c.malformed.Load(),
		Wills: c.wills.Load(), WillsLost: c.willsLost.Load(),
		Failed: make(map[broker.Code]uint64),
	}
	st.Spooled, st.Drained, st.SpoolExpired = c.spooled.Load(), c.drained.Load(), c.expiredUp.Load()
	st.SpooledNow, st.SpooledOctets = int(c.spooledNow.Load()), int(c.octetsNow.Load())
	st.DeadLetters, st.DeadLettersNow = c.deadLetters.Load(), b.deadLetters.count()
	st.Kept, st.KeptExpired, st.Damaged = c.kept.Load(), c.expiredDown.Load(), c.damaged.Load()
	st.Oldest, st.Refused = b.oldest(), c.refusals()
	for code := range c.failed {
		if n := c.failed[code].Load(); n > 0 {
			st.Failed[broker.Code(code)] = n
		}
	}
	c.mu.Lock()
	if c.trouble != nil {
		st.LastError, st.LastErrorAt = c.trouble.Error(), c.at
	}
	c.mu.Unlock()
	for _, s := range b.all(nil) {
		s.mu.Lock()
		s.addTo(&st)
		s.mu.Unlock()
	}
	return st
}

func (s *session) addTo(st *Stats) {
	switch {
	case s.stage == joining:
		st.Connecting++
	case s.stage == leaving:
		st.Leaving++
	case s.stage == joined && s.line == nil:
		st.Reconnecting++
	case s.stage == joined:
		st.Connected++
	}
	st.Pending += len(s.requests.queue)
	if s.deliveries != nil {
		st.Unacked += len(s.deliveries.open) + len(s.deliveries.old)
		st.KeptNow += len(s.deliveries.kept)
	}
}

// bucket is a token bucket.
type bucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = b.burst
	} else if d := now.Sub(b.at).Seconds(); d > 0 {
		b.tokens = min(b.burst, b.tokens+d*b.rate)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// notices limits lines in the log that one client each may cause: one every 10 seconds
// for each text and code, which says how many were left out.
type notices struct {
	mu    sync.Mutex
	kinds map[notice]*limited
}

type notice struct {
	text string
	code broker.Code
}

type limited struct {
	bucket  bucket
	omitted int
}

func (b *Broker) notice(code broker.Code, text string, args ...any) {
	n := &b.notices
	n.mu.Lock()
	if n.kinds == nil {
		n.kinds = make(map[notice]*limited)
	}
	k := n.kinds[notice{text, code}]
	if k == nil {
		k = &limited{bucket: bucket{rate: 0.1, burst: 1}}
		n.kinds[notice{text, code}] = k
	}
	allowed, omitted := k.bucket.take(time.Now()), k.omitted
	if allowed {
		k.omitted = 0
	} else {
		k.omitted++
	}
	n.mu.Unlock()
	if !allowed {
		return
	}
	if omitted > 0 {
		args = append(args, slog.Int("omitted", omitted))
	}
	b.log.Warn(text, args...)
}
