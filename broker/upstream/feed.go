package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"mqttsn-gateway/gateway/store"
)

// feeder does what has to wait for the disk, for all sessions: it reads spooled messages
// when it is their turn, at the limited rate if they are from an outage, and has sessions
// go on that waited for something to become durable.
type feeder struct {
	bell chan struct{}

	mu       sync.Mutex
	hungry   []*session // have room for messages that are in the store
	rationed []*session // those of them that the rate keeps back until the next tick
	anxious  []*session // wait for something to be durable

	rate bucket // only the feeder's goroutine looks at it
}

// feedBatch is how many messages are read for a session before it is another's turn.
const feedBatch = 16

// drainBatch is the same for messages of an outage. Whoever has only a few of them, and goes
// on publishing, waits for one round of all clients.
const drainBatch = 1

func (f *feeder) init(o *Options) {
	f.bell = make(chan struct{}, 1)
	rate := float64(o.DrainRate)
	// A tick may be late by one, and nothing of the rate is lost.
	f.rate = bucket{rate: rate, burst: max(1, 2*rate*tickTime.Seconds())}
}

func (f *feeder) ring() {
	select {
	case f.bell <- struct{}{}:
	default:
	}
}

// await has s called when more is durable. s.mu is held.
func (f *feeder) await(s *session) {
	if s.awaiting {
		return
	}
	s.awaiting = true
	f.mu.Lock()
	f.anxious = append(f.anxious, s)
	f.mu.Unlock()
}

// hunger asks for spooled messages if there is room for them. s.mu is held.
func (s *session) hunger() {
	if s.spool == nil || s.hungry || !s.wantsUp() && !s.wantsDown() {
		return
	}
	s.hungry = true
	s.broker.feeder.queue(s)
	s.broker.feeder.ring()
}

// queue puts a hungry session behind the others.
func (f *feeder) queue(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hungry = append(f.hungry, s)
}

// ration puts a hungry session with those that wait for the next tick. After an outage these
// may be all clients: to look at each of them whenever the broker has taken a message of
// one would cost more than the messages do.
func (f *feeder) ration(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rationed = append(f.rationed, s)
}

// serve lets those that the rate has kept back have their turn, before others.
func (f *feeder) serve() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rationed = append(f.rationed, f.hungry...)
	f.hungry, f.rationed = f.rationed, f.hungry
	clear(f.rationed)
	f.rationed = f.rationed[:0]
}

// take moves a list of sessions to another one.
func (f *feeder) take(from *[]*session, to []*session) []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(to)
	to = append(to[:0], *from...)
	clear(*from)
	*from = (*from)[:0]
	return to
}

func (s *session) wantsUp() bool {
	if s.line == nil || s.line.closing || !s.pausedUntil.IsZero() || s.requests.spooled >= s.window() {
		return false
	}
	sp := s.spool
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.waiting() > 0 && (!s.handing || sp.queue[sp.head].started()) && s.requests.roomFor(sp.queue[sp.head].number(), 0)
}

// window is how many spooled messages may be on their way to the broker. When it did not
// take one it is asked with that one alone: others would overtake it.
func (s *session) window() int {
	if s.refusals > 0 {
		return 1
	}
	return spoolWindow
}

// feed is the feeder's goroutine.
func (b *Broker) feed(ctx context.Context) {
	f := &b.feeder
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	var list []*session
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.bell:
		case <-ticker.C:
			f.serve()
		}
		list = f.take(&f.anxious, list)
		told := false
		for _, s := range list {
			s.mu.Lock()
			s.awaiting = false
			told = s.nowDurable() || told
			s.mu.Unlock()
		}
		for progress := true; progress && ctx.Err() == nil; {
			progress = false
			list = f.take(&f.hungry, list)
			for _, s := range list {
				did, tells := s.load(time.Now())
				progress, told = progress || did, told || tells
			}
			b.settle(told)
			told = false
		}
		b.settle(told)
	}
}

// load reads what s has room for. It reports whether that was anything.
func (s *session) load(now time.Time) (did, told bool) {
	s.mu.Lock()
	var up []entry
	kept := false
	if s.wantsUp() {
		up, kept = s.next(now)
	}
	down := s.nextDown()
	l := s.line
	s.mu.Unlock()
	for _, e := range up {
		if !s.loadUp(l, e, now) {
			break
		}
		did = true
	}
	for _, n := range down {
		did = s.loadDown(n, now) || did
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		s.pump()
	}
	wantsDown := s.wantsDown()
	switch s.hungry = s.wantsUp() || wantsDown; {
	case s.hungry && kept && !wantsDown:
		s.broker.feeder.ration(s)
	case s.hungry:
		s.broker.feeder.queue(s)
	}
	told, s.told = s.told, false
	return did, told
}

// next are the entries to be read next, and whether the rate keeps back more. s.mu is held.
func (s *session) next(now time.Time) (up []entry, kept bool) {
	sp, f := s.spool, &s.broker.feeder
	sp.mu.Lock()
	defer sp.mu.Unlock()
	most := min(feedBatch, s.window()-s.requests.spooled, sp.waiting())
	for _, e := range sp.queue[sp.head : sp.head+most] {
		if s.handing && !e.started() {
			break
		}
		if e.number() <= sp.drainTo && !e.started() && s.broker.options.DrainRate > 0 {
			if len(up) >= drainBatch {
				return up, false
			}
			if !f.rate.take(now) {
				return up, true
			}
		}
		up = append(up, e)
	}
	return up, false
}

// loadUp reads a message to the broker and puts it on its way; false if it is not to be
// any more.
func (s *session) loadUp(l *line, e entry, now time.Time) bool {
	sp, b := s.spool, s.broker
	value, err := b.store.Read(store.Key{Space: store.UpstreamRequest, Client: sp.client, Number: e.number()}, nil)
	var m spooled
	if err == nil {
		m, err = readSpooled(value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != l || l == nil || s.stage == over {
		return false
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrValue) {
		b.notice(0, "a spooled message cannot be read; it is tried again", "client", s.id, "error", err)
		s.pausedUntil = now.Add(b.options.ReconnectMax)
		return false
	}
	if err == nil && !s.requests.roomFor(e.number(), len(value)) {
		return false
	}
	sp.mu.Lock()
	ours := sp.take(e)
	mark := sp.mark
	if ours && err == nil && !m.at.IsZero() {
		sp.oldest = m.at
	}
	sp.mu.Unlock()
	if !ours {
		return false
	}
	gone := &request{number: e.number(), size: len(value)}
	if err != nil {
		// What cannot be understood is left in the store, and not guessed at.
		b.counts.damaged.Add(1)
		b.log.Error("a spooled message is damaged: it is not sent", "client", s.id, "number", e.number(), "error", err)
		return true
	}
	if age := b.options.MaxMessageAge; age > 0 && !e.started() && now.Sub(m.at) > age {
		b.counts.expiredUp.Add(1)
		s.discard(gone)
		return true
	}
	if q := &s.requests; q.unsure > 0 {
		q.unsure--
	}
	r := s.spooledRequest(e.number(), &m, len(value), mark)
	r.again = e.started() && r.qos > 0
	s.requests.add(r)
	return true
}
