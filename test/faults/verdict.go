package faults

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Fault is a promise that was not kept, by its name.
type Fault string

// The faults that a [Ledger] finds.
const (
	Lost        Fault = "lost"            // acknowledged to the publisher, and never received
	Duplicated  Fault = "duplicated"      // received twice with QoS 2, or too often with QoS 1
	OutOfOrder  Fault = "out of order"    // first received after a later message of the same topic
	Corrupt     Fault = "corrupt"         // not what anybody has sent, or under another topic
	Unattempted Fault = "never attempted" // well formed, and yet nobody has sent it
	TooEarly    Fault = "too early"       // acknowledged before it was durable
	Miscounted  Fault = "miscounted"      // received != delivered + returned + dropped + queued
)

// findings are the faults found so far: how many of each kind, and the first few.
type findings map[Fault]finding

type finding struct {
	count int
	notes []string
}

// notesOfAFault is how many of one kind are told in full.
const notesOfAFault = 5

func (f findings) add(kind Fault, format string, args ...any) {
	old := f[kind]
	old.count++
	if len(old.notes) < notesOfAFault {
		old.notes = append(old.notes[:len(old.notes):len(old.notes)], fmt.Sprintf(format, args...))
	}
	f[kind] = old
}

// Verdict is what a ledger says of a run.
type Verdict struct {
	findings findings
	figures  []string
}

// Judge says what was found, once all that can arrive has arrived. It changes nothing, so
// it may be asked again.
func (l *Ledger) Judge() Verdict {
	acknowledged := l.Acknowledged()
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{findings: maps.Clone(l.findings)}
	l.eachMissing(func(name string, publisher uint32, sequence uint64) {
		v.findings.add(Lost, "%s did not get %d of publisher %d", name, sequence, publisher)
	})
	v.figures = append(v.figures, fmt.Sprintf("acknowledged %d with QoS 1, %d with QoS 2", acknowledged[1], acknowledged[2]))
	var first, again, judged [3]int
	var allowed [3]float64
	flagged := 0
	for _, name := range slices.Sorted(maps.Keys(l.subscribers)) {
		s := l.subscribers[name]
		for qos := range first {
			if !math.IsInf(s.copies, 1) {
				judged[qos] += s.again[qos]
				allowed[qos] += s.copies * float64(s.first[qos])
			}
			first[qos] += s.first[qos]
			again[qos] += s.again[qos]
		}
		flagged += s.flagged
	}
	for qos := range first {
		if (qos < 2 || l.loose) && float64(judged[qos]) > allowed[qos] {
			v.findings.add(Duplicated, "%d copies of messages with QoS %d, and %.0f are allowed", judged[qos], qos, allowed[qos])
		}
	}
	v.figures = append(v.figures, fmt.Sprintf("%d subscribers received %d with QoS 1 and %d copies (%d with DUP), %d with QoS 2 and %d copies",
		len(l.subscribers), first[1], again[1], flagged, first[2], again[2]))
	return v
}

// Count is how often a fault was found.
func (v Verdict) Count(kind Fault) int { return v.findings[kind].count }

// Good reports whether nothing was found.
func (v Verdict) Good() bool { return len(v.findings) == 0 }

// String has the figures of the run, and what was found.
func (v Verdict) String() string {
	var b strings.Builder
	b.WriteString(strings.Join(v.figures, "; "))
	for _, kind := range slices.Sorted(maps.Keys(v.findings)) {
		f := v.findings[kind]
		fmt.Fprintf(&b, "\n%d %s: %s", f.count, kind, strings.Join(f.notes, "; "))
		if f.count > len(f.notes) {
			b.WriteString("; ...")
		}
	}
	return b.String()
}
