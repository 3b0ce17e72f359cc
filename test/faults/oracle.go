package faults

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// sizeOfPayload is that of every message: publisher, sequence, and the check.
const sizeOfPayload = 4 + 8 + 8

// Ledger is the oracle: it is told what publishers attempt, what is acknowledged to them
// and what subscribers receive, and judges it. It knows nothing of the gateway, so it is
// the same for processes, proxies and simulations. Safe for concurrent use.
type Ledger struct {
	mu          sync.Mutex
	publishers  map[uint32][]entry
	subscribers map[string]*subscriber
	waiting     map[uint32][]*subscriber // those of each publisher
	findings    findings
	loose       bool
	missing     int
	// Durable, if set, tells whether a message is durable at the moment when its
	// acknowledgement is seen: simulations know.
	Durable func(publisher uint32, sequence uint64) bool
}

// entry is one message; its sequence is its place in the list of its publisher, from 1.
type entry struct {
	topic        string
	qos          byte
	acknowledged bool
}

// subscriber is one that has to receive all acknowledged messages of some publishers.
type subscriber struct {
	publishers []uint32
	expects    map[uint32]bool // the same
	copies     float64         // the allowed share of repeated messages with QoS 1
	received   map[uint32][]uint16
	last       map[stream]uint64
	first      [3]int // messages by QoS, each once
	again      [3]int // repeated ones by QoS
	flagged    int    // of those, with DUP
}

type stream struct {
	publisher uint32
	topic     string
}

// NewLedger is an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{publishers: map[uint32][]entry{}, subscribers: map[string]*subscriber{}, waiting: map[uint32][]*subscriber{}, findings: findings{}}
}

// Subscribe says that a subscriber has to receive what is acknowledged to the publishers,
// and which share of messages with QoS 1 may come more than once: some come again after
// every kill, and +Inf is for a medium that loses acknowledgements. What all subscribers
// may have is judged together.
func (l *Ledger) Subscribe(name string, copies float64, publishers ...uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &subscriber{publishers: publishers, copies: copies, expects: map[uint32]bool{}, received: map[uint32][]uint16{}, last: map[stream]uint64{}}
	l.subscribers[name] = s
	for _, publisher := range publishers {
		s.expects[publisher] = true
		l.waiting[publisher] = append(l.waiting[publisher], s)
		for _, e := range l.publishers[publisher] {
			if e.acknowledged {
				l.missing++
			}
		}
	}
}

// Tolerate changes which share of messages with QoS 1 may come to a subscriber more than
// once.
func (l *Ledger) Tolerate(name string, copies float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers[name].copies = copies
}

// AtLeastOnce says that messages with QoS 2 may come twice, as often as those with QoS 1.
func (l *Ledger) AtLeastOnce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loose = true
}

// Attempt enters the next message of a publisher, which is about to be sent for the first
// time, and returns its sequence and payload.
func (l *Ledger) Attempt(publisher uint32, topic string, qos byte) (sequence uint64, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := append(l.publishers[publisher], entry{topic: topic, qos: qos})
	l.publishers[publisher] = list
	return uint64(len(list)), payloadOf(publisher, uint64(len(list)))
}

func payloadOf(publisher uint32, sequence uint64) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, sizeOfPayload), publisher)
	b = binary.BigEndian.AppendUint64(b, sequence)
	sum := sha256.Sum256(b)
	return append(b, sum[:8]...)
}

// Acknowledge says that the publisher has been told that its message is taken: PUBACK of
// a message with QoS 1, PUBREC of one with QoS 2.
func (l *Ledger) Acknowledge(publisher uint32, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(publisher, sequence)
	if e == nil {
		l.findings.add(Unattempted, "publisher %d was acknowledged %d", publisher, sequence)
		return
	}
	if !e.acknowledged {
		e.acknowledged = true
		for _, s := range l.waiting[publisher] {
			if s.copiesOf(publisher, sequence) == 0 {
				l.missing++
			}
		}
	}
	if l.Durable != nil && !l.Durable(publisher, sequence) {
		l.findings.add(TooEarly, "%d of publisher %d", sequence, publisher)
	}
}

