package client

import (
	"hash/maphash"
	"time"

	"mqttsn-gateway/mqttsn"
)

// onceTable finds the QoS 2 messages that have been handed out already. A message is
// known by MsgId and content from its PUBLISH to its PUBREL, as in MQTT, and for a while
// longer: a network that reorders may bring a copy of the PUBLISH after the PUBREL. The
// content is compared since a gateway that lost its memory begins its MsgIds again.
type onceTable struct {
	seen map[uint16]onceEntry
	seed maphash.Seed
	// after is how long a message is known after its PUBREL.
	after time.Duration
}

type onceEntry struct {
	sum      uint64
	released time.Time // zero before PUBREL
}

// onceSweep is the size from which a table is searched for entries to forget.
const onceSweep = 256

func newOnceTable(after time.Duration) onceTable {
	return onceTable{seen: make(map[uint16]onceEntry), seed: maphash.MakeSeed(), after: after}
}

func (t *onceTable) sum(p *mqttsn.Publish) uint64 {
	sum := maphash.Bytes(t.seed, p.Data)
	return sum ^ uint64(p.TopicIDType)<<16 ^ uint64(p.TopicID)
}

// has reports whether a message has been handed out.
func (t *onceTable) has(now time.Time, p *mqttsn.Publish) bool {
	e, ok := t.seen[p.MsgID]
	if !ok || e.sum != t.sum(p) {
		return false
	}
	return e.released.IsZero() || now.Sub(e.released) < t.after
}

// add remembers a message that has been handed out.
func (t *onceTable) add(p *mqttsn.Publish) {
	t.seen[p.MsgID] = onceEntry{sum: t.sum(p)}
}

// release notes the PUBREL of a message.
func (t *onceTable) release(now time.Time, msgID uint16) {
	e, ok := t.seen[msgID]
	if !ok || !e.released.IsZero() {
		return
	}
	e.released = now
	t.seen[msgID] = e
	if len(t.seen) < onceSweep {
		return
	}
	for id, e := range t.seen {
		if !e.released.IsZero() && now.Sub(e.released) >= t.after {
			delete(t.seen, id)
		}
	}
}

func (t *onceTable) clear() { clear(t.seen) }
