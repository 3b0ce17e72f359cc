package session

import (
	"math"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// The numbers of RFC 6298, section 2, by hand.
func TestMeasured(t *testing.T) {
	var l line
	for i, c := range []struct{ rtt, srtt, rttvar time.Duration }{
		{800 * time.Millisecond, 800 * time.Millisecond, 400 * time.Millisecond},
		{1600 * time.Millisecond, 900 * time.Millisecond, 500 * time.Millisecond},
		{100 * time.Millisecond, 800 * time.Millisecond, 575 * time.Millisecond},
	} {
		l.backoff = 3
		l.measured(instant(c.rtt))
		if l.srtt != uint32(c.srtt.Microseconds()) || l.rttvar != uint32(c.rttvar.Microseconds()) || l.backoff != 0 {
			t.Errorf("after round trip %d: %+v, want mean %v, deviation %v and no back-off", i+1, l, c.srtt, c.rttvar)
		}
	}
}

// Whatever is measured, T_retry stays within its bounds, and no number overflows.
func TestTRetryStaysWithinItsBounds(t *testing.T) {
	o := DefaultOptions()
	for _, rate := range []int{1, 100, 1200, 11520, math.MaxInt} {
		for _, rtt := range []time.Duration{-time.Second, 0, 1, time.Millisecond, time.Second, time.Minute, 300 * time.Hour} {
			s := New("a", &o, 0)
			s.SetPath(Path{Rate: rate})
			for range 100 {
				s.line.measured(instant(rtt))
				if s.line.srtt == 0 {
					t.Errorf("a round trip of %v counts as none", rtt)
				}
			}
			for range 300 {
				s.unanswered()
				least, most := o.tRetryBounds()
				if d := s.line.tRetry(&o, mqttsn.MaxPacket); d < least || d > most {
					t.Fatalf("rate %d, round trip %v, %d times doubled: %v", rate, rtt, s.line.backoff, d)
				}
			}
		}
	}
	s := New("a", &o, 0)
	if s.SetPath(Path{Rate: -1}); s.line.rate != 0 {
		t.Errorf("a rate of -1 means %d", s.line.rate)
	}
	for range 100 {
		s.line.measured(instant(300 * time.Hour))
	}
	o.TRetry, o.TRetryMin, o.TRetryMax = time.Hour, time.Millisecond, time.Hour
	s.line.rate, s.line.backoff = 1, maxBackoff
	if d := s.line.tRetry(&o, mqttsn.MaxPacket); d != time.Hour {
		t.Errorf("at most: %v", d)
	}
}

// The timers of a busy machine are late. A little of that the line does not notice: the
// messages after it leave by so much earlier. After more than a little, and after a rest,
// the time is gone.
func TestLateTimers(t *testing.T) {
	o := DefaultOptions()
	b := &bench{o: o, now: time.Now()}
	b.s = New("dev", &o, 0)
	b.s.SetPath(Path{Rate: 1000})
	b.connect(t, b.s)
	start := b.now
	m := &broker.Message{Topic: "ab", Payload: []byte("12345678901234567890123456789")} // 36 octets and 4: 40 ms
	next := func() time.Duration { return b.s.Deadline().Sub(start) }
	say := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: the next message may leave at %v, want %v", what, got, want)
		}
	}
	deliver := func(at time.Duration) {
		b.now = start.Add(at)
		b.s.Broker(b.now, broker.Event{Kind: broker.Delivered, Message: m}, &b.fx)
	}
	for range 4 {
		deliver(0)
	}
	say("at first", next(), 40*time.Millisecond)
	expire := func(at time.Duration) { b.s.Expire(start.Add(at), &b.fx) }
	expire(48 * time.Millisecond)
	say("8 ms late", next(), 80*time.Millisecond)
	expire(80 * time.Millisecond)
	say("in time", next(), 120*time.Millisecond)
	expire(140 * time.Millisecond)
	say("20 ms late", next(), 180*time.Millisecond)
	expire(182 * time.Millisecond)
	if b.fx.Delivered != 4 {
		t.Fatalf("%d messages were sent, want 4", b.fx.Delivered)
	}
	deliver(185 * time.Millisecond)
	say("after a rest", next(), 225*time.Millisecond)
	b.fx.Reset()
}

// Pace and round trips cost no allocation either.
func TestPacedPathsDoNotAllocate(t *testing.T) {
	for name, step := range pacedSteps(t) {
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// pacedSteps are the hot paths towards a radio. Each leaves the session as it was.
func pacedSteps(tb testing.TB) map[string]func() {
	b := newBench(tb, false)
	b.s.SetPath(Path{MTU: 80, Rate: 1200})
	m := &broker.Message{Topic: "plant/7/line/3/setpoint", Payload: []byte("21.5 degrees celsius"), QoS: 2}
	ack, rec, comp := &mqttsn.Puback{TopicID: subscribeID(b)}, &mqttsn.Pubrec{}, &mqttsn.Pubcomp{}
	pause := func() {
		b.now = b.s.Deadline()
		b.s.Expire(b.now, &b.fx)
	}
	return map[string]func(){
		"down0": func() {
			b.deliver(m, 0, 0)
			b.deliver(m, 0, 0)
			pause()
			pause()
			if b.fx.Delivered != 2 || b.s.hand.phase != idle {
				tb.Fatal(b.fx.Delivered, b.s.hand.phase)
			}
			b.packet(&mqttsn.Pingreq{})
			b.fx.Reset()
		},
		"down1": func() {
			b.deliver(m, 1, 7)
			ack.MsgID = b.sent()
			b.packet(ack)
			b.fx.Reset()
		},
		"down1again": func() {
			b.deliver(m, 1, 7)
			pause()
			ack.MsgID = b.sent()
			b.packet(ack)
			b.fx.Reset()
		},
		"down2": func() {
			b.deliver(m, 2, 7)
			rec.MsgID = b.sent()
			b.packet(rec)
			comp.MsgID = rec.MsgID
			b.packet(comp)
			b.fx.Reset()
		},
	}
}

func BenchmarkPaced(b *testing.B) {
	for _, name := range []string{"down0", "down1", "down1again", "down2"} {
		step := pacedSteps(b)[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