// Receive says that a subscriber was given a message.
func (l *Ledger) Receive(name, topic string, qos byte, dup bool, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(payload) != sizeOfPayload {
		l.findings.add(Corrupt, "%s got %d octets under %s", name, len(payload), topic)
		return
	}
	publisher, sequence := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint64(payload[4:])
	e := l.entry(publisher, sequence)
	switch {
	case string(payload) != string(payloadOf(publisher, sequence)):
		l.findings.add(Corrupt, "%s got %x under %s", name, payload, topic)
		return
	case e == nil:
		l.findings.add(Unattempted, "%s got %d of publisher %d", name, sequence, publisher)
		return
	case e.topic != topic:
		l.findings.add(Corrupt, "%s got %d of publisher %d under %s and not %s", name, sequence, publisher, topic, e.topic)
		return
	}
	s := l.subscribers[name]
	if s == nil {
		return
	}
	if e.acknowledged && s.copiesOf(publisher, sequence) == 0 && s.expects[publisher] {
		l.missing--
	}
	l.note(s, name, stream{publisher, topic}, sequence, min(qos, e.qos), dup)
}

// copiesOf is how often a message was received.
func (s *subscriber) copiesOf(publisher uint32, sequence uint64) uint16 {
	if counts := s.received[publisher]; sequence <= uint64(len(counts)) {
		return counts[sequence-1]
	}
	return 0
}

// note counts an arrival, and finds copies with QoS 2 and what comes out of order.
func (l *Ledger) note(s *subscriber, name string, from stream, sequence uint64, qos byte, dup bool) {
	counts := s.received[from.publisher]
	if missing := int(sequence) - len(counts); missing > 0 {
		counts = append(counts, make([]uint16, missing)...)
		s.received[from.publisher] = counts
	}
	if counts[sequence-1]++; counts[sequence-1] > 1 {
		s.again[qos]++
		if dup {
			s.flagged++
		}
		if qos == 2 && !l.loose {
			l.findings.add(Duplicated, "%s got %d of publisher %d again", name, sequence, from.publisher)
		}
		return
	}
	s.first[qos]++
	if last := s.last[from]; sequence < last {
		l.findings.add(OutOfOrder, "%s got %d of publisher %d after %d", name, sequence, from.publisher, last)
	} else {
		s.last[from] = sequence
	}
}

// Counters are the gateway's own figures for the messages that it had for clients.
type Counters struct{ Received, Delivered, Returned, Dropped, Queued float64 }

func (c Counters) balanced() bool {
	return c.Received == c.Delivered+c.Returned+c.Dropped+c.Queued
}

// Count compares the gateway's counters with each other, at a time when nothing is under
// way: whatever was received has one fate.
func (l *Ledger) Count(c Counters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.balanced() {
		l.findings.add(Miscounted, "%+v", c)
	}
}

// Acknowledged is how many messages of each QoS were acknowledged so far.
func (l *Ledger) Acknowledged() (byQoS [3]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range l.publishers {
		for _, e := range list {
			if e.acknowledged {
				byQoS[e.qos]++
			}
		}
	}
	return byQoS
}

// Missing is how many acknowledged messages have not been received yet, each counted for
// each subscriber.
func (l *Ledger) Missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing
}

func (l *Ledger) eachMissing(fn func(name string, publisher uint32, sequence uint64)) {
	for name, s := range l.subscribers {
		for _, publisher := range s.publishers {
			for i, e := range l.publishers[publisher] {
				if sequence := uint64(i + 1); e.acknowledged && s.copiesOf(publisher, sequence) == 0 {
					fn(name, publisher, sequence)
				}
			}
		}
	}
}

func (l *Ledger) entry(publisher uint32, sequence uint64) *entry {
	list := l.publishers[publisher]
	if sequence == 0 || sequence > uint64(len(list)) {
		return nil
	}
	return &list[sequence-1]
}
