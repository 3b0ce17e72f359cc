package aggregate

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// link is one client of the broker elsewhere.
type link struct {
	broker *Broker
	id     string
	some   atomic.Bool // something is in the inbox

	mu       sync.Mutex // held while conn is asked something; before the locks of both brokers
	conn     broker.Conn
	open     bool
	opening  bool
	fresh    bool // it has not been connected in this process
	failures int
	retryAt  time.Time
	token    broker.Token
	answers  map[broker.Token]func(broker.Event) // to come
	// passed are messages that were handed on, and could not be acknowledged because the
	// link was closed meanwhile: they come again. Those of QoS 2 can be, since they are kept
	// on this side, unless what the link had spooled is being sent just then: such a one
	// would be doubled by a crash before it comes again.
	passed map[broker.Token]bool

	inboxMu sync.Mutex
	inbox   []broker.Event
	spare   []broker.Event
}

func newLink(b *Broker, id string) *link {
	l := &link{broker: b, id: id, fresh: true, answers: make(map[broker.Token]func(broker.Event)), passed: make(map[broker.Token]bool)}
	l.conn = b.elsewhere.Open(id, l)
	return l
}

// Receive takes an event: broker.Receiver.
func (l *link) Receive(ev broker.Event) {
	l.inboxMu.Lock()
	defer l.inboxMu.Unlock()
	l.inbox = append(l.inbox, ev)
	l.some.Store(true)
}

// answer takes the answer to what was asked last out of the inbox, if it is there.
func (l *link) answer() (ev broker.Event, ok bool) {
	l.inboxMu.Lock()
	defer l.inboxMu.Unlock()
	for i := range l.inbox {
		if l.inbox[i].Kind == broker.Answered && l.inbox[i].Token == l.token {
			ev = l.inbox[i]
			l.inbox = append(l.inbox[:i], l.inbox[i+1:]...)
			l.some.Store(len(l.inbox) > 0)
			return ev, true
		}
	}
	return ev, false
}

func (l *link) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// connect connects the link if it is closed and it is time. Its session outlives
// everything.
func (l *link) connect(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open || l.opening || now.Before(l.retryAt) {
		return
	}
	l.opening = true
	l.ask(&broker.Request{Op: broker.Connect}, func(ev broker.Event) {
		l.opening = false
		if ev.Code.Failed() {
			l.lost(ev.Code)
			return
		}
		l.open, l.failures = true, 0
		if l == l.broker.links[0] && (l.fresh || !ev.SessionPresent) {
			// What was subscribed to before the restart may differ from what is wanted.
			l.broker.filters.forget()
		}
		l.fresh = false
	})
}

// ask asks for something that is answered by work. l.mu is held, also when then is called.
func (l *link) ask(r *broker.Request, then func(broker.Event)) {
	l.token++
	r.Token = l.token
	l.answers[r.Token] = then
	if err := l.conn.Do(r); err != nil {
		delete(l.answers, r.Token)
		then(broker.Event{Kind: broker.Answered, Token: r.Token, Code: broker.CodeServerBusy})
	}
}

// lost notes that the link is closed for good: it is connected anew after a while.
func (l *link) lost(code broker.Code) {
	l.open, l.opening = false, false
	clear(l.answers)
	bound := min(shortPause<<min(l.failures, 30), longPause)
	l.failures++
	l.retryAt = time.Now().Add(rand.N(bound) + bound/2)
	if code != broker.CodeTakenOver || l.failures == 1 {
		l.broker.log.Warn("the broker has closed a link that all clients share; it is connected again", "link", l.id, "code", code)
	}
	l.broker.filters.forget()
}

// publish passes a message on.
func (l *link) publish(r *broker.Request) (broker.Code, store.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token++
	r.Token = l.token
	if err := l.conn.Do(r); err != nil {
		return broker.CodeServerBusy, 0
	}
	if r.QoS == 0 {
		return broker.CodeSuccess, r.Mark
	}
	ev, ok := l.answer()
	if !ok { // it was not spooled: to be told later would be of no use
		return broker.CodeServerBusy, 0
	}
	return ev.Code, ev.Mark
}

// work works off the inbox.
func (l *link) work() {
	for l.some.Load() && l.broker.store.Level() < store.Full {
		l.inboxMu.Lock()
		events := l.inbox
		l.inbox, l.spare = l.spare[:0], nil
		l.some.Store(false)
		l.inboxMu.Unlock()
		for i := range events {
			l.mu.Lock()
			if events[i].Kind == broker.Delivered && events[i].QoS > 0 && slices.ContainsFunc(events[i:], isClosed) {
				l.mu.Unlock()
				continue // it cannot be acknowledged any more, and comes again
			}
			l.take(&events[i])
			l.mu.Unlock()
		}
		clear(events)
		l.spare = events[:0]
	}
}

func isClosed(ev broker.Event) bool { return ev.Kind == broker.Closed }

// take takes an event. l.mu is held.
func (l *link) take(ev *broker.Event) {
	switch ev.Kind {
	case broker.Answered:
		if then := l.answers[ev.Token]; then != nil {
			delete(l.answers, ev.Token)
			then(*ev)
		}
	case broker.Closed:
		l.lost(ev.Code)
	case broker.Delivered:
		l.deliver(ev)
	}
}

// deliver hands a message to the local clients, and acknowledges it together with what
// keeps it there.
func (l *link) deliver(ev *broker.Event) {
	if !l.open {
		return // the broker elsewhere has it, and delivers it again
	}
	if l.passed[ev.Token] && ev.QoS > 0 {
		if l.conn.Do(&broker.Request{Op: broker.Ack, Token: ev.Token}) == nil {
			delete(l.passed, ev.Token)
		}
		return
	}
	m := *ev.Message
	m.QoS, m.Retain = ev.QoS, ev.Retain
	var to []string
	if ev.Retain {
		to = l.broker.filters.newcomers(m.Topic)
	}
	l.broker.local.Inbound(&m, ev.Retain, to, func(ops []store.Op) store.Mark {
		r := broker.Request{Op: broker.Ack, Token: ev.Token, With: ops}
		if err := l.conn.Do(&r); err != nil {
			l.passed[ev.Token] = true
			return l.broker.store.Apply(ops...)
		}
		return r.Mark
	})
}
