package upstream

import (
	"slices"
	"sync"
	"time"

	"mqttsn-gateway/gateway/store"
)

const (
	// spoolWindow is how many spooled messages of a client are in memory, and so on their
	// way to the broker, at most. After a crash that many may have been sent: it must not
	// become smaller.
	spoolWindow = 64
	// spoolIDs packet identifiers, from 1 on, are for spooled messages; all others are for
	// what is not spooled. The identifier follows from a message's number, so it is the same
	// after a crash.
	spoolIDs = 50000
)

// entry is a spooled message that is not in memory: its number, and how far it has come.
type entry uint64

const (
	entryReleased entry = 1 << 63 // the broker has it: PUBREL is what is left
	entryAgain    entry = 1 << 62 // it may have been sent before
	entryFlags          = entryReleased | entryAgain
)

func (e entry) number() uint64 { return uint64(e &^ entryFlags) }
func (e entry) started() bool  { return e&entryFlags != 0 }

// spoolID is the packet identifier of the message with a number.
func spoolID(number uint64) uint16 { return uint16(number%spoolIDs) + 1 }

// spool is what the store keeps of one client. It outlives sessions. Messages to the broker
// are in order: those that a session has in its window, then those in queue.
type spool struct {
	client string // the ClientID, without a prefix

	// deliveries are those of the session that uses them, and guarded by its mutex.
	deliveries *deliveries

	mu      sync.Mutex
	queue   []entry // oldest first; those before head are done with
	head    int
	count   int        // of messages to the broker in the store
	last    uint64     // number of the latest
	mark    store.Mark // of the latest change
	drainTo uint64     // up to this number they were spooled while the broker was away, or by an earlier process
	oldest  time.Time  // none of them was spooled before
	knowledge
	filters map[string]filter // as they are in the store
	slot    uint64            // of the latest filter

	// Guarded by Broker.mu.
	users int       // sessions that are not over
	due   time.Time // when it is drained without a client
	pause time.Duration
}

// filter is a subscription of a client and the number of its record.
type filter struct {
	qos  byte
	slot uint64
}

// waiting counts the messages in queue. sp.mu is held, as in all that follows.
func (sp *spool) waiting() int { return len(sp.queue) - sp.head }

func (sp *spool) push(e entry) {
	if sp.head > 0 && len(sp.queue) == cap(sp.queue) && 2*sp.head >= len(sp.queue) {
		sp.queue = slices.Delete(sp.queue, 0, sp.head)
		sp.head = 0
	}
	sp.queue = append(sp.queue, e)
}

// putBack puts entries, in order, before all that wait.
func (sp *spool) putBack(entries []entry) {
	if len(entries) <= sp.head {
		sp.head -= len(entries)
		copy(sp.queue[sp.head:], entries)
		return
	}
	sp.queue = slices.Insert(slices.Delete(sp.queue, 0, sp.head), 0, entries...)
	sp.head = 0
}

// take takes the first entry out, if it is still e.
func (sp *spool) take(e entry) bool {
	if sp.waiting() == 0 || sp.queue[sp.head] != e {
		return false
	}
	sp.head++
	if sp.head == len(sp.queue) {
		sp.queue, sp.head = nil, 0
	}
	return true
}

// started reports whether messages may have been sent and not been answered. Those are
// always the first.
func (sp *spool) started() bool {
	return slices.ContainsFunc(sp.queue[sp.head:], entry.started)
}

// lostSession notes that the broker has lost the client's session, and returns the
// messages of which nobody knows whether it has passed them on.
func (sp *spool) lostSession() (uncertain []uint64) {
	kept := sp.queue[:sp.head]
	for _, e := range sp.queue[sp.head:] {
		if e&entryReleased != 0 {
			uncertain = append(uncertain, e.number())
			continue
		}
		kept = append(kept, entry(e.number()))
	}
	sp.queue = kept
	return uncertain
}

// apply changes the store. Changes of one client are applied in the order of their marks.
func (sp *spool) apply(st store.Store, ops ...store.Op) store.Mark {
	sp.mark = st.Apply(ops...)
	return sp.mark
}

// know writes down what is known of the session with the broker.
func (sp *spool) know(st store.Store) store.Mark {
	return sp.apply(st, store.Put(store.UpstreamSession, sp.client, 0, sp.sessionValue()))
}

// numbers counts deliveries, over crashes too: how far it may count is in the store.
type numbers struct {
	mu          sync.Mutex
	store       store.Store
	last, limit uint64
}

// numberBlock is how many numbers are written down as used at a time.
const numberBlock = 1 << 16

func (n *numbers) next() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	if uint32(n.last) == 0 {
		n.last++ // it would have the token of QoS 0
	}
	if n.last > n.limit {
		n.limit = n.last + numberBlock
		n.store.Apply(store.Put(store.UpstreamSession, "", 0, appendCount(nil, n.limit)))
	}
	return n.last
}
