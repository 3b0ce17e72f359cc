package disk

// replay reads segments into the index.
type replay struct {
	*Store
	last     uint64 // sequence of the last frame
	known    bool   // last is
	previous *found // the segment before
	end      int64  // of the last frame of this one
	held     held   // the last frame, which is not taken over until another one follows
	damages  []*Damage
	pending  *Damage           // the last of them, until it is known what is missing
	clients  map[string]string // each client id once
	list     []decoded
}

// held is a frame that may not be durable.
type held struct {
	frame
	file   *found
	before int64 // where the frame before it ends
}

// read takes over one segment.
func (r *replay) read(f *found) {
	salt := r.salt
	if f.whole {
		salt = f.header.salt
	}
	f.seed = seed(salt, f.number)
	r.end = blockSize
	r.readHeader(f)
	s := scanner{file: f.file, end: f.end, seed: f.seed}
	for offset := int64(blockSize); offset < f.end; {
		fr, ok := s.frame(offset)
		if !ok {
			after := uint64(0)
			if r.known {
				after = r.last
			}
			if fr, ok = s.find(offset+blockSize, after); !ok && r.mayEnd(f) {
				r.leaveOut(f, &s, offset)
				f.end = r.end
				break
			}
			r.damage(f, offset)
			if !ok {
				break
			}
		}
		r.accept(f, fr)
		offset = fr.next()
	}
	if !f.exact {
		f.end = r.end
	}
	r.previous = f
}

// mayEnd reports whether a segment may end where no valid frame follows: if it is the last
// one, or if the next one begins with the frame that was here, see finish.
func (r *replay) mayEnd(f *found) bool {
	return !f.exact || r.known && f.next <= r.last+1
}

// leaveOut tells of an end that is not a clean one.
func (r *replay) leaveOut(f *found, s *scanner, offset int64) {
	if !s.blank(offset) {
		r.log.Info("store: the last commit was not finished, and is left out", "file", f.name, "offset", offset)
	}
}

// readHeader looks for what is missing before a segment.
func (r *replay) readHeader(f *found) {
	if !f.whole {
		r.damage(f, 0)
		return
	}
	if p := r.previous; p != nil && f.header.previous != p.number {
		r.pending = &Damage{File: segmentName(f.header.previous)}
		r.damages = append(r.damages, r.pending)
		r.cleaner.force = p.number // then nothing is missing between those that are left
	}
	if first := f.header.sequence; first > 0 {
		if r.known && first > r.last+1 {
			r.gap(f, 0, first)
		}
		if r.held.file == nil {
			// A segment without frames may be followed by one that starts with the frame
			// before it: a start writes the last frame again, and that of before may have
			// been cleaned up since.
			r.last = first - 1
		}
		r.last, r.known = max(r.last, first-1), true
	}
}

// accept holds a frame, and takes over the one before it. A frame that stands in the log
// twice is taken once.
func (r *replay) accept(f *found, fr frame) {
	if r.known && fr.sequence <= r.last {
		return
	}
	if r.known && fr.sequence > r.last+1 {
		r.gap(f, fr.offset, fr.sequence)
	}
	r.last, r.known, r.pending = fr.sequence, true, nil
	if r.held.file != nil {
		r.install(r.held.file, r.held.frame)
	}
	fr.ops = append(r.held.ops[:0], fr.ops...)
	r.held = held{fr, f, r.end}
	r.end = fr.end()
}

// install puts what a frame has into the index.
func (r *replay) install(f *found, fr frame) {
	for _, d := range r.decode(f, fr) {
		rec := r.index.of(d.Key)
		r.discount(d.Key, rec)
		if d.Value == nil {
			rec.drop()
			r.index.sweep(d.Key, rec)
			continue
		}
		rec.put(f.segment, fr.offset+int64(d.offset), d.Value)
		r.records++
		r.bytes += cost(d.Key, len(d.Value))
	}
}

func (r *replay) decode(f *found, fr frame) []decoded {
	list, err := decodeOps(r.list[:0], fr.ops, r.intern)
	if err != nil {
		r.damage(f, fr.offset)
		r.pending.From, r.pending.To, r.pending = fr.sequence, fr.sequence, nil
		list = list[:0]
	}
	r.list = list
	return list
}

func (r *replay) intern(b []byte) string {
	s, ok := r.clients[string(b)]
	if !ok {
		s = string(b)
		r.clients[s] = s
	}
	return s
}

// damage notes that a segment is damaged at an offset. What is missing shows later.
func (r *replay) damage(f *found, offset int64) {
	if f.damaged && r.pending != nil && r.pending.Offset == 0 && offset == blockSize {
		return // the header and what follows it are one damage
	}
	f.damaged = true
	r.cleaner.force = f.number
	r.pending = &Damage{File: f.name + keptSuffix, Offset: offset}
	r.damages = append(r.damages, r.pending)
}

// gap notes that the frames between the last one and the next are missing.
func (r *replay) gap(f *found, offset int64, next uint64) {
	if r.pending == nil {
		r.damage(f, offset)
	}
	r.pending.From, r.pending.To = r.last+1, next-1
	r.pending = nil
}

// finish reports what was found, and makes the held frame durable again, in a new segment.
// It may never have been: the process may have ended before it was synced, or the sync may
// have failed, and then another sync of that file says nothing. All frames before it were
// synced, or it would not be there. Where it stands now it counts until then, so the header
// of the new segment names the end of the frame. If the disk does not work now, it is tried
// again later.
func (r *replay) finish() {
	for _, d := range r.damages {
		r.report(*d)
	}
	s := r.Store
	s.sequence = r.last
	if r.held.file == nil {
		return
	}
	s.sequence--
	for _, d := range r.decode(r.held.file, r.held.frame) {
		s.apply(d.Op)
		if d.Value == nil {
			s.open.set(s.index.of(d.Key), d.Op) // also if there is nothing to delete: the frame is the same
		}
	}
	s.flying, s.open = s.open, new(group)
	s.open.follow(s.flying)
	s.encode(s.flying)
	if !s.attempt() {
		s.setFailing(true)
		s.signal()
		return
	}
	if f := r.held.file; f.end == r.held.end() {
		f.end = r.held.before
	}
	s.settle(s.flying)
}
