package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// world is a session with a device on one side and a broker on the other, all in virtual
// time, and a network that loses, doubles, delays and reorders datagrams. Device and
// broker are models of their own that share no code with the session. After each step
// the world checks what must hold at all times.
type world struct {
	fail func(format string, args ...any)
	rng  *rand.Rand

	loss, double int           // percent of datagrams
	delay        time.Duration // longest way of a datagram; the shortest is a tenth

	o      Options
	kept   *mirror
	disk   *disk // nil: everything is durable at once, and nothing crashes
	s      *Session
	fx     Effects
	now    time.Time
	events []event
	device *device
	broker *modelBroker

	received, delivered, returned, dropped int

	rate int // of the line to the device; 0: any other link
	// forgeable says that the device has to prove its address there; came and went are the
	// octets from and to it.
	forgeable  bool
	came, went int
	freeAt     time.Time // when the line will have carried the last QoS 0 message
	sentAt     time.Time // when the last packet that wants an answer was sent

	sentRate int // the rate then

	denied denied // topics that the device may not receive; nil: it has all rights

	boot      int               // the restart of the device that the session knows of
	published map[uint16]string // MsgID to payload of what the client has not finished
	log       []string
}

type event struct {
	at time.Time
	do func()
}

func newWorld(seed uint64, fail func(string, ...any)) *world {
	w := &world{
		fail: fail, rng: rand.New(rand.NewPCG(seed, 1)), o: DefaultOptions(),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), published: map[uint16]string{},
	}
	w.o.TRetry, w.o.NRetry = 2*time.Second, 3
	w.o.Durable, w.kept = true, newMirror()
	w.o.MaxQueuedMessages, w.o.MaxQueuedBytes, w.o.MaxQueuedQoS0 = 1<<20, 1<<30, 1<<20
	w.delay = 200 * time.Millisecond
	w.device = &device{w: w, topics: map[uint16]string{}, got: map[string]int{}, open: map[uint16]string{}, done: map[string]bool{}, sent: map[string]time.Time{}}
	w.broker = &modelBroker{
		w: w, window: 4, got: map[string]int{}, uncertain: map[string]bool{}, open: map[broker.Token]string{}, forgotten: map[string]bool{},
	}
	w.s = New("dev", &w.o, uint16(seed))
	return w
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, w.now.Format("04:05.000 ")+fmt.Sprintf(format, args...))
	if len(w.log) > 60 {
		w.log = w.log[1:]
	}
}

