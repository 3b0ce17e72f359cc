package embedded

import (
	"sync"
	"sync/atomic"

	"mqttsn-gateway/gateway/store"
)

// records gathers changes to what the store keeps, with the octets of their values, until
// they are applied together. The nil records gathers nothing: a broker without a store has
// no others.
type records struct {
	ops    []store.Op
	buf    []byte     // of the values; what ops refers to may also be an earlier piece of memory
	queued []queuing  // deliveries that a publish has put into queues, see publication.keepQueued
	left   []*message // to whose records ops does not refer any more, see Broker.letGo
}

var gathered = sync.Pool{New: func() any { return new(records) }}

// gather is an empty records, nil without a store. It is to be applied with commit.
func (b *Broker) gather() *records {
	if b.store == nil {
		return nil
	}
	return gathered.Get().(*records)
}

// commit applies what has gathered, and gives r back. The mark is 0 if it was nothing.
func (b *Broker) commit(r *records) store.Mark {
	if r == nil {
		return 0
	}
	mark := b.apply(r.ops...)
	b.letGo(r.left)
	r.release()
	return mark
}

// keepOps is how many changes a records may have had to be used again.
const keepOps = 1024

func (r *records) release() {
	if cap(r.buf) > keepBuffer || cap(r.ops) > keepOps || cap(r.queued) > keepOps || cap(r.left) > keepOps {
		return
	}
	clear(r.ops)
	clear(r.queued)
	clear(r.left)
	r.ops, r.queued, r.left, r.buf = r.ops[:0], r.queued[:0], r.left[:0], r.buf[:0]
	gathered.Put(r)
}

// add adds changes that somebody else has made.
func (r *records) add(ops []store.Op) {
	if r != nil {
		r.ops = append(r.ops, ops...)
	}
}

// delete adds the deletion of a record.
func (r *records) delete(s store.Space, client string, number uint64) {
	if r != nil {
		r.ops = append(r.ops, store.Delete(s, client, number))
	}
}

// put adds a record whose value is what was appended to r.buf from the position at on.
func (r *records) put(s store.Space, client string, number uint64, at int) {
	r.ops = append(r.ops, store.Put(s, client, number, r.buf[at:len(r.buf):len(r.buf)]))
}

// apply has the store take changes. The mark is 0 if there are none, or no store.
func (b *Broker) apply(ops ...store.Op) store.Mark {
	if b.store == nil || len(ops) == 0 {
		return 0
	}
	return b.store.Apply(ops...)
}

// numbers number what the store keeps: deliveries, messages, wills, subscriptions. None is
// given twice, also after a crash, so that whoever deletes a record never meets with
// another one, and so that the tokens of deliveries to devices are never used again.
type numbers struct {
	last     atomic.Uint64
	reserved atomic.Uint64 // up to here, without: the store knows
	mu       sync.Mutex
}

// numberBlock is how many numbers are reserved at a time: what a crash wastes at most.
const numberBlock = 1 << 16

// number is a new number. They grow, and their low 32 bits are never 0.
func (b *Broker) number() uint64 {
	n := b.numbers.last.Add(1)
	for uint32(n) == 0 {
		n = b.numbers.last.Add(1)
	}
	if n >= b.numbers.reserved.Load() {
		b.reserve(n)
	}
	return n
}

// reserve makes sure that a number is not given again. What refers to it is applied later,
// so that it is not durable before.
func (b *Broker) reserve(n uint64) {
	b.numbers.mu.Lock()
	defer b.numbers.mu.Unlock()
	if n < b.numbers.reserved.Load() {
		return
	}
	n += numberBlock
	b.apply(store.Put(store.MQTTMessage, "", 0, reservedValue(n)))
	b.numbers.reserved.Store(n)
}
