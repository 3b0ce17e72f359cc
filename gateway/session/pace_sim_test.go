package session

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// network is a number of clients behind one line, each with its session, in virtual time.
// The line carries one frame after the other, in each direction; then a frame takes its
// time through the air, or is lost there.
type network struct {
	t     *testing.T
	rng   *rand.Rand
	o     Options
	start time.Time
	now   time.Duration
	todo  []todo // by time

	rate     int
	down, up time.Duration // from when on the line is free
	loss     int           // percent
	min, max time.Duration // through the air, each way
	radios   []*radio

	asked    int           // packets that want an answer, first copies
	again    int           // further copies
	spurious int           // of these, those sent while an answer was still to come
	lost     int           // frames
	behind   time.Duration // longest time that a frame waited for the line
	last     time.Duration // when a client got something new last
	waiting  int           // messages that were not delivered in the end
}

type todo struct {
	at time.Duration
	do func()
}

// radio is a client that answers everything, and says that it lives every now and then.
type radio struct {
	n     *network
	s     *Session
	fx    Effects
	due   time.Duration       // of the deadline that is in todo
	alive map[string]int      // copies and answers that are on their way, by what they are about
	sent  map[string]int      // copies sent
	got   map[string]struct{} // payloads
	want  []string            // QoS 1 and 2
}

// newNetwork connects twenty clients. Without a pace T_retry is 2 s.
func newNetwork(t *testing.T, seed uint64, paced bool) *network {
	n := &network{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), o: DefaultOptions(), rate: 1200,
		start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	if !paced {
		n.o.TRetry = 2 * time.Second
	}
	for i := range 20 {
		r := &radio{n: n, alive: map[string]int{}, sent: map[string]int{}, got: map[string]struct{}{}}
		r.s = New(fmt.Sprint("radio-", i), &n.o, uint16(1000*i))
		if paced {
			r.s.SetPath(Path{MTU: 250, Rate: n.rate})
		}
		n.radios = append(n.radios, r)
		r.step(func(now time.Time) {
			r.s.Packet(now, &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 120, ClientID: []byte(r.s.ID())}, &r.fx)
		})
		r.live()
	}
	return n
}

func (n *network) after(d time.Duration, do func()) {
	at := n.now + d
	i, _ := slices.BinarySearchFunc(n.todo, at+1, func(e todo, at time.Duration) int { return cmp.Compare(e.at, at) })
	n.todo = slices.Insert(n.todo, i, todo{at, do})
}

// run lets time pass.
func (n *network) run(d time.Duration) {
	end := n.now + d
	for len(n.todo) > 0 && n.todo[0].at <= end {
		e := n.todo[0]
		n.todo = n.todo[1:]
		n.now = e.at
		e.do()
	}
	n.now = end
}

// frame puts one on the line, and reports whether it will arrive.
func (n *network) frame(line *time.Duration, octets int, arrive func()) bool {
	n.behind = max(n.behind, *line-n.now)
	*line = max(*line, n.now) + time.Duration(octets+framing)*time.Second/time.Duration(n.rate)
	if n.rng.IntN(100) < n.loss {
		n.lost++
		return false
	}
	n.after(*line-n.now+n.min+time.Duration(n.rng.Int64N(int64(n.max-n.min)+1)), arrive)
	return true
}

// live says every 20 s that the client lives.
func (r *radio) live() {
	r.n.after(20*time.Second+time.Duration(r.n.rng.IntN(1000))*time.Millisecond, func() {
		r.answer("", &mqttsn.Pingreq{})
		r.live()
	})
}

// step steps the session, and sends what comes of it.
func (r *radio) step(do func(now time.Time)) {
	do(r.n.start.Add(r.n.now))
	for i := 0; i < len(r.fx.Requests); i++ {
		if q := &r.fx.Requests[i]; q.Op == broker.Connect {
			r.s.Broker(r.n.start.Add(r.n.now), broker.Event{Kind: broker.Answered, Token: q.Token}, &r.fx)
		}
	}
	for b := range r.fx.Packets() {
		r.send(slices.Clone(b))
	}
	r.fx.Reset()
	if d := r.s.Deadline(); !d.IsZero() {
		at := d.Sub(r.n.start)
		if r.due <= r.n.now || at < r.due {
			r.due = at
			r.n.after(at-r.n.now, func() { r.step(func(now time.Time) { r.s.Expire(now, &r.fx) }) })
		}
	}
}

