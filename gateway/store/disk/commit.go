package disk

import (
	"errors"
	"io/fs"
	"time"

	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

const (
	minRetry = 100 * time.Millisecond // after a failure, doubled each time
	maxRetry = 5 * time.Second

	keptOps = 4096 // groups up to that size are used again
	keptLen = 4 << 20

	keptNames = 100 // of files that are left over

	maxSegments = 1024 // beyond it the oldest is cleaned, and half of it makes new ones larger
	minSegment  = 64 << 10
	maxFrame    = 1 << 31 // offsets in a segment have 32 bits
)

// committer is what the goroutine of the store works with.
type committer struct {
	tail     *segment // that frames are appended to; nil: the next one goes to a new segment
	next     uint64   // number of the next segment
	sequence uint64   // of the last durable frame
	buffer   []byte   // the frame that is being written
	places   []place  // of the values in it
	spare    *group
	started  time.Time // the last commit
	failure  error     // the last one
	logged   time.Time // when it was logged
	litter   []string  // files of unfinished segments that could not be removed
	cleaner  cleaner
	reserve  reserve
	slowness slowness
}

// run is the goroutine that writes.
func (s *Store) run() {
	defer close(s.done)
	for s.await() {
		s.commit()
		s.keepReserve()
		s.clean()
	}
	for s.commit() {
	}
}

// await waits until there is something to do, and the time for the next commit has come.
// It returns false when the store is being closed.
func (s *Store) await() bool {
	if !s.cleaner.busy {
		var again <-chan time.Time
		if s.cleaner.blocked || !s.reserve.there {
			t := time.NewTimer(maxRetry)
			defer t.Stop()
			again = t.C
		}
		select {
		case <-s.wake:
		case <-again:
		case <-s.closing:
			return false
		}
	}
	return s.pause(s.options.SyncInterval - time.Since(s.started))
}

// pause waits, and returns false when the store is being closed.
func (s *Store) pause(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-s.closing:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.closing:
		return false
	}
}

// commit makes the open group durable, or the one that was left over. It returns false if
// there is none, or if it does not work while the store is being closed.
func (s *Store) commit() bool {
	s.mu.Lock()
	if s.flying == nil && s.open.used {
		s.flying = s.open
		s.open = s.spare
		if s.open == nil {
			s.open = new(group)
		}
		s.open.follow(s.flying)
		s.spare = nil
	}
	g := s.flying
	s.mu.Unlock()
	if g == nil {
		return false
	}
	s.started = time.Now()
	if len(g.ops) > 0 && !s.write(g) {
		return false
	}
	s.settle(g)
	if len(g.ops) <= keptOps {
		s.spare = g
	}
	return true
}

// write writes a group until it is durable.
func (s *Store) write(g *group) bool {
	s.encode(g)
	for wait := minRetry; !s.attempt(); wait = min(2*wait, maxRetry) {
		s.setFailing(true)
		if len(s.litter) > keptNames {
			_ = s.removeLitter() // so that it does not become too much
		}
		if !s.pause(wait) {
			return false
		}
	}
	s.setFailing(false)
	return true
}

func (s *Store) encode(g *group) {
	if cap(s.buffer) < frameHead || cap(s.buffer) > keptLen {
		s.buffer = make([]byte, frameHead)
	}
	s.buffer, s.places = appendOps(s.buffer[:frameHead], g.ops, s.places[:0])
}

// attempt writes the frame, if need be a second time: to a new segment, and with the space
// of the reserve.
func (s *Store) attempt() bool {
	for range 2 {
		err := s.append()
		if err == nil {
			return true
		}
		s.failed("cannot write", err)
		if isFull(err) {
			s.freeReserve()
		}
	}
	return false
}

