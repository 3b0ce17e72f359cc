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
	segment *segment
	offset  uint32
	length  uint32
	check   uint32
}

// index knows all records that are durable.
type index [256]map[name]entry

func (x *index) get(k store.Key) (entry, bool) {
	e, ok := x[k.Space][name{k.Client, k.Number}]
	return e, ok
}

// put makes or replaces an entry. The segments count what stands in them.
func (x *index) put(k store.Key, value []byte, s *segment, offset int64) {
	x.delete(k)
	if x[k.Space] == nil {
		x[k.Space] = make(map[name]entry)
	}
	x[k.Space][name{k.Client, k.Number}] = entry{s, uint32(offset), uint32(len(value)), crc32.Checksum(value, castagnoli)}
	s.live++
}

func (x *index) delete(k store.Key) {
	n := name{k.Client, k.Number}
	if e, ok := x[k.Space][n]; ok {
		e.segment.live--
		delete(x[k.Space], n)
	}
}
