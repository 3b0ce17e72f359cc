package gateway_test

import (
	"fmt"
	"strings"

	"mqttsn-gateway/broker"
)

// ledger is what the world knows of messages, other than by the gateway.
type ledger struct {
	order    int                 // of what is sent
	postings map[string]*posting // by payload
	retained map[string]*retaining
	deaths   map[string]*death // by the payload of the will
	// Of the messages that a group shares: how often its members have got each, together,
	// and since when there are members.
	shared      map[string]int
	sharedSince int

	acknowledged, received, again, wills int
}

// posting is a message that was sent.
type posting struct {
	payload, topic string
	qos            byte
	from, sequence int
	sent           int // its place in the order
	acked          bool
}

// retaining are the values of a topic that has a retained message.
type retaining struct{ sent, acked int }

// death is the end of a device that had a will.
type death struct {
	certain bool // the gateway knows its session, also after a crash
	seen    int
}

func newLedger() ledger {
	return ledger{postings: make(map[string]*posting), retained: make(map[string]*retaining), deaths: make(map[string]*death), shared: make(map[string]int)}
}

// account is what somebody who subscribes is owed, and has got.
type account struct {
	name    string
	filters map[string]subscribed
	owed    map[string]bool
	got     map[string]int
	last    map[string]int // by publisher and topic: the latest message
	twice   bool           // with QoS 2 too: it was connected elsewhere at times
	journal journal        // of devices
}

type subscribed struct {
	qos   byte
	since int // the order of what was sent before it held
}

func newAccount(name string) *account {
	return &account{name: name, filters: make(map[string]subscribed), owed: make(map[string]bool), got: make(map[string]int), last: make(map[string]int)}
}

// wipe is for a session that is over.
func (a *account) wipe() {
	clear(a.filters)
	clear(a.owed)
}

// covers reports whether a filter stands for a topic; those of this world are simple.
func covers(filter, topic string) bool {
	prefix, wild := strings.CutSuffix(filter, "#")
	return filter == topic || wild && strings.HasPrefix(topic, prefix)
}

// post notes that a message is about to be sent.
func (l *ledger) post(from, sequence int, topic string, qos byte) *posting {
	l.order++
	p := &posting{payload: fmt.Sprintf("%d.%d.%d", from, sequence, qos), topic: topic, qos: qos, from: from, sequence: sequence, sent: l.order}
	l.postings[p.payload] = p
	return p
}

// acked notes that the sender was told that the message is safe.
func (w *everything) acked(p *posting) {
	if p.acked {
		return
	}
	p.acked = true
	w.acknowledged++
	for _, a := range w.accounts() {
		for f, s := range a.filters {
			if covers(f, p.topic) && s.qos > 0 && p.sent > s.since {
				a.owed[p.payload] = true
			}
		}
	}
}

func (w *everything) accounts() (all []*account) {
	for _, g := range w.gadgets {
		all = append(all, g.account)
	}
	return append(all, &w.watcher.account)
}

// receives notes that somebody has got a message, and judges it.
func (w *everything) receives(a *account, payload string, qos byte) {
	if payload == "" {
		return // a retained message is deleted
	}
	if strings.HasPrefix(payload, "will") {
		w.bequeathed(payload)
		return
	}
	p := w.postings[payload]
	if p == nil {
		if !strings.HasPrefix(payload, "retained") {
			w.wrong(a, "%s got %q, which nobody has sent", a.name, payload)
		}
		return
	}
	w.received++
	if a.got[payload]++; a.got[payload] > 1 {
		w.again++
		if qos != 1 && !a.twice {
			w.wrong(a, "%s got %s (QoS %d) %d times", a.name, payload, qos, a.got[payload])
		}
		return
	}
	if p.topic == "s0" && a != &w.watcher.account {
		if w.shared[payload]++; w.shared[payload] > 1 && qos == 2 {
			w.wrong(a, "the group has got %s (QoS %d) %d times, now %s", payload, qos, w.shared[payload], a.name)
		}
		return
	}
	if p.qos == 0 {
		return
	}
	from := fmt.Sprint(p.from, p.topic)
	if p.sequence < a.last[from] {
		w.wrong(a, "%s got %s after message %d of the same publisher", a.name, payload, a.last[from])
	}
	a.last[from] = p.sequence
}

func (w *everything) bequeathed(payload string) {
	w.wills++
	d := w.deaths[payload]
	if d == nil {
		w.Errorf("the will %q of somebody who lives was published", payload)
		return
	}
	if d.seen++; d.seen > 1 {
		w.Errorf("the will %q was published %d times", payload, d.seen)
	}
}

// missing is what somebody is owed and has not got.
func (w *everything) missing() (all []string) {
	for _, a := range w.accounts() {
		for payload := range a.owed {
			if a.got[payload] == 0 {
				all = append(all, a.name+" misses "+payload+" "+w.postings[payload].topic)
			} else {
				delete(a.owed, payload)
			}
		}
	}
	for payload, p := range w.postings {
		if p.topic == "s0" && p.acked && p.sent > w.sharedSince && w.sharedSince > 0 && w.shared[payload] == 0 {
			all = append(all, "the group misses "+payload)
		}
	}
	for payload, d := range w.deaths {
		if d.certain && d.seen == 0 {
			all = append(all, payload)
		}
	}
	return all
}

func (w *everything) complain() {
	w.Logf("gateway: %+v\nbroker: %+v", w.gateway.Stats(), w.broker.Stats())
	for _, what := range w.missing() {
		w.Error(what)
	}
	for _, g := range w.gadgets {
		if g.busy() || len(g.owed) > 0 {
			w.Logf("%s:\n%s", g.name, g.journal.String())
		}
		if g.busy() {
			w.Errorf("device %d is not done: state %d, %+v", g.number, g.state, g.asks)
		}
	}
}

// judge looks at what is retained.
func (w *everything) judge() {
	if w.Failed() {
		return
	}
	late := &reader{values: make(map[string]string)}
	c := w.broker.Open("late", late)
	for i, r := range []broker.Request{{Op: broker.Connect, Token: 1, CleanSession: true}, {Op: broker.Subscribe, Token: 2, Topic: "#"}, {Op: broker.Disconnect}} {
		if err := c.Do(&r); err != nil {
			w.Fatal(i, err)
		}
	}
	for topic, r := range w.retained {
		var n int
		_, _ = fmt.Sscanf(late.values[topic], "retained %d", &n)
		if n < r.acked || n > r.sent {
			w.Errorf("retained in %s is %q, acknowledged was %d, sent %d", topic, late.values[topic], r.acked, r.sent)
		}
	}
}

// reader takes retained messages.
type reader struct{ values map[string]string }

func (r *reader) Receive(ev broker.Event) {
	if ev.Kind == broker.Delivered {
		r.values[ev.Message.Topic] = string(ev.Message.Payload)
	}
}