// append writes the frame to the tail and syncs it. When that fails the tail is not
// written or synced again: what it had is durable, and nobody knows about the rest.
func (s *Store) append() error {
	size := int64(len(s.buffer))
	if size > maxFrame {
		return errors.New("the changes of one commit have more than 2 GiB")
	}
	if s.tail == nil || align(s.tail.end)+size > s.tail.size {
		if err := s.roll(size); err != nil {
			return err
		}
	}
	seg := s.tail
	s.tail = nil
	offset := align(seg.end)
	sealFrame(s.buffer, s.sequence+1, seg.seed)
	_, err := seg.file.WriteAt(s.buffer, offset)
	start := time.Now()
	if err == nil {
		err = seg.file.Sync()
	}
	if err != nil && planted.ResyncAfterEIO {
		err = seg.file.Sync()
	}
	took := time.Since(start)
	if err != nil {
		s.abandon(seg)
		return err
	}
	s.sequence++
	s.tail = seg
	if s.slowness.took(time.Now(), took) {
		s.log.Warn("store: the disk is slow: of the syncs of the last seconds more than one in a hundred took longer than a second; new clients are refused until it is faster", "last", took)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.end = offset + size
	s.stats.BytesWritten += uint64(size)
	s.stats.Syncs++
	s.stats.SyncTime += took
	s.stats.SyncMax = max(s.stats.SyncMax, took)
	return nil
}

// roll makes a new tail, which has room for a frame of that size.
func (s *Store) roll(size int64) error {
	number := s.next
	s.next++
	h := header{number: number, salt: s.salt, sequence: s.sequence + 1}
	s.mu.Lock()
	var last *segment
	if n := len(s.segments); n > 0 {
		last = s.segments[n-1]
		h.previous, h.end = last.number, last.end
	}
	space := max(int64(s.options.SegmentSize), s.logBytes()/(maxSegments/2))
	if s.short {
		space = minSegment // but room for some frames, or cleaning would get nowhere
	}
	space = max(align(space), blockSize+align(size))
	s.mu.Unlock()

	seg := &segment{number: number, seed: seed(s.salt, number), name: segmentName(number), end: blockSize, size: space}
	if err := s.makeSegment(seg, h); err != nil {
		s.removeUnfinished(seg)
		return err
	}
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.stats.BytesWritten += headerSize
	s.mu.Unlock()
	s.tail = seg
	if last != nil && last.size > align(last.end) {
		_ = last.file.Truncate(align(last.end)) // gives back space, nothing else depends on it
		last.size = align(last.end)
	}
	return nil
}

// makeSegment makes the file. It is durable with its header and its name before there is
// any frame in it.
func (s *Store) makeSegment(seg *segment, h header) (err error) {
	seg.file, err = s.fs.Create(seg.name, seg.size)
	if err != nil {
		return err
	}
	if _, err = seg.file.WriteAt(h.encode(), 0); err == nil {
		err = seg.file.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir()
	}
	if err != nil {
		seg.shut()
	}
	return err
}

// abandon removes a segment that cannot be written from the log if nothing is in it, so
// that a disk that fails for long does not make more and more of them.
func (s *Store) abandon(seg *segment) {
	if seg.end > blockSize {
		return
	}
	s.mu.Lock()
	s.segments = s.segments[:len(s.segments)-1]
	s.mu.Unlock()
	seg.shut()
	s.removeUnfinished(seg)
}

// removeUnfinished removes the file of a segment that nothing is in. Recovery knows it by
// the header of the next segment, which does not name it.
func (s *Store) removeUnfinished(seg *segment) {
	if err := s.fs.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.litter = append(s.litter, seg.name)
	}
}

// settle makes known that a group is durable. Its places are those of the last frame.
func (s *Store) settle(g *group) {
	s.mu.Lock()
	for i, op := range g.ops {
		r := g.of[i]
		r.at[g.slot] = 0
		if op.Value == nil {
			r.drop()
			s.index.sweep(op.Key, r)
			continue
		}
		start := s.tail.end - int64(len(s.buffer))
		r.put(s.tail, start+int64(s.places[i].offset), op.Value)
	}
	s.flying = nil
	s.stats.Commits++
	s.stats.Operations += uint64(len(g.ops))
	s.durable.Store(uint64(g.mark))
	s.setLevel()
	if s.open.used {
		s.signal() // the signal may have been for a group that the start has left over
	}
	s.mu.Unlock()
	s.notify()
}

// notify tells those who asked that something has changed.
func (s *Store) notify() {
	s.mu.Lock()
	tell := s.notified
	s.mu.Unlock()
	for _, fn := range tell {
		fn()
	}
}

func (s *Store) setFailing(failing bool) {
	if s.failing == failing {
		return // only this goroutine changes it
	}
	s.mu.Lock()
	s.failing = failing
	s.setLevel()
	s.mu.Unlock()
	if failing {
		s.log.Error("store: nothing becomes durable until the disk works again; acknowledgements wait", "error", s.failure)
	} else {
		s.log.Info("store: the disk works again")
	}
	s.notify()
}

// failed counts and logs that something did not work: each kind once in a minute.
func (s *Store) failed(what string, err error) {
	s.mu.Lock()
	s.stats.Failures++
	s.mu.Unlock()
	if s.failure == nil || s.failure.Error() != err.Error() || time.Since(s.logged) > time.Minute {
		s.log.Error("store: "+what, "error", err)
		s.logged = time.Now()
	}
	s.failure = err
}

var _ store.Store = (*Store)(nil)
