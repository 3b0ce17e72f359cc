package serial

import (
	"io"
	"sync/atomic"
	"time"
)

// writer writes to a port what the link has queued, at the pace of the line.
type writer struct {
	link *Link
	port port
	pace pace
	stop chan struct{} // closed: write nothing more
	done chan struct{} // closed: the writer has ended
	err  error         // why, valid after done; nil after stop

	began   time.Time
	taken   atomic.Int64 // packets that were taken from the medium and are not written, nor counted
	writing atomic.Int64 // 1 ns more than the time from began to the start of the present Write; 0: none
}

func newWriter(l *Link, p port) *writer {
	return &writer{
		link:  l,
		port:  p,
		pace:  newPace(l.o.Baud),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		began: time.Now(),
	}
}

// give hands the packets that are taken and not written to who counts them: the writer as
// sent, or who ends the port as lost. 0: the other was first.
func (w *writer) give() int { return int(w.taken.Swap(0)) }

// stuck reports whether a Write has lasted longer than any line takes for what the writer
// gives it.
func (w *writer) stuck() bool {
	since := w.writing.Load()
	return since != 0 && time.Since(w.began)-time.Duration(since) > writeTimeout
}

// writeTimeout is how long a Write may last before its port is given up.
const writeTimeout = 5 * time.Second

func (w *writer) run() {
	defer close(w.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var b []byte
	for {
		if d := w.pace.wait(time.Now()); d > 0 {
			timer.Reset(d)
			select {
			case <-timer.C:
			case <-w.stop:
				return
			}
		}
		select {
		case <-w.stop: // a Write after Close might reach another file with the same descriptor
			return
		default:
		}
		var n int
		var due time.Time
		if b, n, due = w.link.take(b[:0], w.pace.budget()); n == 0 {
			if !w.idle(timer, due) {
				return
			}
			continue
		}
		w.taken.Store(int64(n))
		if w.err = w.write(b); w.err != nil || w.give() == 0 {
			return // those that were not written are counted by who ends the port
		}
		w.link.counts.sent.Add(uint64(n))
		w.link.counts.sentOctets.Add(uint64(len(b)))
	}
}

// idle waits until there may be something to write; false after stop.
func (w *writer) idle(timer *time.Timer, due time.Time) bool {
	var expired <-chan time.Time
	if !due.IsZero() {
		timer.Reset(time.Until(due))
		expired = timer.C
	}
	select {
	case <-w.link.wake:
	case <-expired:
	case <-w.stop:
		return false
	}
	return true
}

func (w *writer) write(b []byte) error {
	for len(b) > 0 {
		start := time.Now()
		w.writing.Store(int64(start.Sub(w.began)) + 1)
		n, err := w.port.Write(b)
		w.writing.Store(0)
		if err != nil {
			return err
		}
		if n <= 0 {
			return io.ErrShortWrite
		}
		w.pace.wrote(start, time.Now(), n, w.port.Unsent())
		b = b[n:]
	}
	return nil
}
