package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// mirror applies the records that a session emits, and knows what they should be.
type mirror struct {
	store *store.Memory
}

func newMirror() *mirror { return &mirror{store.NewMemory()} }

// step applies the records of a step and checks that they say all about the session that
// shall survive, and nothing else.
func (m *mirror) step(s *Session, fx *Effects, now time.Time) error {
	n := len(fx.Records)
	for i := range fx.Requests {
		m.store.Apply(fx.Requests[i].With...)
		n += len(fx.Requests[i].With)
	}
	m.store.Apply(fx.Records...)
	if !s.o.Durable {
		if n > 0 {
			return fmt.Errorf("%d changes to records without a store", n)
		}
		return nil
	}
	return m.check(s, now)
}

func (m *mirror) check(s *Session, now time.Time) error {
	before := len(m.store.Records())
	var l *Session
	err := Load(m.store, s.o, now, func(s *Session) error {
		if l != nil {
			return fmt.Errorf("two sessions")
		}
		l = s
		return nil
	})
	if err != nil {
		return err
	}
	if n := len(m.store.Records()); n != before {
		return fmt.Errorf("%d records belong to nobody", before-n)
	}
	if !s.Stored() {
		if l != nil {
			return fmt.Errorf("a session of which nothing should be kept has %d records", before)
		}
		return nil
	}
	if l == nil {
		return fmt.Errorf("the session is not there")
	}
	if got, want := outlineOf(l, s), outlineOf(s, s); got != want {
		return fmt.Errorf("after a crash\n%swould be\n%s", want, got)
	}
	if got, want := l.Deadline(), s.Deadline(); s.dueAt != 0 && (s.state == Disconnected || s.state == Lost) {
		if d := got.Sub(want); d < -2*time.Millisecond || d > 2*time.Millisecond {
			return fmt.Errorf("it expires at %v, after a crash at %v", want, got)
		}
	}
	return nil
}

// outlineOf lists what of s survives, by its own fields and not by its records; as far as live
// is in a state in which it is written.
func outlineOf(s, live *Session) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	transient := slices.Contains([]State{AwaitingWillTopic, AwaitingWillMsg, Connecting}, live.state)
	if !transient {
		state := s.state
		if state == Awake {
			state = Asleep
		}
		line("%v clean=%v stored=%v regacked=%v mute=%v duration=%d sleep=%d last=%d persisted=%v", state, s.clean, s.stored,
			s.regacked, s.mute, s.duration, s.sleepTime, s.topics.last, s.kept.persisted)
		if w := s.will; w != nil {
			line("will %q %q %d %v", w.Topic, w.Payload, w.QoS, w.Retain)
		}
		if state == Active || state == Asleep {
			line("silence %v", s.silence)
		}
	}
	for _, t := range s.topics.list {
		if transient {
			t.is &^= confirmed | refused
		}
		line("topic %d %q %04b", t.id, t.name, t.is)
	}
	subs := slices.Clone(s.subs)
	slices.SortFunc(subs, func(a, b subscription) int {
		return strings.Compare(a.filter+a.form.String(), b.filter+b.form.String())
	})
	for _, sub := range subs {
		line("subscription %q %v %d %v", sub.filter, sub.form, sub.id, sub.qos)
	}
	var open []string
	for _, x := range s.up {
		waits := x.stage == received
		if y := live.exchangeByID(x.msgID); y != nil && y.stage == waiting {
			continue // the broker decides whether there is a record
		}
		if x.qos == mqttsn.QoS2 && waits {
			open = append(open, fmt.Sprintf("exchange %d %d %x", x.msgID, x.topicID, x.sum))
		}
	}
	slices.Sort(open)
	line("%s", strings.Join(open, "\n"))
	var hands []string
	if h := &s.hand; h.taken() && h.qos == 2 && h.msgID != 0 {
		if h.phase == releasing || !h.owned {
			hands = append(hands, fmt.Sprintf("release %d", h.msgID))
		} else {
			hands = append(hands, fmt.Sprintf("owed %d #%d", h.msgID, h.token))
		}
	}
	for _, r := range s.kept.owed {
		hands = append(hands, fmt.Sprintf("owed %d #%d", r.msgID, r.token))
	}
	slices.Sort(hands)
	line("%s", strings.Join(hands, "\n"))
	return b.String()
}
