package gateway_test

import (
	"fmt"
	"strings"
	"time"

	"mqttsn-gateway/mqttsn"
)

// journal is what somebody has lived through lately, to be read when something is wrong: a
// seed does not give the same history twice.
type journal struct{ entries []entry }

type entry struct {
	at     time.Duration // since the start
	what   string
	packet []byte // or nil
}

const journalLength = 400

func (j *journal) add(w *everything, what string, packet []byte) {
	if w.calm && len(packet) > 1 && (packet[1] == byte(mqttsn.TypePingreq) || packet[1] == byte(mqttsn.TypePingresp)) {
		return // of them there are too many
	}
	if len(j.entries) == journalLength {
		j.entries = append(j.entries[:0], j.entries[journalLength/4:]...)
	}
	j.entries = append(j.entries, entry{time.Since(w.start), what, packet})
}

// note puts into all journals what happens to everybody.
func (w *everything) note(what string) {
	for _, g := range w.gadgets {
		g.journal.add(w, what, nil)
	}
}

// wrong reports what is wrong with somebody, and what he has lived through.
func (w *everything) wrong(a *account, format string, args ...any) {
	w.Helper()
	w.Errorf(format+"\n%s", append(args, a.journal.String())...)
}

func (j *journal) String() string {
	var b strings.Builder
	for _, e := range j.entries {
		fmt.Fprintf(&b, "%12v %s", e.at.Round(time.Millisecond), e.what)
		if e.packet != nil {
			if p, err := mqttsn.Decode(e.packet); err != nil {
				fmt.Fprintf(&b, " %x: %v", e.packet, err)
			} else {
				fmt.Fprintf(&b, " %v %+v", p.Type(), p)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
