package upstream

import (
	"errors"
	"io"
	"time"
)

const (
	// robberies is how many lines in a row have to be taken from a client before it
	// counts as connected elsewhere.
	robberies = 3
	// robbedLife is how long such a line lives at most: the other side's pause between
	// two attempts is seconds by then.
	robbedLife = 30 * time.Second
)

// robbery recognises a client that has connected elsewhere although the broker does not
// say so: Mosquitto 2.0.11 just closes the older connection. We then take the client id
// back by reconnecting, and lose it again as the other side does the same. The line of
// the side that the client is with was made by a CONNECT of the client, ours was made
// again; so it is us who give in.
//
// All of this is required: the broker has closed the connection, in order, three times in
// a row; each time it was one that we had made again, and was young; all the time the
// probe's connection was untouched, and no client lost a line for another reason; and it
// happens to few clients at a time.
type robbery struct {
	count    int
	since    time.Time
	innocent uint64 // counts.innocent when it began
}

// by takes the loss of a line into account, and reports whether that settles it.
func (r *robbery) by(l *line, why error, b *Broker) bool {
	if !errors.Is(why, io.EOF) || !l.again || time.Since(l.born) >= robbedLife {
		b.counts.innocent.Add(1)
		r.forget(b)
		return false
	}
	if innocent := b.counts.innocent.Load(); r.count == 0 || r.innocent != innocent {
		r.forget(b)
		b.counts.robbed.Add(1)
		*r = robbery{since: l.born, innocent: innocent}
	}
	r.count++
	return r.count >= robberies && b.gate.steady(r.since) && b.fewRobbed()
}

func (r *robbery) forget(b *Broker) {
	if r.count > 0 {
		b.counts.robbed.Add(-1)
	}
	*r = robbery{}
}

// fewRobbed reports whether it happens to a tenth of the clients at most: else it is the
// broker that drops connections.
func (b *Broker) fewRobbed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return 10*b.counts.robbed.Load() <= int64(len(b.sessions))+10
}
