package upstream

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"mqttsn-gateway/broker"
)

// stage is where a session is in its life.
type stage byte

const (
	joining stage = iota + 1 // Connect is not answered yet
	joined                   // answered; the line may come and go
	leaving                  // the gateway has let go of it, what it left behind is being finished
	over
)

const (
	// leaveTime is how long a session that leaves may take to finish what is in flight
	// and to hear the broker close the connection.
	leaveTime = time.Second
	// maxStrikes is how many connections in a row the broker may end with a complaint
	// about what we send, before the client is told.
	maxStrikes = 3
	// wholeLap makes every packet identifier be used at least once, also by requests that
	// wait after they got theirs.
	wholeLap = 2 * maxID
)

// session is one client's MQTT session with the broker, from Connect to Disconnect,
// Abandon or Closed. It lives through any number of lines.
type session struct {
	broker *Broker
	id     string // the client id at the broker
	clean  bool   // nothing is to be kept when it ends
	fresh  bool   // nothing is to be found when it starts
	as     broker.Principal
	token  broker.Token // of the Connect

	element *list.Element // its place in the dialer's queue; guarded by the dialer

	mu         sync.Mutex
	stage      stage
	to         broker.Receiver // nil when leaving
	will       *broker.Message
	willUser   []broker.UserProperty
	deadline   time.Time // joining: for the answer; leaving: for the end
	requests   requests
	deliveries *deliveries // nil when leaving
	filters    map[string]byte
	accepted   bool // the broker has accepted this session once: the next CONNECT resumes it
	limits     limits
	successor  *session // waits for this one to be over; same client id

	line     *line // nil while there is none
	since    time.Time
	retryAt  time.Time // zero: not waiting for it
	failures int       // attempts and short-lived lines in a row
	strikes  int       // complaints of the broker in a row
	robbed   robbery
	cancel   context.CancelFunc
	soiled   bool // in the broker's list of those with something to write
	told     bool // the gateway was told something

	spool       *spool    // nil: nothing is spooled
	handing     bool      // leaving: another session goes on with what has not been begun
	pausedUntil time.Time // the broker does not take spooled messages now; zero: it does
	refusals    int       // of those in a row
	hungry      bool      // in the feeder's lists
	awaiting    bool
	welcome     bool // the broker has let it in
	elsewhere   bool // the client is connected elsewhere
}

// hello is what the next CONNECT of this session says; false if none is wanted.
func (s *session) hello(cancel context.CancelFunc) (hello, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == over || s.line != nil || s.cancel != nil {
		return hello{}, false
	}
	s.cancel = cancel
	o := &s.broker.options
	h := s.broker.hello(s.id)
	h.keepAlive, h.expiry = o.KeepAlive, o.SessionExpiry
	if s.clean {
		h.expiry = o.CleanSessionExpiry
	}
	h.cleanStart = s.fresh && !s.accepted
	return h, true
}

// client is the ClientID of the device.
func (s *session) client() string { return s.id[len(s.broker.options.ClientIDPrefix):] }

// up takes over a line that the broker has accepted. It reports false if nobody wants it
// any more.
func (s *session) up(l *line, ack *incoming) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = nil
	if s.stage == over {
		return false
	}
	counts := &s.broker.counts
	s.line, s.since, s.limits = l, l.born, ack.limits
	s.welcome = true
	s.broker.shunned.forgive(s.id)
	if !s.accepted {
		s.accepted = true
		counts.connects.Add(1)
		s.reached(ack.present)
		if e := ack.limits.expiry; !s.clean && e >= 0 && e < s.broker.options.SessionExpiry {
			s.broker.notice(0, "the broker keeps sessions for a shorter time than session_expiry", "asked", s.broker.options.SessionExpiry, "granted", e)
		}
	} else {
		l.again = true
		counts.reconnects.Add(1)
		s.resume(ack.present)
	}
	if s.spool != nil {
		s.resumeSpool(ack.present)
	}
	if !ack.present && s.deliveries != nil {
		s.forgetSession()
	}
	if s.stage == joining {
		s.join(ack.present)
	}
	if s.handing {
		s.limit()
	}
	s.pump()
	return s.line == l
}

