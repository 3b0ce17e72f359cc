package session

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// bench is a connected session without the scaffolding of the scenarios.
type bench struct {
	s   *Session
	fx  Effects
	now time.Time
	o   Options
}

func newBench(tb testing.TB, durable bool) *bench {
	b := &bench{o: DefaultOptions(), now: time.Now()}
	b.o.Durable = durable
	b.s = New("device-0001", &b.o, 1)
	b.connect(tb, b.s)
	b.packet(&mqttsn.Register{MsgID: 1, TopicName: []byte("plant/7/line/3/temperature")})
	b.packet(&mqttsn.Subscribe{MsgID: 2, QoS: 1, TopicName: []byte("plant/7/line/3/setpoint")})
	b.answer()
	return b
}

func (b *bench) connect(tb testing.TB, s *Session) {
	s.Packet(b.now, &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 60, ClientID: []byte(s.ID())}, &b.fx)
	s.Broker(b.now, broker.Event{Kind: broker.Answered, Token: b.fx.Requests[0].Token}, &b.fx)
	b.fx.Reset()
	if s.State() != Active {
		tb.Fatal(s.State())
	}
}

func (b *bench) packet(p mqttsn.Packet) {
	b.now = b.now.Add(time.Millisecond)
	b.s.Packet(b.now, p, &b.fx)
}

// answer grants the last request.
func (b *bench) answer() {
	r := &b.fx.Requests[len(b.fx.Requests)-1]
	b.s.Broker(b.now, broker.Event{Kind: broker.Answered, Token: r.Token, QoS: r.QoS}, &b.fx)
	b.fx.Reset()
}

func (b *bench) deliver(m *broker.Message, qos byte, token broker.Token) {
	b.now = b.now.Add(time.Millisecond)
	b.s.Broker(b.now, broker.Event{Kind: broker.Delivered, Token: token, QoS: qos, Message: m}, &b.fx)
}

// sent returns the MsgID of the PUBLISH that was just sent.
func (b *bench) sent() uint16 { return b.s.hand.msgID }

func publishID(b *bench) uint16   { return b.s.topics.byName("plant/7/line/3/temperature").id }
func subscribeID(b *bench) uint16 { return b.s.topics.byName("plant/7/line/3/setpoint").id }

// steps are the hot paths, with a store or without one. Each leaves the session as it was.
func steps(tb testing.TB, durable bool) map[string]func() {
	b := newBench(tb, durable)
	payload := []byte("21.5 degrees celsius")
	up := &mqttsn.Publish{TopicID: publishID(b), Data: payload}
	up1 := &mqttsn.Publish{QoS: 1, TopicID: publishID(b), Data: payload}
	up2 := &mqttsn.Publish{QoS: 2, TopicID: publishID(b), Data: payload}
	rel := &mqttsn.Pubrel{}
	short := &mqttsn.Publish{QoS: 0, TopicIDType: mqttsn.TopicShort, TopicID: 'a'<<8 | 'b', Data: payload}
	ack, rec, comp := &mqttsn.Puback{TopicID: subscribeID(b)}, &mqttsn.Pubrec{}, &mqttsn.Pubcomp{}
	ping := &mqttsn.Pingreq{}
	m := &broker.Message{Topic: "plant/7/line/3/setpoint", Payload: payload, QoS: 2}
	return map[string]func(){
		"up0":  func() { b.packet(up); b.fx.Reset() },
		"up0s": func() { b.packet(short); b.fx.Reset() },
		"up1": func() {
			up1.MsgID++
			b.packet(up1)
			b.answer()
		},
		"up2": func() {
			up2.MsgID++
			b.packet(up2)
			b.answer()
			rel.MsgID = up2.MsgID
			b.packet(rel)
			b.fx.Reset()
		},
		"down0": func() { b.deliver(m, 0, 0); b.fx.Reset() },
		"down1": func() {
			b.deliver(m, 1, 7)
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
		"down1queued": func() { // two at once: one waits
			b.deliver(m, 1, 7)
			b.deliver(m, 1, 8)
			ack.MsgID = b.sent()
			b.packet(ack)
			ack.MsgID = b.sent()
			b.packet(ack)
			b.fx.Reset()
		},
		"ping": func() { b.packet(ping); b.fx.Reset() },
		"deadline": func() {
			if b.s.Deadline().IsZero() {
				tb.Fatal("no deadline")
			}
		},
	}
}

func BenchmarkSession(b *testing.B) {
	for _, name := range []string{"up0", "up0s", "up1", "up2", "down0", "down1", "down2", "down1queued", "ping", "deadline"} {
		for _, durable := range []bool{false, true} {
			if durable {
				name += "_durable"
			}
			step := steps(b, durable)[strings.TrimSuffix(name, "_durable")]
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
			})
		}
	}
}

// A whole wake of a sleeping client: one QoS 1 message waits.
func BenchmarkWake(b *testing.B) {
	x := newBench(b, false)
	m := &broker.Message{Topic: "plant/7/line/3/setpoint", Payload: []byte("21.5"), QoS: 1}
	x.packet(&mqttsn.Disconnect{HasDuration: true, Duration: 300})
	ping, ack := &mqttsn.Pingreq{ClientID: []byte("device-0001")}, &mqttsn.Puback{TopicID: subscribeID(x)}
	x.fx.Reset()
	b.ReportAllocs()
	for b.Loop() {
		x.deliver(m, 1, 7)
		x.packet(ping)
		ack.MsgID = x.sent()
		x.packet(ack)
		x.fx.Reset()
	}
	if x.s.State() != Asleep {
		b.Fatal(x.s.State())
	}
}

// Connecting makes a session and a broker connection.
func BenchmarkConnect(b *testing.B) {
	x := newBench(b, false)
	b.ReportAllocs()
	for b.Loop() {
		s := New("device-0002", &x.o, 1)
		x.connect(b, s)
	}
}

// The hot paths allocate nothing.
func TestHotPathsDoNotAllocate(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for name, step := range steps(t, durable) {
			for range 100 {
				step() // let arenas grow
			}
			if n := testing.AllocsPerRun(1000, step); n > 0 {
				t.Errorf("%s, durable %v: %v allocations", name, durable, n)
			}
		}
	}
}

// An idle connected client is cheap: its whole session with one topic that it publishes
// to and one that it subscribed to, in octets of heap.
func TestMemoryPerSession(t *testing.T) {
	const n, limit = 2000, 700
	o := DefaultOptions()
	x := &bench{o: o, now: time.Now()}
	all := make([]*Session, n)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("device-%04d", i)
	}
	before := heap()
	for i := range all {
		all[i] = New(ids[i], &x.o, uint16(i))
		x.s = all[i]
		x.connect(t, all[i])
	}
	idle := float64(heap()-before) / n
	for i := range all {
		x.s = all[i]
		x.packet(&mqttsn.Register{MsgID: 1, TopicName: fmt.Appendf(nil, "plant/%04d/temperature", i)})
		x.packet(&mqttsn.Subscribe{MsgID: 2, QoS: 1, TopicName: fmt.Appendf(nil, "plant/%04d/setpoint", i)})
		x.answer()
		x.packet(&mqttsn.Publish{QoS: 1, TopicID: all[i].topics.last - 1, MsgID: 3, Data: []byte("21.5")})
		x.answer()
	}
	used := float64(heap()-before) / n
	runtime.KeepAlive(all)
	t.Logf("struct %d, just connected %.0f, with two topics, a subscription and a QoS 1 message behind it %.0f octets",
		unsafe.Sizeof(Session{}), idle, used)
	if used > limit {
		t.Errorf("%.0f octets, at most %d", used, limit)
	}
}
