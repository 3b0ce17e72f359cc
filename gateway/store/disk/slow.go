package disk

import (
	"sync/atomic"
	"time"
)

// A disk whose syncs take long has too much to do, or is about to fail. When more than one
// sync in a hundred has taken longer than slowSync, in a time of slowWindow, the store is
// Crowded until the disk has been faster in another one, or has had nothing to do.
const (
	slowSync   = time.Second
	slowWindow = 10 * time.Second
)

// slowness counts the syncs of a window. It belongs to the committing goroutine, but for
// until.
type slowness struct {
	since, last time.Time // the window's begin, the last sync
	syncs, slow int
	until       atomic.Int64 // the disk is slow up to this instant, in Unix nanoseconds; 0: it is not
}

// took is told that a sync has ended, and reports whether the disk has become slow.
func (w *slowness) took(now time.Time, d time.Duration) (became bool) {
	if begin := now.Add(-d); begin.Sub(w.last) > slowWindow { // it had nothing to do
		w.since, w.syncs, w.slow = begin, 0, 0
	}
	w.last = now
	w.syncs++
	if d > slowSync {
		w.slow++
	}
	if now.Sub(w.since) < slowWindow {
		return false
	}
	var until int64
	if w.slow*100 > w.syncs {
		until = now.Add(slowWindow + slowWindow/2).UnixNano()
	}
	was := w.is(now)
	w.until.Store(until)
	w.since, w.syncs, w.slow = now, 0, 0
	return until != 0 && !was
}

// is reports whether the disk is slow. It may be called from any goroutine.
func (w *slowness) is(now time.Time) bool { return now.UnixNano() < w.until.Load() }

// any reports whether the disk was slow lately, without a look at the clock.
func (w *slowness) any() bool { return w.until.Load() != 0 }
