package embedded

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// What waits for clients is bounded for all of them together, too, by
// max_queued_bytes_total. It counts what it costs in memory, about: a message that waits
// in many queues counts once, and in each of them the entry.
const (
	messageCost  = 128 // octets of a message itself
	deliveryCost = 32  // of its entry in a queue
	propertyCost = 64  // of a user property
)

// weigh notes what the properties of a message count: there may be many small ones.
func (m *message) weigh() {
	m.weight = 0
	p := m.properties
	if p == nil {
		return
	}
	n := len(p.ResponseTopic) + len(p.CorrelationData) + len(p.ContentType)
	for i := range p.User {
		n += propertyCost + len(p.User[i].Name) + len(p.User[i].Value)
	}
	m.weight = int32(min(n, 1<<30))
}

// hold notes that a message is in one more queue, and returns what it counts for that.
func (m *message) hold() int {
	if atomic.AddInt32(&m.holders, 1) > 1 {
		return deliveryCost
	}
	return deliveryCost + messageCost + m.size()
}

// letGo notes that a message is in one queue less, and returns what it has counted.
func (m *message) letGo() int {
	if atomic.AddInt32(&m.holders, -1) > 0 {
		return deliveryCost
	}
	return deliveryCost + messageCost + m.size()
}

// filled reports whether there is no room for more. The last tenth of the room is for
// clients that keep up, so that those who do not cannot stop them.
func (b *Broker) filled(keepsUp bool) bool {
	limit := int64(b.options.MaxQueuedBytesTotal)
	if limit == 0 {
		return false
	}
	if !keepsUp {
		limit -= limit / 10
	}
	return b.stats.held.Load()+b.stats.delayedBytes.Load() >= limit
}

// refuseFilled counts and logs that there was no room for a message.
func (b *Broker) refuseFilled() {
	b.stats.drop(brokerFull)
	now := int64(b.now())
	if last := b.filledAt.Load(); (last == 0 || now-last > int64(time.Minute)) && b.filledAt.CompareAndSwap(last, now) {
		b.complain("")
	}
}

// complain has the log say that a client's queue is full, or, for no client, that there is
// no room for any. The log may block, so that it is written elsewhere; of many complaints
// at once some are left out.
func (b *Broker) complain(clientID string) {
	select {
	case b.full <- clientID:
	default:
	}
}

func (b *Broker) warnFull(clientID string) {
	o := &b.options
	if clientID == "" {
		b.log.Warn("too much waits for all clients together: messages with QoS 1 and 2 are refused or dropped",
			"max_queued_bytes_total", o.MaxQueuedBytesTotal, "queued_messages", b.stats.queued.Load())
		return
	}
	b.journal.write(slog.LevelWarn, "the queue of a client is full: messages for it are dropped", "client", shown(clientID),
		"max_queued_messages", o.MaxQueuedMessages, "max_queued_bytes", o.MaxQueuedBytes)
}