// about names the exchange that a packet belongs to; "" if it wants no answer.
func about(p mqttsn.Packet) string {
	switch p := p.(type) {
	case *mqttsn.Register:
		return fmt.Sprint("register ", p.MsgID)
	case *mqttsn.Publish:
		if p.QoS > 0 {
			return fmt.Sprint("publish ", p.MsgID)
		}
	case *mqttsn.Pubrel:
		return fmt.Sprint("release ", p.MsgID)
	}
	return ""
}

// send brings a packet of the gateway on its way.
func (r *radio) send(b []byte) {
	p, err := mqttsn.Decode(b)
	if err != nil {
		r.n.t.Fatal(err)
	}
	what := about(p)
	if what != "" {
		r.sent[what]++
		switch {
		case r.sent[what] == 1:
			r.n.asked++
		case r.alive[what] > 0:
			r.n.spurious++
			fallthrough
		default:
			r.n.again++
		}
	}
	if r.n.frame(&r.n.down, len(b), func() { r.arrive(what, p) }) {
		r.alive[what]++
	}
}

// arrive is a packet at the client.
func (r *radio) arrive(what string, p mqttsn.Packet) {
	r.alive[what]--
	switch p := p.(type) {
	case *mqttsn.Register:
		r.answer(what, &mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID})
	case *mqttsn.Publish:
		if _, ok := r.got[string(p.Data)]; !ok {
			r.got[string(p.Data)], r.n.last = struct{}{}, r.n.now
		}
		switch p.QoS {
		case mqttsn.QoS1:
			r.answer(what, &mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID})
		case mqttsn.QoS2:
			r.answer(what, &mqttsn.Pubrec{MsgID: p.MsgID})
		}
	case *mqttsn.Pubrel:
		r.answer(what, &mqttsn.Pubcomp{MsgID: p.MsgID})
	}
}

// answer brings a packet of the client on its way.
func (r *radio) answer(what string, p mqttsn.Packet) {
	arrives := r.n.frame(&r.n.up, len(p.Append(nil)), func() {
		r.alive[what]--
		r.step(func(now time.Time) { r.s.Packet(now, p, &r.fx) })
	})
	if arrives {
		r.alive[what]++
	}
}

// load has the broker send each client a message of 30 octets every so often.
func (n *network) load(d, every time.Duration) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range n.radios {
		for at, k := time.Duration(rng.Int64N(int64(every))), 0; at < d; at, k = at+every, k+1 {
			qos := byte(rng.IntN(3))
			n.after(at, func() { r.message(fmt.Sprint("some/topic/", k%3), 30, qos) })
		}
	}
}

// message is one of the broker for the client.
func (r *radio) message(topic string, size int, qos byte) {
	payload := fmt.Sprintf("%-*s", size, fmt.Sprint(len(r.want), " at ", r.n.now))
	if qos > 0 {
		r.want = append(r.want, payload)
	}
	m := &broker.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
	r.step(func(now time.Time) {
		r.s.Broker(now, broker.Event{Kind: broker.Delivered, Message: m, QoS: qos, Token: broker.Token(1000 + len(r.want))}, &r.fx)
	})
}

// air is what happened in a while.
type air struct{ asked, again, spurious int }

// phase is a while with one kind of air.
func (n *network) phase(d, least, most time.Duration) air {
	n.min, n.max = least, most
	before := air{n.asked, n.again, n.spurious}
	n.run(d)
	return air{n.asked - before.asked, n.again - before.again, n.spurious - before.spurious}
}

// tRetry is the least and the greatest T_retry of all sessions, for such messages.
func (n *network) tRetry() (least, most time.Duration) {
	least = time.Hour
	for _, r := range n.radios {
		d := r.s.line.tRetry(&n.o, 37)
		least, most = min(least, d), max(most, d)
	}
	return least, most
}

// finish waits for all to arrive that can, and says what it took.
func (n *network) finish(what string) {
	n.loss = 0
	n.run(15 * time.Minute)
	for _, r := range n.radios {
		waits, _ := r.s.Queued()
		if n.waiting += waits; r.s.State() != Active {
			n.t.Errorf("%s is %v", r.s.ID(), r.s.State())
		}
		i := slices.IndexFunc(r.want, func(payload string) bool { _, ok := r.got[payload]; return !ok })
		if i >= 0 && waits == 0 {
			n.t.Errorf("%s did not get %q", r.s.ID(), r.want[i])
		}
	}
	n.t.Logf("%s: %d packets, %d frames lost, %d sent again, %d of them for nothing; frames waited up to %v; %d messages are not delivered, the last was after %v",
		what, n.asked, n.lost, n.again, n.spurious, n.behind.Round(time.Millisecond), n.waiting, n.last.Round(time.Second))
}