func (w *world) failf(format string, args ...any) {
	w.fail("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.log, "\n"))
}

func (w *world) after(d time.Duration, do func()) {
	w.events = append(w.events, event{w.now.Add(d), do})
}

// run lets time pass until the world has nothing to do before an instant, or stop is
// true.
func (w *world) run(d time.Duration, stop func() bool) {
	end := w.now.Add(d)
	for !stop() {
		next, what := end, -1
		for i, e := range w.events {
			if e.at.Before(next) {
				next, what = e.at, i
			}
		}
		if due := w.s.Deadline(); !due.IsZero() && due.Before(next) {
			if due.After(w.now) {
				w.now = due
			}
			w.step("expire", func() { w.s.Expire(w.now, &w.fx) })
			if due := w.s.Deadline(); !due.IsZero() && !due.After(w.now) {
				w.failf("after Expire the deadline is in the past")
			}
			continue
		}
		if what < 0 {
			w.now = end
			return
		}
		e := w.events[what]
		w.events = slices.Delete(w.events, what, what+1)
		w.now = e.at
		e.do()
	}
}

func never() bool { return false }

// transmit puts a datagram on its way. It arrives only if the device has not restarted
// since boot.
func (w *world) transmit(b []byte, boot int, arrive func([]byte)) {
	copies := 1
	if w.rng.IntN(100) < w.double {
		copies++
	}
	for range copies {
		if w.rng.IntN(100) < w.loss {
			continue
		}
		b := slices.Clone(b)
		w.after(w.delay/10+time.Duration(w.rng.Int64N(int64(w.delay))), func() {
			if boot == w.device.boot {
				arrive(b)
			}
		})
	}
}

// arrive hands a datagram to the session.
func (w *world) arrive(b []byte) {
	p, err := mqttsn.Decode(b)
	if err != nil {
		w.failf("the device sent %x: %v", b, err)
		return
	}
	if c, connects := p.(*mqttsn.Connect); connects {
		if c.CleanSession {
			w.boot = w.device.boot
		}
		// Copies that overtake nobody but come after CONNECT are taken for messages of
		// a device that has restarted.
		for payload, at := range w.device.sent {
			if w.now.Sub(at) < 2*time.Second {
				w.broker.uncertain[payload] = true
			}
		}
	}
	w.came += len(b)
	w.s.Heard(len(b))
	w.step(p.Type().String(), func() { w.s.Packet(w.now, p, &w.fx) })
	clear(b) // nothing of the packet may be kept
}

// tell hands an event of the broker to the session.
func (w *world) tell(ev broker.Event) {
	cause := [...]string{broker.Answered: "answer", broker.Delivered: "message", broker.Closed: "closed"}[ev.Kind]
	if ev.Kind == broker.Delivered && w.s.link != linkClosed {
		w.received++
	}
	w.step(cause, func() { w.s.Broker(w.now, ev, &w.fx) })
}

// replies are what may be sent to a sleeper, by what has happened.
var replies = map[string][]string{
	"PUBLISH": {"PUBACK", "PUBREC"}, "PUBREL": {"PUBCOMP"}, "PUBREC": {"PUBREL"}, "REGISTER": {"REGACK"},
	"SUBSCRIBE": {"SUBACK"}, "UNSUBSCRIBE": {"UNSUBACK"}, "DISCONNECT": {"DISCONNECT"},
	"WILLTOPICUPD": {"WILLTOPICRESP"}, "WILLMSGUPD": {"WILLMSGRESP"}, "answer": {"PUBACK", "PUBREC", "SUBACK", "UNSUBACK"},
}

// step does one thing, checks it, and does what it led to.
func (w *world) step(cause string, do func()) {
	before := w.s.State()
	if w.s.copied {
		before = Active // as far as the session knows
	}
	do()
	w.note("%s: %v -> %v", cause, before, w.s.State())
	var sent []mqttsn.Packet
	for b := range w.fx.Packets() {
		p, err := mqttsn.Decode(b)
		if err != nil {
			w.failf("the session sent %x: %v", b, err)
			continue
		}
		w.note("  -> %s", formatPacket(p))
		sent = append(sent, p)
		if w.disk != nil {
			w.disk.hold(b, w.boot)
			continue
		}
		w.transmit(b, w.boot, w.device.arrive)
	}
	over := w.delivered + w.returned + w.dropped
	w.delivered += w.fx.Delivered
	w.returned += w.fx.Returned
	for why, n := range w.fx.Drops {
		if n > 0 && Reason(why).OfMessage() {
			w.dropped += int(n)
			w.note("  dropped %v %d", Reason(why), n)
		}
	}
	if w.delivered+w.returned+w.dropped > over {
		clear(w.published) // the message in hand is over
	}
	w.checkCredit(sent)
	w.checkSent(cause, before, sent)
	queued, _ := w.s.Queued()
	if sum := w.delivered + w.returned + w.dropped + queued; sum != w.received {
		w.failf("%d messages received, but %d delivered + %d returned + %d dropped + %d queued", w.received, w.delivered, w.returned, w.dropped, queued)
	}
	requests := make([]broker.Request, len(w.fx.Requests))
	for i, r := range w.fx.Requests {
		r.Payload = slices.Clone(r.Payload)
		requests[i] = r
	}
	gone, records, mark := w.fx.Gone, slices.Clone(w.fx.Records), w.fx.Mark
	for i := range records {
		records[i].Value = slices.Clone(records[i].Value)
	}
	for i := range requests {
		requests[i].With = slices.Clone(requests[i].With)
		for j, op := range requests[i].With {
			requests[i].With[j].Value = slices.Clone(op.Value)
		}
	}
	if err := w.kept.step(w.s, &w.fx, w.now); err != nil {
		w.failf("after %s: %v", cause, err)
	}
	w.fx.Reset()
	for i := range requests {
		w.note("  => %s", formatRequest(&requests[i]))
		w.broker.do(&requests[i])
		if w.disk != nil && w.disk.request(&requests[i]) {
			w.disk.restart()
			return
		}
	}
	if w.disk != nil && w.disk.end(records, mark) {
		w.disk.restart()
		return
	}
	if gone {
		w.s = New("dev", &w.o, w.s.msgID)
		w.s.SetPath(w.path())
		if w.denied != nil {
			w.s.SetRights(w.denied)
		}
		w.freeAt = time.Time{}
		w.received, w.delivered, w.returned, w.dropped = 0, 0, 0, 0
		clear(w.published)
		// A clean session takes its open QoS 2 exchanges with it.
		for payload := range w.broker.got {
			w.broker.uncertain[payload] = true
		}
	}
}

// setPath gives the device another line.
func (w *world) setPath(rate int) {
	w.rate, w.freeAt = rate, time.Time{}
	w.s.SetPath(w.path())
}

// path is the way to the device. Nothing has come or gone there yet.
func (w *world) path() Path {
	w.came, w.went = 0, 0
	return Path{Rate: w.rate, Forgeable: w.forgeable && w.rate == 0, Seed: w.s.msgID + 4711}
}

// checkCredit checks that an address that has proven nothing is sent no more than it may be,
// but for answers to what it asked for elsewhere: here it moves without a packet.
func (w *world) checkCredit(sent []mqttsn.Packet) {
	for _, p := range sent {
		w.went += len(p.Append(nil))
	}
	if p := &w.s.proof; p.wary && !p.proven && w.went > w.s.o.MaxAmplification*w.came+64 {
		w.failf("%d octets sent for %d", w.went, w.came)
	}
}

// isProbe reports whether a packet is a message for nobody, only to be refused.
func isProbe(p *mqttsn.Publish) bool {
	return p.QoS == mqttsn.QoS1 && p.TopicIDType == mqttsn.TopicNormal && p.TopicID == 0
}

// checkPace checks that the queue waits for the line, and that answers are waited for
// neither shorter nor longer than they should be.
func (w *world) checkPace(cause string, before State, p mqttsn.Packet) {
	early, asks := w.now.Before(w.freeAt.Add(-slack)), true
	switch p := p.(type) {
	case *mqttsn.Register:
	case *mqttsn.Publish:
		asks = p.QoS > 0
		if w.rate > 0 && !asks {
			octets := len(p.Append(nil)) + framing
			w.freeAt = w.now.Add(time.Duration(octets) * time.Second / time.Duration(w.rate))
		}
	case *mqttsn.Pubrel:
		early, asks = false, w.s.hand.phase == releasing && w.s.hand.msgID == p.MsgID
	case *mqttsn.Pingresp:
		early, asks = early && before != Active, false
	default:
		return
	}
	if early {
		w.failf("%v, and the line is busy", p.Type())
	}
	if !asks {
		return
	}
	least, most := w.o.tRetryBounds()
	if wait := w.now.Sub(w.sentAt); cause == "expire" && w.fx.Retransmissions > 0 {
		if w.sentRate == 0 && wait != w.o.TRetry || wait < least || wait > most {
			w.failf("%v is sent again after %v", p.Type(), wait)
		}
	}
	w.sentAt, w.sentRate = w.now, w.rate
}

// checkSent checks what must hold for the packets of any step.
func (w *world) checkSent(cause string, before State, sent []mqttsn.Packet) {
	for i, p := range sent {
		name := p.Type().String()
		if publish, ok := p.(*mqttsn.Publish); ok && isProbe(publish) {
			continue
		}
		w.checkPace(cause, before, p)
		switch p := p.(type) {
		case *mqttsn.Publish:
			if p.QoS > 0 && p.MsgID == 0 {
				w.failf("a PUBLISH with MsgId 0")
			}
			if topic, _, _ := strings.Cut(string(p.Data), " "); w.denied[topic] {
				w.failf("the device is sent %q, which it may not receive", p.Data)
			}
			if old, ok := w.published[p.MsgID]; ok && p.QoS > 0 && old != string(p.Data) {
				w.failf("MsgId %d stands for %q and %q", p.MsgID, old, p.Data)
			}
			if p.QoS > 0 {
				for id, payload := range w.published {
					if p.QoS == 1 && payload == string(p.Data) {
						delete(w.published, id) // once more after a refusal
					}
				}
				w.published[p.MsgID] = string(p.Data)
				if len(w.published) > 1 {
					w.failf("more than one message is not acknowledged: %v", w.published)
				}
			}
		case *mqttsn.Register:
			if p.MsgID == 0 || w.published[p.MsgID] != "" {
				w.failf("a REGISTER with MsgId %d", p.MsgID)
			}
		case *mqttsn.Pingresp:
			if i != len(sent)-1 && before != Active {
				w.failf("%v follows PINGRESP", sent[i+1].Type())
			}
		}
		if before == Asleep && cause != "CONNECT" && cause != "PINGREQ" && !slices.Contains(replies[cause], name) {
			w.failf("a sleeper is sent %s after %s", name, cause)
		}
		if before != Active && before != Asleep && before != Awake && i == 0 &&
			!slices.Contains([]string{"CONNACK", "WILLTOPICREQ", "WILLMSGREQ", "DISCONNECT"}, name) {
			w.failf("%s is sent to a client that is %v", name, before)
		}
	}
}

// modelBroker keeps what it delivers until it is acknowledged, and no more than window
// messages at a time.
type modelBroker struct {
	w         *world
	window    int
	connected bool
	exists    bool // it has a session
	clean     bool // which ends with its connection
	wanted    bool // and a subscription
	epoch     int  // counts connections
	token     broker.Token
	waiting   []modelMessage
	unacked   []modelMessage
	got       map[string]int // payloads published by the device
	uncertain map[string]bool
	persisted bool // the session survives a crash, though it is a clean one
	wills     int  // published
	will      bool
	open      map[broker.Token]string // QoS 2 publishes that are not answered
	refused   []string                // payloads that the session refused
	forgotten map[string]bool         // payloads of sessions that have ended
	slow      time.Duration           // longest time to an answer
}

type modelMessage struct {
	token   broker.Token
	qos     byte
	topic   string
	payload string
}

func (b *modelBroker) do(r *broker.Request) {
	switch r.Op {
	case broker.Connect:
		present := b.exists && !r.CleanSession
		if !present {
			b.forget()
		}
		b.persisted = b.persisted && present
		b.connected, b.exists, b.clean = true, true, r.CleanSession || b.persisted
		b.will = r.Will != nil
		b.epoch++
		b.answer(broker.Event{Kind: broker.Answered, Token: r.Token, SessionPresent: present})
		b.waiting = append(b.unacked, b.waiting...)
		b.unacked = nil
		b.pump()
	case broker.Publish:
		b.got[string(r.Payload)]++
		if r.QoS == 2 {
			b.open[r.Token] = string(r.Payload)
		}
		if r.QoS > 0 {
			ev := broker.Event{Kind: broker.Answered, Token: r.Token}
			if b.w.disk != nil {
				ev.Mark = b.w.disk.next() // where the request will be
			}
			b.answer(ev)
		}
	case broker.Subscribe:
		b.wanted = true
		b.answer(broker.Event{Kind: broker.Answered, Token: r.Token, QoS: r.QoS})
	case broker.Ack:
		i := slices.IndexFunc(b.unacked, func(m modelMessage) bool { return m.token == r.Token })
		if i < 0 {
			return
		}
		m := b.unacked[i]
		b.unacked = slices.Delete(b.unacked, i, i+1)
		if r.Code.Failed() {
			b.refused = append(b.refused, m.payload)
		}
		b.pump()
	case broker.SetWill:
		b.will = r.Will != nil
	case broker.Persist:
		b.persisted = true
	case broker.Abandon:
		if b.will && b.connected {
			b.wills++
		}
		b.disconnect()
	case broker.Disconnect:
		b.disconnect()
	}
}

// disconnect ends the connection. Of a QoS 2 message that is not answered nobody knows.
func (b *modelBroker) disconnect() {
	b.connected = false
	b.epoch++
	for _, payload := range b.open {
		b.uncertain[payload] = true
	}
	clear(b.open)
	if b.clean {
		b.exists = false
		b.forget()
	}
}

// forget ends a session.
func (b *modelBroker) forget() {
	for _, m := range append(b.waiting, b.unacked...) {
		b.forgotten[m.payload] = true
	}
	b.waiting, b.unacked, b.wanted = nil, nil, false
}

// shutDown ends the connection from the broker's side.
func (b *modelBroker) shutDown() {
	if b.connected {
		b.disconnect()
		b.w.tell(broker.Event{Kind: broker.Closed, Code: broker.CodeShuttingDown})
	}
}

// answer tells the session something, some time later, in order.
func (b *modelBroker) answer(ev broker.Event) {
	epoch := b.epoch
	b.w.after(b.slow, func() {
		if b.epoch == epoch && b.connected {
			if ev.Kind == broker.Answered {
				delete(b.open, ev.Token)
			}
			b.w.tell(ev)
		}
	})
}

// publish is a message from elsewhere for the device.
func (b *modelBroker) publish(qos byte, topic, payload string) {
	if qos == 0 {
		if b.connected && b.wanted {
			b.answer(broker.Event{Kind: broker.Delivered, Message: &broker.Message{Topic: topic, Payload: []byte(payload)}})
		}
		return
	}
	if !b.exists || !b.wanted {
		b.forgotten[payload] = true
		return
	}
	b.token++
	b.waiting = append(b.waiting, modelMessage{b.token, qos, topic, payload})
	if b.w.disk != nil && b.w.disk.request(nil) {
		b.w.disk.restart()
		return
	}
	b.pump()
}

// pump delivers as much as the window allows.
func (b *modelBroker) pump() {
	for b.connected && len(b.waiting) > 0 && len(b.unacked) < b.window {
		m := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.unacked = append(b.unacked, m)
		b.answer(broker.Event{
			Kind: broker.Delivered, Token: m.token, QoS: m.qos,
			Message: &broker.Message{Topic: m.topic, Payload: []byte(m.payload), QoS: m.qos},
		})
	}
}

func (b *modelBroker) idle() bool { return len(b.waiting) == 0 && len(b.unacked) == 0 }
