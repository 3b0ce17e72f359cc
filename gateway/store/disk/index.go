package disk

import (
	"hash/crc32"

	"mqttsn-gateway/gateway/store"
)

// overhead is what a record counts besides its value and its client id.
const overhead = 64

// cost is what a record counts for MaxBytes.
func cost(k store.Key, value int) int64 { return int64(value + len(k.Client) + overhead) }

// name is a key within its space.
type name struct {
	client string
	number uint64
}

// entry is where the value of a record stands, and its checksum.
type entry struct {
	segment *segment // nil: it is not durable
	offset  uint32
	length  uint32
	check   uint32
}

// record is all that is known of a key: what is durable, and where in the two groups that
// are not durable yet its change stands, counted from 1; 0 for none. So one look into the
// index is enough for each change.
type record struct {
	entry
	at [2]int32
}

// index knows all records that are durable, or that one of the two groups changes.
type index struct {
	spaces [256]map[name]*record
	slab   []record  // that are not used yet
	spare  []*record // that are not used any more
}

// slabSize is how many records memory is taken for at a time.
const slabSize = 256

// get is what is known of a key; nil if nothing is.
func (x *index) get(k store.Key) *record {
	return x.spaces[k.Space][name{k.Client, k.Number}]
}

// of is what is known of a key, be it nothing yet.
func (x *index) of(k store.Key) *record {
	m := x.spaces[k.Space]
	n := name{k.Client, k.Number}
	r := m[n]
	if r != nil {
		return r
	}
	if m == nil {
		m = make(map[name]*record)
		x.spaces[k.Space] = m
	}
	if last := len(x.spare) - 1; last >= 0 {
		r, x.spare = x.spare[last], x.spare[:last]
	} else {
		if len(x.slab) == 0 {
			x.slab = make([]record, slabSize)
		}
		r, x.slab = &x.slab[0], x.slab[1:]
	}
	m[n] = r
	return r
}

// sweep forgets a key that nothing is known of any more.
func (x *index) sweep(k store.Key, r *record) {
	if *r == (record{}) {
		delete(x.spaces[k.Space], name{k.Client, k.Number})
		x.spare = append(x.spare, r)
	}
}

// put notes where the value of a record stands now. The segments count what stands in them.
func (r *record) put(s *segment, offset int64, value []byte) {
	r.drop()
	r.entry = entry{s, uint32(offset), uint32(len(value)), crc32.Checksum(value, castagnoli)}
	s.live++
}

// drop notes that a record does not stand anywhere any more.
func (r *record) drop() {
	if r.segment != nil {
		r.segment.live--
	}
	r.entry = entry{}
}
