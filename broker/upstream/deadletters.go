package upstream

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// deadLetters are the messages that the broker has refused for good: a bounded number of
// them is kept in the store, so that somebody can find out what was lost and why.
type deadLetters struct {
	mu   sync.Mutex
	keys []store.Key // oldest first
}

// deadLetter moves a message from the spool to the dead letters.
func (s *session) deadLetter(r *request, code broker.Code) {
	b := s.broker
	d := &b.deadLetters
	b.counts.deadLetters.Add(1)
	b.notice(code, "the broker refuses a message for good, which the device was told is safe", "client", s.id, "topic", topicOf(r.frame), "code", code)
	d.mu.Lock()
	defer d.mu.Unlock()
	var ops []store.Op
	if b.options.DeadLetters > 0 {
		key := store.Key{Space: store.UpstreamDeadLetter, Client: s.spool.client, Number: b.numbers.next()}
		ops = append(ops, store.Op{Key: key, Value: appendDeadLetter(nil, code, time.Now(), r.frame)})
		d.keys = append(d.keys, key)
	}
	s.discard(r, append(ops, d.surplus(b.options.DeadLetters)...)...)
}

// surplus takes out what is more than a limit. d.mu is held.
func (d *deadLetters) surplus(limit int) (ops []store.Op) {
	for len(d.keys) > limit {
		ops = append(ops, store.Op{Key: d.keys[0]})
		d.keys = d.keys[1:]
	}
	return ops
}

// sort brings the keys into the order of their numbers.
func (d *deadLetters) sort() {
	slices.SortFunc(d.keys, func(a, b store.Key) int { return cmp.Compare(a.Number, b.Number) })
}

func (d *deadLetters) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys)
}

// topicOf is the topic of a PUBLISH packet of ours.
func topicOf(packet []byte) string {
	if len(packet) == 0 {
		return "" // PUBREL was refused: the broker had the message
	}
	_, size := binary.Uvarint(packet[1:]) // MQTT's remaining length has the same form
	rest := packet[1+size:]
	return string(rest[2 : 2+binary.BigEndian.Uint16(rest)])
}
