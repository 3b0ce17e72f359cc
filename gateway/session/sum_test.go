package session

import (
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"

	"pgregory.net/rapid"
)

// Whatever messages were in hand, and in whatever state, when the gateway was killed, and
// whatever broker and client say then, also what makes no sense: of each message that is
// received it is known what has become of it.
func TestSumAfterRestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := DefaultOptions()
		o.Durable, o.MaxQueuedMessages, o.TRetry = true, 3, time.Second
		st, now := store.NewMemory(), time.Unix(1e9, 0)
		state := stateRecord{
			mode: byte(rapid.IntRange(0, len(recordStates)-1).Draw(t, "state")), duration: 60, sleepTime: 60,
			flags: byte(rapid.IntRange(0, recordFlags).Draw(t, "flags")),
		}
		st.Apply(store.Put(store.SessionState, "dev", 0, state.append(nil)))
		for id := range rapid.IntRange(0, 4).Draw(t, "hands") {
			r := handRecord{token: someToken(t), releasing: rapid.Bool().Draw(t, "releasing")}
			st.Apply(store.Put(store.SessionHand, "dev", uint64(id+1), r.append(nil)))
		}
		var s *Session
		if err := Load(st, &o, now, func(l *Session) error { s = l; return nil }); err != nil {
			t.Fatal(err)
		}
		s.SetPath(Path{Rate: rapid.SampledFrom(modelRates).Draw(t, "rate")})
		sum := &summed{T: t, s: s, now: now}
		sum.step("resume", func() { s.Resume(sum.now, &sum.fx) })
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if sum.over {
				return
			}
			sum.act()
		}
	})
}

// summed is a session whose messages are counted.
type summed struct {
	*rapid.T
	s    *Session
	fx   Effects
	now  time.Time
	asks []broker.Token // Connect requests that were not answered
	ids  []uint16       // MsgIds that the client was sent
	over bool

	received, done int
}

func someToken(t *rapid.T) broker.Token { return broker.Token(rapid.IntRange(1, 5).Draw(t, "token")) }

func (w *summed) act() {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(w.T, "pause")) * time.Millisecond)
	switch n := rapid.IntRange(0, 9).Draw(w.T, "action"); n {
	case 0, 1, 2:
		ev := broker.Event{Kind: broker.Delivered, QoS: byte(rapid.IntRange(0, 2).Draw(w.T, "qos")), Message: &broker.Message{Topic: "ab", Payload: []byte("x")}}
		if ev.QoS > 0 {
			ev.Token = someToken(w.T)
		}
		w.received++
		w.step("delivered", func() { w.s.Broker(w.now, ev, &w.fx) })
	case 3, 4:
		if len(w.asks) == 0 {
			return
		}
		ev := broker.Event{Kind: broker.Answered, Token: w.asks[0], SessionPresent: rapid.Bool().Draw(w.T, "present")}
		w.asks = w.asks[1:]
		w.step("answered", func() { w.s.Broker(w.now, ev, &w.fx) })
	case 5:
		code := rapid.SampledFrom([]broker.Code{broker.CodeTakenOver, broker.CodeServerBusy}).Draw(w.T, "code")
		w.asks = nil
		w.step("closed", func() { w.s.Broker(w.now, broker.Event{Kind: broker.Closed, Code: code}, &w.fx) })
	case 6:
		if due := w.s.Deadline(); !due.IsZero() {
			w.now = due
		}
		w.step("expire", func() { w.s.Expire(w.now, &w.fx) })
	default:
		p := w.packet()
		w.step(p.Type().String(), func() { w.s.Packet(w.now, p, &w.fx) })
	}
}

func (w *summed) packet() mqttsn.Packet {
	id := uint16(rapid.IntRange(1, 4).Draw(w.T, "id")) // of the records
	if len(w.ids) > 0 && rapid.Bool().Draw(w.T, "sent") {
		id = w.ids[len(w.ids)-1]
	}
	code := mqttsn.ReturnCode(rapid.SampledFrom([]byte{0, 0, 0, 1, 2, 3}).Draw(w.T, "code"))
	return rapid.SampledFrom([]mqttsn.Packet{
		&mqttsn.Puback{MsgID: id, ReturnCode: code}, &mqttsn.Pubrec{MsgID: id}, &mqttsn.Pubcomp{MsgID: id},
		&mqttsn.Regack{MsgID: id, TopicID: 1, ReturnCode: code}, &mqttsn.Pingreq{ClientID: []byte("dev")},
		&mqttsn.Disconnect{}, &mqttsn.Disconnect{HasDuration: true, Duration: 60},
		&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 60, ClientID: []byte("dev"), CleanSession: rapid.IntRange(0, 3).Draw(w.T, "clean") == 0},
	}).Draw(w.T, "packet")
}

func (w *summed) step(what string, do func()) {
	w.fx.Reset()
	do()
	for _, r := range w.fx.Requests {
		if r.Op == broker.Connect {
			w.asks = append(w.asks, r.Token)
		}
	}
	for b := range w.fx.Packets() {
		switch p, _ := mqttsn.Decode(b); p := p.(type) {
		case *mqttsn.Publish:
			w.ids = append(w.ids, p.MsgID)
		case *mqttsn.Register:
			w.ids = append(w.ids, p.MsgID)
		}
	}
	w.done += w.fx.Delivered + w.fx.Returned
	for why, n := range w.fx.Drops {
		if Reason(why).OfMessage() {
			w.done += int(n)
		}
	}
	queued, _ := w.s.Queued()
	if w.over = w.fx.Gone; w.done+queued != w.received {
		w.Fatalf("%s: %v: %d received, %d done with, %d queued", what, w.s.State(), w.received, w.done, queued)
	}
}
