package embedded

import (
	"hash/maphash"
	"strings"
)

// changes counts those of the filters with wildcards, so that a route which was made before
// one is not used after it. A change concerns topics that begin with the levels before the
// filter's first wildcard, of which the first two count: clients that come and go with
// "cmd/<id>/#" leave the routes of others alone. The levels share a fixed number of
// counters; where two meet, a route is made anew without need.
type changes struct {
	seed maphash.Seed
	any  uint64 // of filters that start with a wildcard
	some []uint64
}

const someChanges = 4096

func newChanges() changes {
	return changes{seed: maphash.MakeSeed(), some: make([]uint64, someChanges)}
}

// begin is where the counters of a topic's first level, and of its first two, stand.
type begin struct{ one, two uint16 }

func (c *changes) begin(topic string) begin {
	first, rest, more := strings.Cut(topic, "/")
	at := begin{one: c.slot(first)}
	at.two = at.one
	if more {
		second, _, _ := strings.Cut(rest, "/")
		at.two = c.slot(topic[:len(first)+1+len(second)])
	}
	return at
}

// count grows whenever a filter changes that may stand for a topic with that beginning.
func (c *changes) count(at begin) uint64 { return c.any + c.some[at.one] + c.some[at.two] }

// add notes that a subscription to a filter was made, changed or ended.
func (c *changes) add(filter string) {
	first, rest, more := strings.Cut(filter, "/")
	second, _, _ := strings.Cut(rest, "/")
	switch {
	case hasWildcard(first):
		c.any++
	case !more || hasWildcard(second):
		c.some[c.slot(first)]++
	default:
		c.some[c.slot(filter[:len(first)+1+len(second)])]++
	}
}

func (c *changes) slot(levels string) uint16 {
	return uint16(maphash.String(c.seed, levels) % someChanges)
}