// failed is told that an attempt to get a line has failed.
func (s *session) failed(e *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = nil
	if s.stage == over {
		return
	}
	s.failures++
	lasting := e.reached && !e.code.Transient()
	if lasting {
		o := &s.broker.options
		s.broker.shunned.note(s.id, e.code, o.ReconnectMin, o.ReconnectMax)
	}
	switch {
	case s.stage == joining && (e.reached || e.code == codeProtocolVersion):
		s.broker.notice(e.code, "the broker refuses a client", "client", s.id, "reason", e)
		s.refuse(e.code)
	case s.stage == joined && lasting:
		s.broker.notice(e.code, "the broker refuses a client that it had accepted before", "client", s.id, "reason", e)
		s.close(e.code)
	case s.stage == leaving && lasting:
		s.end()
	default:
		if e.reached {
			s.broker.notice(e.code, "the broker refuses clients for the moment", "client", s.id, "reason", e)
		}
		s.retry()
	}
}

// lost is told that a line has ended, and why.
func (s *session) lost(l *line, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = l.conn.Close()
	if s.line != l {
		return
	}
	s.detach()
	if s.stage == leaving && l.closing {
		s.end()
		return
	}
	s.broker.counts.lines.Add(1)
	s.broker.counts.remember(why)
	if time.Since(l.born) < shortLife {
		s.failures++
	} else {
		s.failures = 0
	}
	if s.robbed.by(l, why, s.broker) && (s.stage == joined || s.spool != nil) {
		s.broker.counts.takenOver.Add(1)
		s.elsewhere = true
		s.close(broker.CodeTakenOver)
		return
	}
	var d *disconnected
	if errors.As(why, &d) {
		if d.code == broker.CodeTakenOver {
			// The client is connected elsewhere: it is alive, so no will [SN reference, 3.13].
			s.broker.counts.takenOver.Add(1)
			s.elsewhere = true
			s.close(d.code)
			return
		}
		if d.complaint() {
			s.strikes++
		}
		if s.strikes >= maxStrikes {
			s.broker.notice(d.code, "the broker keeps ending a client's connection", "client", s.id, "reason", why)
			s.close(d.code)
			return
		}
	}
	s.retry()
}

// detach parts the session from its line.
func (s *session) detach() {
	s.broker.counts.lost.Add(uint64(s.line.drop()))
	s.unload(everything)
	s.line, s.since, s.pausedUntil = nil, time.Now(), time.Time{}
	s.requests.rewind()
	if s.deliveries != nil {
		s.deliveries.rewind()
	}
}

// retry plans the next attempt: full jitter, so that clients that lost their lines
// together do not come back together.
func (s *session) retry() {
	o := &s.broker.options
	bound := o.ReconnectMax
	if s.failures < 30 {
		bound = min(bound, o.ReconnectMin<<s.failures)
	}
	s.retryAt = time.Now().Add(rand.N(bound))
}

// tick does what time demands.
func (s *session) tick(now time.Time) (told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grace := s.broker.options.OutageGrace
	switch {
	case s.stage == joining && !now.Before(s.deadline):
		if !s.acceptOffline() {
			s.refuse(broker.CodeServerUnavailable)
		}
	case s.stage == leaving && !s.deadline.IsZero() && !now.Before(s.deadline):
		s.late()
	case s.stage == joined && s.line == nil && grace > 0 && now.Sub(s.since) >= grace:
		s.close(broker.CodeServerUnavailable)
	case s.line != nil:
		s.keepAlive(now)
		s.tickSpool(now)
	case !s.retryAt.IsZero() && !now.Before(s.retryAt):
		s.retryAt = time.Time{}
		s.broker.dialer.add(s, s.stage != joined)
	}
	told, s.told = s.told, false
	return told
}

// keepAlive sends PINGREQ on a silent line, and gives up one that does not answer it.
func (s *session) keepAlive(now time.Time) {
	l := s.line
	every := s.broker.options.KeepAlive
	if s.limits.keepAlive > 0 {
		every = min(every, s.limits.keepAlive)
	}
	switch {
	case !l.pinged.IsZero() && now.Sub(l.pinged) >= pongTimeout:
		_ = l.conn.Close() // the reader notices
	case l.pinged.IsZero() && !l.closing && now.Sub(l.wrote) >= every-tickTime:
		l.pinged = now
		l.took(appendPingreq(l.room()))
		s.soil()
	}
}

// tickSpool is what time demands of a session with a spool.
func (s *session) tickSpool(now time.Time) {
	if s.spool == nil {
		return
	}
	if !s.pausedUntil.IsZero() && !now.Before(s.pausedUntil) {
		s.pausedUntil = time.Time{}
		s.hunger()
	}
	s.tickDown(now)
}
