package embedded

import (
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// output is what waits to be sent to one MQTT client. Whoever has something for it adds
// to the buffer; Flush then writes the buffer in one go and without waiting. What the
// system does not take is left to a goroutine that lives until all is written: a client
// that reads has no such goroutine, and no buffer while nothing is on its way.
type output struct {
	client *client
	direct *mqtt.Writer // writes without waiting; nil: that cannot be

	mu      sync.Mutex
	pending *buffer   // added, and not being written; nil for none
	held    *promises // nil for none
	size    int       // octets added and not written yet
	listed  bool      // on the broker's list of outputs to be flushed
	busy    bool      // somebody is writing
	stalled bool      // the session has more, and found no room
	greeted bool      // CONNACK has said that the client is connected
	closing bool      // nothing is added any more; when all is written, the stream ends
	failed  bool      // the connection is gone
	waits   bool      // on the broker's list of those for whom something is held
	holding bool      // the packet that is being added is to be held
	drained chan struct{}
	delayed int // packets that are counted as delayed, while there is drained
}

// buffer is a slice that can be pooled without an allocation.
type buffer struct {
	b       []byte
	packets int
	payload int // octets of messages that are sent for the first time
	topic   []byte
}

// name is a topic as octets, until the next one.
func (b *buffer) name(topic string) []byte {
	b.topic = append(b.topic[:0], topic...)
	return b.topic
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// keepBuffer is how large a buffer may be to be used again.
const keepBuffer = 64 << 10

func (b *buffer) release() {
	if cap(b.b) <= keepBuffer {
		*b = buffer{b: b.b[:0], topic: b.topic}
		buffers.Put(b)
	}
}

// anySize is for open: no limit.
const anySize = int(^uint(0) >> 1)

// open returns the buffer to add one packet to, which is given back with done or cancel
// at once: the output is locked meanwhile. ok is false, and nothing locked, if the
// connection is ending or CONNACK has not left, or more than limit octets are waiting
// already, or any if all clients together are sent too much; room tells the two apart.
func (o *output) open(limit int) (b []byte, ok, room bool) {
	o.mu.Lock()
	return o.openLocked(limit)
}

// openLocked is open with the output locked. If ok is false it unlocks it.
func (o *output) openLocked(limit int) (b []byte, ok, room bool) {
	if o.closing || o.failed || o.held != nil && o.held.silent {
		o.mu.Unlock()
		return nil, false, true
	}
	if o.size > limit || limit != anySize && o.size > 0 && o.drained != nil && o.client.broker.filled(false) {
		o.stalled = true
		o.mu.Unlock()
		return nil, false, false
	}
	return o.openPending(), true, true
}

// openPending opens the buffer of what is sent next. The output is locked.
func (o *output) openPending() []byte {
	if o.pending == nil {
		o.pending = buffers.Get().(*buffer)
	}
	return o.pending.b
}

// at is the buffer that is open.
func (o *output) at() *buffer {
	if o.holding {
		return &o.held.held
	}
	return o.pending
}

// done takes the buffer back with the packet added.
func (o *output) done(b []byte) {
	if o.holding {
		o.keep(b)
		return
	}
	n := len(b) - len(o.pending.b)
	o.pending.b = b
	o.added(n)
	o.unlockListed()
}

// added notes that a packet of n octets was added. The output is locked.
func (o *output) added(n int) {
	o.pending.packets++
	o.size += n
	if o.drained != nil {
		o.delay(1, n)
	}
}

// delay counts packets and octets that the system does not take at once, or, negative,
// that are not delayed any more. The output is locked.
func (o *output) delay(packets, octets int) {
	o.delayed += packets
	o.client.broker.stats.delayed.Add(int64(packets))
	o.client.broker.stats.delayedBytes.Add(int64(octets))
}

// cancel takes the buffer back as it was.
func (o *output) cancel() {
	if o.holding {
		o.dropHeld()
	} else if len(o.pending.b) == 0 {
		o.pending.release()
		o.pending = nil
	}
	o.mu.Unlock()
}

// close lets the stream end when all that was added is written, and what is held has left
// or had its time. Only MQTT 5 has words for why.
func (o *output) close(code broker.Code, why string) {
	o.mu.Lock()
	if !o.closing && !o.failed {
		o.endHeld()
		if o.greeted && o.client.version == mqtt.V5 {
			packet := mqtt.Disconnect{Code: mqtt.Code(code)}
			packet.Properties.ReasonString = o.client.fitting(why, disconnectSize)
			o.farewell(&packet)
		}
	}
	o.closing = true
	o.unlockListed()
}

// abort gives up what is not written: the connection is gone.
func (o *output) abort() {
	o.mu.Lock()
	o.lose()
	o.mu.Unlock()
}

// lose forgets what is not written. The output is locked.
func (o *output) lose() {
	if o.drained != nil {
		o.delay(-o.delayed, -o.size)
	}
	o.failed, o.pending, o.size = true, nil, 0
	if o.held != nil {
		o.held.list = o.held.list[:0]
		o.forgetHeld()
	}
}

func (o *output) unlockListed() {
	listed := o.listed
	o.listed = true
	o.mu.Unlock()
	if !listed {
		o.client.broker.dirty.add(o.client)
	}
}

// flush writes what was added, as far as the system takes it now.
func (o *output) flush() {
	o.mu.Lock()
	o.listed = false
	busy, closing := o.busy, o.closing
	if o.failed || busy {
		o.mu.Unlock()
		if busy && closing {
			_ = o.client.socket.SetWriteDeadline(time.Now().Add(lingerTime))
		}
		return
	}
	o.busy = true
	if o.direct == nil {
		if o.busy = o.pending != nil || o.stalled || closing; o.busy {
			o.handOver(nil, 0)
		} else {
			o.mu.Unlock()
		}
		return
	}
	for buf := o.next(); buf != nil; buf = o.next() {
		n, err := o.direct.TryWrite(buf.b)
		if err != nil {
			o.fail()
			return
		}
		if n < len(buf.b) {
			o.mu.Lock()
			o.handOver(buf, n)
			return
		}
		o.wrote(buf)
		if o.stalled && o.pending == nil {
			// What the session has left may be much: whoever flushes goes on meanwhile.
			o.handOver(nil, 0)
			return
		}
	}
}

// handOver leaves it to a goroutine of the connection's own to write the rest of buf, nil
// for none, and all that is added until then. It is called with the output locked, and
// unlocks it.
func (o *output) handOver(buf *buffer, n int) {
	defer o.mu.Unlock()
	if o.failed {
		return
	}
	o.drained = make(chan struct{})
	o.delay(0, o.size)
	for _, b := range []*buffer{buf, o.pending} {
		if b != nil {
			o.delay(b.packets, 0)
		}
	}
	o.client.broker.clients.group.Go(func() { o.drain(buf, n) })
}

// drain writes what could not be written without waiting, and all that is added until
// then. buf is written up to n.
func (o *output) drain(buf *buffer, n int) {
	conn := o.client.conn
	if buf == nil {
		o.mu.Lock()
		buf = o.next()
	}
	for ; buf != nil; buf = o.next() {
		if o.ending() {
			_ = o.client.socket.SetWriteDeadline(time.Now().Add(lingerTime))
		}
		if _, err := conn.Write(buf.b[n:]); err != nil {
			o.fail()
			return
		}
		n = 0
		o.wrote(buf)
	}
}

// wrote notes that a buffer is written, and locks the output for next.
func (o *output) wrote(buf *buffer) {
	st := &o.client.broker.stats
	st.packetsOut.Add(uint64(buf.packets))
	st.bytesOut.Add(uint64(len(buf.b)))
	count(&st.sentBytes, buf.payload)
	o.mu.Lock()
	if !o.failed {
		o.size -= len(buf.b)
		if o.drained != nil {
			o.delay(-buf.packets, -len(buf.b))
		}
	}
	buf.release()
}

// next is what is to be written next, nil if nothing is: then the writer has nothing more
// to do. It is called with the output locked, and unlocks it.
func (o *output) next() *buffer {
	for o.pending == nil && o.stalled && !o.closing && !o.failed {
		o.stalled = false
		o.mu.Unlock()
		o.client.pump()
		o.mu.Lock()
	}
	buf := o.pending
	if o.failed {
		buf = nil
	}
	o.pending = nil
	closing := o.closing && !o.failed && o.held == nil
	if buf == nil {
		o.idle()
	}
	o.mu.Unlock()
	if buf == nil && closing {
		o.client.endStream()
	}
	return buf
}

// idle notes that nobody writes any more. The output is locked.
func (o *output) idle() {
	o.busy = false
	if o.drained != nil {
		close(o.drained)
		o.drained = nil
	}
}

// fail ends the connection, since it cannot be written to.
func (o *output) fail() {
	o.mu.Lock()
	o.lose()
	o.idle()
	o.mu.Unlock()
	o.client.socket.Close()
}

func (o *output) lost() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

func (o *output) ending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing
}

// congested is a channel that is closed when all is written, if more than limit octets
// wait now, or any and all clients together are sent too much; else nil.
func (o *output) congested(limit int) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed || o.drained == nil || o.size <= limit && !o.client.broker.filled(true) {
		return nil
	}
	return o.drained
}
