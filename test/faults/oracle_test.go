package faults

import (
	"strings"
	"testing"
)

// told is a ledger of one publisher, 7, with a message of QoS 1 and two of QoS 2, which
// are acknowledged, and two subscribers of it.
func told() (l *Ledger, payloads [][]byte) {
	l = NewLedger()
	l.Subscribe("sub", 0.05, 7)
	l.Subscribe("other", 0.05, 7)
	for _, qos := range []byte{1, 2, 2} {
		sequence, payload := l.Attempt(7, "t", qos)
		l.Acknowledge(7, sequence)
		payloads = append(payloads, payload)
	}
	for _, payload := range payloads {
		l.Receive("other", "t", 2, false, payload)
	}
	return l, payloads
}

// TestOracleFindsEachFault: a ledger in which one thing is wrong has that fault and no
// other one.
func TestOracleFindsEachFault(t *testing.T) {
	receive := func(l *Ledger, payloads ...[]byte) {
		for _, payload := range payloads {
			l.Receive("sub", "t", 2, false, payload)
		}
	}
	for name, c := range map[string]struct {
		want Fault
		tell func(l *Ledger, p [][]byte)
	}{
		"nothing": {"", func(l *Ledger, p [][]byte) { receive(l, p...) }},
		"received without acknowledgement": {"", func(l *Ledger, p [][]byte) {
			_, more := l.Attempt(7, "t", 2)
			receive(l, append(p, more)...)
		}},
		"refused and not received": {"", func(l *Ledger, p [][]byte) {
			l.Attempt(7, "t", 2)
			receive(l, p...)
		}},
		"orders of two topics": {"", func(l *Ledger, p [][]byte) {
			_, one := l.Attempt(7, "t", 1)
			_, two := l.Attempt(7, "u", 1)
			l.Receive("sub", "u", 1, false, two)
			receive(l, append(p, one)...)
		}},
		"lost":         {Lost, func(l *Ledger, p [][]byte) { receive(l, p[0], p[1]) }},
		"lost between": {Lost, func(l *Ledger, p [][]byte) { receive(l, p[0], p[2]) }},
		"lost by one subscriber of all": {Lost, func(l *Ledger, p [][]byte) {
			l.Subscribe("third", 0, 7)
			receive(l, p...)
		}},
		"twice with QoS 2":               {Duplicated, func(l *Ledger, p [][]byte) { receive(l, p[0], p[1], p[1], p[2]) }},
		"late copy with QoS 2":           {Duplicated, func(l *Ledger, p [][]byte) { receive(l, p[0], p[1], p[2], p[1]) }},
		"too many copies, at least once": {Duplicated, func(l *Ledger, p [][]byte) { l.AtLeastOnce(); receive(l, p[0], p[1], p[1], p[2]) }},
		"too many copies with QoS 1":     {Duplicated, func(l *Ledger, p [][]byte) { receive(l, p[0], p[0], p[1], p[2]) }},
		"out of order":                   {OutOfOrder, func(l *Ledger, p [][]byte) { receive(l, p[0], p[2], p[1]) }},
		"a changed octet":                {Corrupt, func(l *Ledger, p [][]byte) { receive(l, append(p, changed(p[1], 11))...) }},
		"a changed check":                {Corrupt, func(l *Ledger, p [][]byte) { receive(l, append(p, changed(p[1], 19))...) }},
		"cut short":                      {Corrupt, func(l *Ledger, p [][]byte) { receive(l, append(p, p[1][:19])...) }},
		"another topic":                  {Corrupt, func(l *Ledger, p [][]byte) { receive(l, p...); l.Receive("sub", "u", 1, false, p[0]) }},
		"never attempted":                {Unattempted, func(l *Ledger, p [][]byte) { receive(l, append(p, payloadOf(7, 99))...) }},
		"of an unknown publisher":        {Unattempted, func(l *Ledger, p [][]byte) { receive(l, append(p, payloadOf(8, 1))...) }},
		"acknowledged what is not":       {Unattempted, func(l *Ledger, p [][]byte) { receive(l, p...); l.Acknowledge(7, 4) }},
		"acknowledged early":             {TooEarly, acknowledgeEarly},
		"counters that do not add up":    {Miscounted, func(l *Ledger, p [][]byte) { receive(l, p...); l.Count(Counters{Received: 3, Delivered: 2}) }},
		"counters that add up": {"", func(l *Ledger, p [][]byte) {
			receive(l, p...)
			l.Count(Counters{Received: 10, Delivered: 4, Returned: 3, Dropped: 2, Queued: 1})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, payloads := told()
			c.tell(l, payloads)
			v := l.Judge()
			if v.Good() != (c.want == "") || len(v.findings) > 1 || c.want != "" && v.Count(c.want) == 0 {
				t.Errorf("want %q, found: %s", c.want, v)
			}
			if c.want != "" && !strings.Contains(v.String(), string(c.want)) {
				t.Errorf("the verdict does not tell %q: %s", c.want, v)
			}
			if again := l.Judge(); again.String() != v.String() {
				t.Errorf("asked again the ledger says: %s", again)
			}
		})
	}
}

func acknowledgeEarly(l *Ledger, p [][]byte) {
	for _, payload := range p {
		l.Receive("sub", "t", 2, false, payload)
	}
	l.Durable = func(_ uint32, sequence uint64) bool { return sequence < 5 }
	for range 2 {
		sequence, payload := l.Attempt(7, "t", 1)
		l.Acknowledge(7, sequence)
		l.Receive("sub", "t", 1, false, payload)
		l.Receive("other", "t", 1, false, payload)
	}
}

func changed(payload []byte, octet int) []byte {
	b := []byte(string(payload))
	b[octet] ^= 1
	return b
}

// TestOracleCounts: what is missing is counted for each subscriber, and a few copies with
// QoS 1 are no fault.
func TestOracleCounts(t *testing.T) {
	l := NewLedger()
	l.Subscribe("a", 0.05, 1)
	l.Subscribe("b", 0.05, 1)
	for i := range 100 {
		sequence, payload := l.Attempt(1, "t", 1)
		l.Acknowledge(1, sequence)
		l.Receive("a", "t", 1, false, payload)
		if i < 5 {
			l.Receive("a", "t", 1, true, payload)
		}
	}
	if n := l.Missing(); n != 100 {
		t.Errorf("%d are missing, want the 100 of b", n)
	}
	l.Receive("b", "t", 1, false, payloadOf(1, 7))
	if n := l.Missing(); n != 99 {
		t.Errorf("%d are missing, want 99 of b", n)
	}
	if got := l.Acknowledged(); got != [3]int{0, 100, 0} {
		t.Errorf("acknowledged %v", got)
	}
	if v := l.Judge(); v.Count(Lost) != 99 || v.Count(Duplicated) != 0 {
		t.Errorf("found: %s", v)
	}
}
