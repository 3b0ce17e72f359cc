package disk

import (
	"errors"
	"io/fs"
	"slices"

	"mqttsn-gateway/gateway/store"
)

const (
	// cleanBudget is how many octets of a segment are looked at between two commits, at
	// least: twice what was written, so that cleaning keeps up.
	cleanBudget = 256 << 10
	// leanLog is what the log may have on top of twice what is live.
	leanLog = 64 << 20
)

// cleaner is how far the oldest segments have been looked through.
type cleaner struct {
	segment *segment
	scanner scanner
	offset  int64
	until   store.Mark // when it is durable, nothing in what was looked at is needed
	list    []decoded
	force   uint64 // segments up to this one are to go, since something is wrong with them
	busy    bool   // there is more to do
	blocked bool   // it did not work, and is tried again later
}

// clean makes the log shorter if there is reason to. The oldest segment goes first, so what
// its deletions refer to is gone already. Records of it that still exist are put into the
// open group again; when they are durable, no record is left in it and its file is removed.
func (s *Store) clean() {
	c := &s.cleaner
	c.busy, c.blocked = false, false
	for budget := max(cleanBudget, 2*int64(len(s.buffer))); budget > 0; {
		seg, live := s.oldest()
		switch {
		case seg == nil:
			return
		case live == 0:
			if err := s.discard(seg); err != nil {
				s.failed("cannot remove a file", err)
				c.blocked = true
				return
			}
		case c.segment == nil || c.segment.number < seg.number:
			c.begin(seg)
		case c.offset < c.segment.end:
			budget -= s.move(c.segment)
		case s.waits():
			// Where space is short each segment has few frames, and becomes one. Unless
			// several become one together the log gets no shorter.
			next := s.following(c.segment)
			if !s.short || next == nil {
				c.busy = true
				return
			}
			c.begin(next)
		default:
			s.salvage(seg)
			c.busy = true
			return
		}
	}
	c.busy = true
}

// begin looks at a segment from its start.
func (c *cleaner) begin(seg *segment) {
	c.segment, c.offset = seg, blockSize
	c.scanner = scanner{file: seg.file, end: seg.end, seed: seg.seed}
}

// waits reports whether what was moved or replaced meanwhile is not durable yet.
func (s *Store) waits() bool { return s.Durable() < s.cleaner.until }

// following is the segment after one; nil if that is the last one, which is written to.
func (s *Store) following(seg *segment) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.segments, seg) + 1
	if i <= 0 || i >= len(s.segments)-1 {
		return nil
	}
	return s.segments[i]
}

// oldest is the segment that is to be cleaned, and how many records are in it; nil if the
// log is short enough, or a group is still to be written.
func (s *Store) oldest() (*segment, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) < 2 || s.flying != nil { // a record in the index may be an old one
		return nil, 0
	}
	seg, size := s.segments[0], int64(s.options.SegmentSize)
	lean := max(4*size, min(leanLog, 16*size))
	if s.short {
		lean = size // there is no space to be generous
	}
	if seg.number <= s.cleaner.force || len(s.segments) > maxSegments || s.logBytes() > lean+2*s.bytes {
		return seg, seg.live
	}
	return nil, 0
}

// move puts the records of the next frame that exist into the open group, and returns how
// many octets it has gone on.
func (s *Store) move(seg *segment) int64 {
	c := &s.cleaner
	start := c.offset
	f, ok := c.scanner.frame(c.offset)
	if !ok {
		if !seg.damaged {
			s.damage(seg, Damage{Offset: c.offset})
		}
		if f, ok = c.scanner.find(c.offset+blockSize, 0); !ok {
			c.offset = seg.end
			return c.offset - start
		}
	}
	list, _ := decodeOps(c.list[:0], f.ops, func(b []byte) string { return string(b) })
	s.mu.Lock()
	for _, d := range list {
		r := s.index.get(d.Key)
		if r != nil && s.open.get(r) == nil && r.segment == seg && int64(r.offset) == f.offset+int64(d.offset) {
			s.moveRecord(d.Key, r, d.Value)
		}
	}
	c.until = s.open.mark
	if !s.open.used {
		c.until--
	}
	s.mu.Unlock()
	clear(list)
	c.list = list
	c.offset = f.next()
	return c.offset - start
}

// moveRecord puts a record into the open group as it is. The caller holds mu.
func (s *Store) moveRecord(k store.Key, r *record, value []byte) {
	s.open.set(r, store.Op{Key: k, Value: s.open.copy(value)})
	s.open.used = true
	s.signal()
}

// salvage is for a segment that has gone bad while it was in use: it looks for each record
// that the index has there, and gives up those that cannot be read.
func (s *Store) salvage(seg *segment) {
	left := make(map[store.Key]entry)
	s.mu.Lock()
	for space := range s.index.spaces {
		for n, r := range s.index.spaces[space] {
			if r.segment == seg {
				left[store.Key{Space: store.Space(space), Client: n.client, Number: n.number}] = r.entry
			}
		}
	}
	s.mu.Unlock()
	lost := 0
	for k, e := range left {
		value, err := e.read([]byte{})
		s.mu.Lock()
		switch r := s.index.get(k); {
		case r == nil || s.open.get(r) != nil: // it was changed meanwhile
		case err == nil:
			s.moveRecord(k, r, value)
		default:
			s.discount(k, r)
			r.drop()
			s.index.sweep(k, r)
			lost++
		}
		s.mu.Unlock()
	}
	if lost > 0 {
		s.log.Error("store: records are lost", "file", seg.name+keptSuffix, "records", lost)
	}
}

// discard removes the oldest segment, or keeps its file under another name if it is
// damaged. It is gone for good before the next one goes, for there may be deletions in that
// one of records in this one.
func (s *Store) discard(seg *segment) error {
	if err := s.removeLitter(); err != nil {
		return err
	}
	seg.shut()
	var err error
	if seg.damaged {
		err = s.fs.Rename(seg.name, seg.name+keptSuffix)
	} else {
		err = s.fs.Remove(seg.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.fs.SyncDir(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append([]*segment(nil), s.segments[1:]...)
	s.stats.BytesCleaned += uint64(seg.end)
	return nil
}

// removeLitter removes the files of unfinished segments for good. It comes before the
// segments after them go, whose headers tell what they are.
func (s *Store) removeLitter() error {
	if len(s.litter) == 0 {
		return nil
	}
	for _, name := range s.litter {
		if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.fs.SyncDir(); err != nil {
		return err
	}
	s.litter = nil
	return nil
}

// damage reports what is wrong with a segment, and has the log cleaned up to it.
func (s *Store) damage(seg *segment, d Damage) {
	seg.damaged = true
	d.File = segmentName(seg.number) + keptSuffix
	s.report(d)
	s.cleaner.force = max(s.cleaner.force, seg.number)
}

func (s *Store) report(d Damage) {
	s.mu.Lock()
	s.stats.Damages = append(s.stats.Damages, d)
	s.mu.Unlock()
	s.log.Error("store: a file is damaged; what can be read of it is kept", "file", d.File, "offset", d.Offset, "lost_from", d.From, "lost_to", d.To)
}
