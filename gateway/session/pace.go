package session

import "time"

// A radio or a serial line (Path.Rate) is slow, shared and unsteady. Two things are
// otherwise there than elsewhere:
//
// How long an answer is waited for follows the round trips that were measured, as RFC
// 6298 has it for TCP. A packet that was sent twice measures nothing, for nobody knows
// which copy was answered (Karn's rule); instead T_retry stays doubled until a packet has
// been answered at the first go, or it would never catch up with a line that has become
// slower.
//
// A QoS 0 message, which nobody acknowledges, keeps the next packet of the queue back
// until the line has had time for it. All else is paced by its answers. What the client
// asked for is answered at once.

const (
	// granularity is G of RFC 6298: by so much at least T_retry exceeds the mean round
	// trip, however steady that is.
	granularity = 100 * time.Millisecond

	// framing is how many octets a packet costs on the line besides its own: those of
	// SLIP with CRC-16.
	framing = 4

	// slack is by how much a timer may be late and leave no gap on the line: the message
	// after it follows so much earlier. Without it a line of 115,200 baud with messages
	// of 60 octets stands still for a tenth of the time.
	slack = 10 * time.Millisecond

	// maxBackoff bounds how often T_retry is doubled; TRetryMax does so earlier.
	maxBackoff = 16
)

// line is what a session knows of the radio or serial line to its client.
type line struct {
	// at is when the last packet of a delivery was sent or, after a QoS 0 message, when
	// the line will have carried it; 0 if the line is at rest.
	at      instant
	rate    int32  // octets per second; 0: the way is another, and nothing else here is used
	srtt    uint32 // mean round trip in µs; 0: none was measured
	rttvar  uint32 // its mean deviation in µs
	backoff uint8  // how often T_retry has run out since a round trip was measured
}

// busy reports whether the line still carries a QoS 0 message.
func (l *line) busy(t instant) bool { return t < l.at }

// carries is how long the line takes for a packet of n octets.
func (l *line) carries(n int) time.Duration {
	return time.Duration(n+framing) * time.Second / time.Duration(l.rate)
}

// measured takes the round trip from at to t [RFC 6298, section 2].
func (l *line) measured(t instant) {
	r := int64(min(max(time.Duration(t-l.at), time.Microsecond), time.Hour) / time.Microsecond)
	srtt, rttvar := int64(l.srtt), int64(l.rttvar)
	if srtt == 0 {
		srtt, rttvar = r, r/2
	} else {
		rttvar += (max(srtt-r, r-srtt) - rttvar) / 4
		srtt = max(1, srtt+(r-srtt)/8)
	}
	l.srtt, l.rttvar, l.backoff = uint32(srtt), uint32(rttvar), 0
}

// forget forgets all round trips: T_retry is what it was before the first.
func (l *line) forget() { l.srtt, l.rttvar, l.backoff = 0, 0, 0 }

// tRetry is how long the answer to a packet of n octets is waited for.
func (l *line) tRetry(o *Options, n int) time.Duration {
	d := o.TRetry
	if l.srtt > 0 {
		d = time.Duration(l.srtt)*time.Microsecond + max(granularity, 4*time.Duration(l.rttvar)*time.Microsecond) + l.carries(n)
	}
	least, most := o.tRetryBounds()
	return min(min(max(d, least), most)<<l.backoff, most)
}

// setRate takes the rate of a way. Of another way nothing is known.
func (s *Session) setRate(octets int) {
	rate := int32(min(max(octets, 0), 1<<30))
	if rate != s.line.rate {
		s.forgetWay()
		s.line.rate, s.line.at = rate, 0
		if s.hand.phase == pacing && s.retryAt != 0 {
			s.retryAt = 1 // now: the old line does not matter any more
		}
	}
}

// forgetWay forgets what was measured on the way to the client, and measures nothing on
// two.
func (s *Session) forgetWay() {
	s.line.forget()
	s.hand.once = false
}

// arm starts the timer for the answer to the packet just sent; once says that no copy of
// it was sent before.
func (s *Session) arm(t instant, once bool, fx *Effects) {
	s.retryAt = t.after(s.o.TRetry)
	if s.line.rate > 0 {
		s.armLine(t, once, fx)
	}
}

// armLine is arm where the time is not constant.
func (s *Session) armLine(t instant, once bool, fx *Effects) {
	s.hand.once, s.line.at = once, t
	s.retryAt = t.after(s.line.tRetry(s.o, fx.last()))
}

// answered takes the answer to the packet that is waited for in that phase: if it was sent
// once, the round trip is known. One of a sleeper is not, for it may have kept it.
func (s *Session) answered(t instant, p phase) {
	if s.hand.once && s.hand.phase == p && s.listening() {
		s.hand.once = false
		s.line.measured(t)
	}
}

// unanswered notes that T_retry has run out before the packet that is waited for was
// answered.
func (s *Session) unanswered() {
	if s.line.rate > 0 && s.hand.phase != pausing {
		s.line.backoff = min(s.line.backoff+1, maxBackoff)
	}
}

// pace gives the line time for the QoS 0 message just sent: the hand is closed so long.
func (s *Session) pace(t instant, fx *Effects) {
	l := &s.line
	if l.at == 0 || t > l.at.after(slack) {
		l.at = t // else the timer was a little late
	}
	l.at = l.at.after(l.carries(fx.last()))
	if l.busy(t) {
		s.yield()
	}
}

// yield closes the hand until the line is free.
func (s *Session) yield() { s.hand.phase, s.retryAt = pacing, s.line.at }
