package aggregate

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
)

// retainedTime is how long after SUBACK the retained messages for a new subscription may
// take: nothing tells that the last one has come.
const retainedTime = 5 * time.Second

// filters is what the local clients have subscribed to: each filter is subscribed to
// elsewhere once, with the highest QoS that any of them wants.
//
// The broker elsewhere sends the retained messages that match with every SUBSCRIBE. So a
// filter is asked for again whenever a client has come to it, and what comes with the
// retain flag is for those clients alone, the newcomers. Those that come while others are
// still newcomers wait for their turn: one SUBSCRIBE serves all of them.
type filters struct {
	some atomic.Bool // a filter is to be asked for

	mu  sync.Mutex
	all map[string]*filter
	due map[string]*filter // to be asked for, or given up
}

type filter struct {
	name    string
	wanted  bool
	qos     byte // the highest that is wanted
	active  bool // subscribed to elsewhere
	asking  bool
	granted byte
	waiting []arrival // for the next SUBSCRIBE
	asked   []arrival // for the answer to the present one
	fresh   []string  // newcomers: their client ids
	until   time.Time // zero while SUBACK is to come
}

// arrival is a client that has come to a filter.
type arrival struct {
	client string
	qos    byte
	answer func(code broker.Code, granted byte) // nil: nobody waits for it
}

func (f *filters) init() {
	f.all, f.due = make(map[string]*filter), make(map[string]*filter)
}

func (f *filters) mark(x *filter) {
	f.due[x.name] = x
	f.some.Store(true)
}

// Subscribe notes that a local client has subscribed to a filter; client is empty when it
// had before the restart. answer is called once it is known whether the broker elsewhere
// allows it, with no lock of the local broker's held.
func (b *Broker) Subscribe(name, client string, qos byte, answer func(code broker.Code, granted byte)) {
	if strings.HasPrefix(name, "$share/") {
		if answer != nil {
			answer(codeSharedNotSupported, 0)
		}
		return
	}
	f := &b.filters
	f.mu.Lock()
	x := f.all[name]
	if x == nil {
		x = &filter{name: name}
		f.all[name] = x
	}
	known := x.wanted && x.active && x.qos >= qos
	x.wanted, x.qos = true, max(x.qos, qos)
	granted := min(x.granted, qos)
	a := arrival{client: client, qos: qos, answer: answer}
	if known {
		a.answer = nil // only the retained messages are waited for
	}
	x.waiting = append(x.waiting, a)
	f.mark(x)
	f.mu.Unlock()
	if known && answer != nil {
		answer(broker.CodeSuccess, granted)
	}
}

const codeSharedNotSupported broker.Code = 0x9E

// Unsubscribe notes that no local client is subscribed to a filter any more. It may be called
// with locks of the local broker's held.
func (b *Broker) Unsubscribe(name string) {
	f := &b.filters
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.all[name]
	if x == nil {
		return
	}
	x.wanted, x.qos = false, 0
	f.mark(x)
}

// forget notes that the broker elsewhere may not know our subscriptions: all are to be
// asked for again, which nobody waits for.
func (f *filters) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.all {
		x.waiting = append(x.asked, x.waiting...)
		x.asking, x.active, x.asked = false, false, nil
		f.mark(x)
	}
}

// grow ends the time of newcomers.
func (f *filters) grow(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.all {
		if !x.until.IsZero() && now.After(x.until) {
			x.fresh, x.until = nil, time.Time{}
			if len(x.waiting) > 0 {
				f.mark(x)
			}
		}
	}
}

// newcomers are the clients that a retained message with that topic is for.
func (f *filters) newcomers(topic string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := []string{}
	for _, x := range f.all {
		if len(x.fresh) > 0 && matches(x.name, topic) {
			to = append(to, x.fresh...)
		}
	}
	return to
}

// askFilters asks for what is due, by the first link.
func (b *Broker) askFilters() {
	l := b.links[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return
	}
	now, gone := b.filters.take()
	for _, q := range now {
		if q.op == broker.Unsubscribe {
			l.ask(&broker.Request{Op: q.op, Topic: q.name}, func(broker.Event) {})
		} else {
			l.ask(&broker.Request{Op: q.op, Topic: q.name, QoS: q.qos}, func(ev broker.Event) { b.filters.answered(q.name, ev) })
		}
	}
	for _, a := range gone {
		a.tell(broker.Event{Code: broker.CodeUnspecified})
	}
}

// question is what is asked for a filter.
type question struct {
	op   broker.Op
	name string
	qos  byte
}

// take returns what is to be asked for now, and those whose filter nobody wants any more.
func (f *filters) take() (now []question, gone []arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.some.Store(false)
	for name, x := range f.due {
		switch {
		case x.asking:
			continue // it stays due until there is an answer
		case !x.wanted:
			gone = append(gone, x.waiting...)
			delete(f.all, name)
			now = append(now, question{op: broker.Unsubscribe, name: name})
		case len(x.fresh) > 0 && x.active && !x.pressing():
			// It is due again when the time of the present newcomers is over.
		default:
			x.asking, x.asked, x.waiting = true, x.waiting, nil
			for _, a := range x.asked {
				if a.client != "" {
					x.fresh = append(x.fresh, a.client)
				}
			}
			now = append(now, question{op: broker.Subscribe, name: name, qos: x.qos})
		}
		delete(f.due, name)
	}
	return now, gone
}

// pressing reports whether somebody waits for an answer.
func (x *filter) pressing() bool {
	return slices.ContainsFunc(x.waiting, func(a arrival) bool { return a.answer != nil })
}

// answered takes the broker's answer to SUBSCRIBE.
func (f *filters) answered(name string, ev broker.Event) {
	f.mu.Lock()
	x := f.all[name]
	if x == nil {
		f.mu.Unlock()
		return
	}
	asked := x.asked
	x.asking, x.asked = false, nil
	if ev.Code.Failed() {
		x.active, x.fresh = false, nil
	} else {
		x.active, x.granted = true, ev.QoS
		x.until = time.Now().Add(retainedTime)
	}
	if f.due[name] != nil {
		f.some.Store(true)
	}
	f.mu.Unlock()
	for _, a := range asked {
		a.tell(ev)
	}
}

// tell tells a client that waits for it what the broker elsewhere has answered.
func (a *arrival) tell(ev broker.Event) {
	if a.answer != nil {
		a.answer(ev.Code, min(ev.QoS, a.qos))
	}
}

// matches reports whether a topic matches a filter [MQTT-4.7].
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		f, filterRest, moreFilter := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, topicRest, moreTopic := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !moreFilter && !moreTopic:
			return true
		case !moreTopic:
			return filterRest == "#" // a/# matches a
		case !moreFilter:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}
