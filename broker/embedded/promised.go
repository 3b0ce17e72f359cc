package embedded

import (
	"context"
	"sync"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// What a client is told must still be true after a crash. So an acknowledgement leaves only
// when what it promises is durable, and so does PUBREL; a QoS 2 message leaves when its
// identifier is, or it would come a second time with another one. Until then they are held
// here, in order [MQTT-4.6.0-2]. All else does not wait: neither PINGRESP nor messages with
// QoS 0, nor those with QoS 1 unless one with QoS 2 is held before them.

// promises are the packets that are held for one client.
type promises struct {
	held   buffer // the packets, the oldest first
	list   []promise
	parcel int           // octets among them that are messages
	full   chan struct{} // closed when there are fewer; nil: nobody waits for that
	more   bool          // the session has more messages, and found no room
	silent bool          // CONNACK is held: until it has left, nothing is
	timer  *time.Timer   // when the connection is ending
}

// promise is one packet that is held.
type promise struct {
	mark    store.Mark
	size    int // octets
	payload int // octets of a message that is sent for the first time
	kind    promiseKind
}

type promiseKind byte

const (
	ackPromise promiseKind = iota
	messagePromise
	connackPromise
	lastPromise // DISCONNECT, which promises nothing and comes after the others
)

var promisePool = sync.Pool{New: func() any { return new(promises) }}

// promiseTime is how long what is held may take to become durable when the connection
// ends. After it the client has to ask again.
const promiseTime = lingerTime / 2

// isDurable reports whether all is durable up to the mark.
func (b *Broker) isDurable(m store.Mark) bool {
	return m == 0 || b.store == nil || m <= b.store.Durable()
}

// watch has the broker learn of what becomes durable.
func (b *Broker) watch() {
	b.durable = make(chan struct{}, 1)
	if b.store == nil {
		return
	}
	b.store.Notify(b.look)
}

// look has keepPromises look what is durable.
func (b *Broker) look() {
	select {
	case b.durable <- struct{}{}:
	default:
	}
}

// keepPromises sends what is held as it becomes durable. It visits only clients for whom
// something is held, and flushes each once.
func (b *Broker) keepPromises(ctx context.Context) {
	for {
		select {
		case <-b.durable:
		case <-ctx.Done():
			return
		}
		list := b.waiting.take()
		for _, c := range list {
			c.out.release()
		}
		if list != nil {
			b.waiting.giveBack(list)
		}
		b.settle()
	}
}

// promise is open for a packet that promises what is durable at the mark.
func (o *output) promise(kind promiseKind, mark store.Mark) (b []byte, ok bool) {
	o.mu.Lock()
	switch {
	case o.closing || o.failed:
		o.mu.Unlock()
		return nil, false
	case o.held == nil && o.client.broker.isDurable(mark):
		return o.openPending(), true
	}
	return o.hold(kind, mark), true
}

// deliver is open for a message from the session's queue that must not leave before the
// mark is durable, 0 for at once.
func (o *output) deliver(mark store.Mark, limit int) (b []byte, ok bool) {
	if mark == 0 || o.client.broker.isDurable(mark) {
		mark = 0
	}
	o.mu.Lock()
	h := o.held
	if mark == 0 && (h == nil || h.parcel == 0) {
		b, ok, _ = o.openLocked(limit)
		return b, ok
	}
	switch {
	case o.closing || o.failed || h != nil && h.silent:
	case o.size > limit:
		o.stalled = true
	case h != nil && h.parcel > limit:
		h.more = true
	default:
		return o.hold(messagePromise, mark), true
	}
	o.mu.Unlock()
	return nil, false
}

// hold opens the buffer of what is held. The output is locked.
func (o *output) hold(kind promiseKind, mark store.Mark) []byte {
	if o.held == nil {
		o.held = promisePool.Get().(*promises)
	}
	h := o.held
	h.list = append(h.list, promise{mark: mark, kind: kind})
	h.silent = h.silent || kind == connackPromise
	o.holding = true
	return h.held.b
}

// keep takes back what hold has opened, with the packet added, and unlocks the output.
func (o *output) keep(b []byte) {
	o.holding = false
	h := o.held
	last := &h.list[len(h.list)-1]
	last.size, last.payload = len(b)-len(h.held.b), h.held.payload
	h.held.b, h.held.payload = b, 0
	if last.kind == messagePromise {
		h.parcel += last.size
	}
	mark, listed := last.mark, o.waits
	o.waits = true
	o.mu.Unlock()
	if listed {
		return // whoever takes it off the list looks what is durable then
	}
	o.client.broker.waiting.add(o.client)
	if o.client.broker.isDurable(mark) {
		o.client.broker.look() // it may have become so before the client was on the list
	}
}

// dropHeld takes back what hold has opened. The output is locked.
func (o *output) dropHeld() {
	o.holding = false
	h := o.held
	last := len(h.list) - 1
	h.silent = h.silent && h.list[last].kind != connackPromise
	h.list = h.list[:last]
	o.forgetHeld()
}

// release lets go what is durable by now. The client was taken off the list of those for
// whom something is held.
func (o *output) release() {
	o.mu.Lock()
	o.waits = false
	h := o.held
	if h == nil {
		o.mu.Unlock()
		return
	}
	durable := o.client.broker.store.Durable()
	n := 0
	for n < len(h.list) && h.list[n].mark <= durable {
		n++
	}
	pump := o.letGo(n)
	again := o.held != nil
	o.waits = again
	if n > 0 {
		o.unlockListed()
	} else {
		o.mu.Unlock()
	}
	if again {
		o.client.broker.waiting.add(o.client)
	}
	if pump {
		o.client.pump()
	}
}

// letGo adds the first n packets that are held to what is sent. It reports whether the
// session can go on. The output is locked.
func (o *output) letGo(n int) (pump bool) {
	if n == 0 {
		return false
	}
	h := o.held
	octets := 0
	o.openPending()
	for _, p := range h.list[:n] {
		octets += p.size
		o.pending.payload += p.payload
		if p.kind == messagePromise {
			h.parcel -= p.size
		}
		if p.kind == connackPromise {
			h.silent, o.greeted, pump = false, true, true
		}
		o.added(p.size)
	}
	o.pending.b = append(o.pending.b, h.held.b[:octets]...)
	h.held.b = h.held.b[:copy(h.held.b, h.held.b[octets:])]
	h.list = h.list[:copy(h.list, h.list[n:])]
	pump, h.more = pump || h.more, false
	if h.full != nil && !o.crowds() {
		close(h.full)
		h.full = nil
	}
	o.forgetHeld()
	return pump
}

// forgetHeld gives back what is not needed while nothing is held. The output is locked.
func (o *output) forgetHeld() {
	h := o.held
	if len(h.list) > 0 {
		return
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.full != nil {
		close(h.full)
	}
	o.held = nil
	if cap(h.held.b) <= keepBuffer {
		*h = promises{held: buffer{b: h.held.b[:0], topic: h.held.topic}, list: h.list[:0]}
		promisePool.Put(h)
	}
}

// endHeld is called when the connection is ending. What is held has a moment yet, but for
// messages: they come again on the client's next connection, where they must not meet
// with those of this one. The output is locked.
func (o *output) endHeld() {
	h := o.held
	if h == nil {
		return
	}
	if h.silent {
		h.list = h.list[:0] // the client was never connected
		o.forgetHeld()
		return
	}
	from, to, n := 0, 0, 0
	for _, p := range h.list {
		if p.kind != messagePromise {
			to += copy(h.held.b[to:], h.held.b[from:from+p.size])
			h.list[n] = p
			n++
		}
		from += p.size
	}
	h.held.b, h.list, h.parcel, h.more = h.held.b[:to], h.list[:n], 0, false
	if h.full != nil {
		close(h.full)
		h.full = nil
	}
	if h.timer == nil {
		h.timer = time.AfterFunc(promiseTime, o.giveUp)
	}
	o.forgetHeld()
}

// giveUp drops what has not become durable in time, and lets the connection end.
func (o *output) giveUp() {
	o.mu.Lock()
	h := o.held
	if h == nil || !o.closing {
		o.mu.Unlock()
		return
	}
	last := len(h.list) - 1
	if h.list[last].kind == lastPromise {
		octets := len(h.held.b) - h.list[last].size
		h.held.b = h.held.b[:copy(h.held.b, h.held.b[octets:])]
		h.list = append(h.list[:0], h.list[last])
		o.letGo(1)
	} else {
		h.list = h.list[:0]
		o.forgetHeld()
	}
	o.unlockListed()
	o.client.broker.Flush()
}

// finish lets the stream end when what is held was sent, if anything is: the client has
// left, and may still want to know.
func (o *output) finish() (held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endHeld()
	if o.held == nil {
		return false
	}
	o.closing = true
	return true
}

// crowds reports whether so much is held that the client is not read any more. The output
// is locked.
func (o *output) crowds() bool {
	h, limits := o.held, &o.client.broker.options
	return h != nil && (h.silent || len(h.list) > max(limits.ReceiveMaximum, fewPromises) ||
		len(h.held.b)-h.parcel > limits.MaxQueuedBytes)
}

// fewPromises is how many packets may be held in any case.
const fewPromises = 100

// crowded is a channel that is closed when less is held, if it is too much now; else nil.
// Versions before MQTT 5 may send as many messages as they like.
func (o *output) crowded() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.failed || !o.crowds() {
		return nil
	}
	if o.held.full == nil {
		o.held.full = make(chan struct{})
	}
	return o.held.full
}

// farewell adds a DISCONNECT, behind what is held. The output is locked.
func (o *output) farewell(packet *mqtt.Disconnect) {
	if o.held == nil {
		b := o.openPending()
		o.pending.b = packet.Append(b, mqtt.V5)
		o.added(len(o.pending.b) - len(b))
		return
	}
	b := o.hold(lastPromise, 0)
	with := packet.Append(b, mqtt.V5)
	o.holding = false
	o.held.list[len(o.held.list)-1].size = len(with) - len(b)
	o.held.held.b = with
}
