package embedded

import (
	"sync"

	"mqttsn-gateway/gateway/store"
)

// records gathers changes to what the store keeps, with the octets of their values, until
// they are applied together. The nil records gathers nothing: a broker without a store has
// no others.
type records struct {
	ops    []store.Op
	buf    []byte    // of the values; what ops refers to may also be an earlier piece of memory
	queued []queuing // deliveries that a publish has put into queues, see publication.commit
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
	r.release()
	return mark
}

func (r *records) release() {
	clear(r.ops)
	clear(r.queued)
	r.ops, r.queued, r.buf = r.ops[:0], r.queued[:0], r.buf[:0]
	if cap(r.buf) <= keepBuffer && cap(r.ops) <= keepOps {
		gathered.Put(r)
	}
}

// keepOps is how many changes a records may have had to be used again.
const keepOps = 1024

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
	mark := b.store.Apply(ops...)
	for {
		last := b.lastMark.Load()
		if uint64(mark) <= last || b.lastMark.CompareAndSwap(last, uint64(mark)) {
			return mark
		}
	}
}

// latest is the mark of what was applied last; 0 for nothing.
func (b *Broker) latest() store.Mark { return store.Mark(b.lastMark.Load()) }

// queuing is a delivery that waits in a queue for its record to be applied.
type queuing struct {
	to     *session
	number uint64
}