// Twenty clients behind one line of 1,200 octets per second, whose answers take from
// 200 ms to 3 s, and up to one frame of ten is lost. With a constant of 2 s most of what
// is sent again need not be.
func TestTRetryOnASharedLine(t *testing.T) {
	const d, every = 10 * time.Minute, 3 * time.Second
	for _, loss := range []int{0, 5, 10} {
		results := map[bool]*network{}
		for _, paced := range []bool{false, true} {
			n := newNetwork(t, 1, paced)
			n.loss = loss
			n.load(d, every)
			n.phase(d, 100*time.Millisecond, 1500*time.Millisecond)
			n.finish(fmt.Sprintf("%d %% lost, paced %-5t", loss, paced))
			results[paced] = n
		}
		if c, p := results[false], results[true]; p.waiting > 0 || p.spurious*20 > c.spurious || p.spurious*50 > p.asked {
			t.Errorf("%d %% lost, sent again for nothing: %d of %d packets; with a constant T_retry %d of %d",
				loss, p.spurious, p.asked, c.spurious, c.asked)
		}
	}
}

// The same line, and all have much to get at the same time: one frame for each client is
// more than it carries in 2 s. With a constant T_retry the line is soon full of copies, and
// never gets rid of them.
func TestTRetryOnAFullLine(t *testing.T) {
	results := map[bool]*network{}
	for _, paced := range []bool{false, true} {
		n := newNetwork(t, 3, paced)
		n.loss = 5
		for _, r := range n.radios {
			for range 30 {
				r.message("ab", 200, 1)
			}
		}
		n.phase(15*time.Minute, 100*time.Millisecond, 1500*time.Millisecond)
		n.finish(fmt.Sprintf("paced %-5t", paced))
		results[paced] = n
	}
	if p := results[true]; p.waiting > 0 || p.spurious*20 > p.asked || p.last > 5*time.Minute {
		t.Errorf("%d of %d packets sent again for nothing, %d messages not delivered after %v", p.spurious, p.asked, p.waiting, p.last)
	}
	if c := results[false]; c.waiting == 0 {
		t.Error("with a constant T_retry there is no storm: this test shows nothing")
	}
}

// When the air becomes ten times slower, and faster again, T_retry follows.
func TestTRetryFollowsTheLine(t *testing.T) {
	n := newNetwork(t, 2, true)
	n.o.TRetryMin = 100 * time.Millisecond
	n.load(35*time.Minute, 5*time.Second)
	phase := func(what string, d, least, most time.Duration) air {
		a := n.phase(d, least, most)
		low, high := n.tRetry()
		t.Logf("%s: of %d packets %d were sent again, %d of them for nothing; T_retry is %v to %v",
			what, a.asked, a.again, a.spurious, low.Round(time.Millisecond), high.Round(time.Millisecond))
		return a
	}
	fast := func(what string) {
		a := phase(what, 5*time.Minute, 100*time.Millisecond, 150*time.Millisecond)
		if _, most := n.tRetry(); a.spurious*100 > a.asked || most > time.Second {
			t.Errorf("%s: %+v, T_retry is up to %v", what, a, most)
		}
	}
	fast("fast")
	a := phase("slow, the first minute", time.Minute, 1000*time.Millisecond, 1500*time.Millisecond)
	if a.spurious > 6*len(n.radios) {
		t.Errorf("it takes %d packets to learn that the line is slower; six for each client would do", a.spurious)
	}
	a = phase("slow", 14*time.Minute, 1000*time.Millisecond, 1500*time.Millisecond)
	if least, _ := n.tRetry(); a.spurious*100 > a.asked || least < 2500*time.Millisecond {
		t.Errorf("slow: %+v, T_retry is no more than %v", a, least)
	}
	phase("fast, the first minutes", 5*time.Minute, 100*time.Millisecond, 150*time.Millisecond)
	fast("fast again")
	n.finish("all in all")
	if n.waiting > 0 {
		t.Errorf("%d messages are not delivered", n.waiting)
	}
}
