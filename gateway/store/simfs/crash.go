package simfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Keep says what of the un-synced a power cut leaves.
type Keep byte

// What a power cut may leave.
const (
	// KeepNothing leaves what was synced.
	KeepNothing Keep = iota
	// Random leaves of each write nothing, everything, its first sectors or any of them,
	// and any of the changes of the directory.
	Random
	// KeepAll leaves everything.
	KeepAll
)

// String is its name.
func (k Keep) String() string { return [...]string{"nothing", "random", "all"}[k] }

// Crash returns the directory after a power cut. What was opened in this one is dead.
func (s *FS) Crash(keep Keep) *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.next()
	after.files = s.entriesLeft(keep)
	left := make(map[*inode]*inode) // a file may have two names, or none
	for _, name := range slices.Sorted(maps.Keys(after.files)) {
		f := after.files[name]
		if left[f] == nil {
			data := f.left(func(c change) []change { return s.partsLeft(c, keep) })
			left[f] = &inode{name: name, data: data, safe: data, shared: true}
		}
		after.files[name] = left[f]
	}
	after.safe = maps.Clone(after.files)
	return after
}

// CrashKill returns the directory after the process was killed: as it was, and what was not
// synced still is not. What was opened in this one is dead.
func (s *FS) CrashKill() *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.next()
	after.files, after.safe, after.moves = s.files, s.safe, s.moves
	return after
}

// next ends this directory and starts the one after it.
func (s *FS) next() *FS {
	s.dead = true
	after := &FS{capacity: s.capacity}
	after.start(rand.New(rand.NewPCG(s.random.Uint64(), s.random.Uint64())))
	return after
}

// entriesLeft is what a power cut leaves of the directory.
func (s *FS) entriesLeft(keep Keep) map[string]*inode {
	left := maps.Clone(s.safe)
	moves := s.moves
	// File systems with a journal lose the last changes only, others any.
	journal := s.random.IntN(2) == 0
	switch {
	case keep == KeepNothing:
		moves = nil
	case keep == Random && journal:
		moves = moves[:s.random.IntN(len(moves)+1)]
	}
	for _, m := range moves {
		if keep == Random && !journal && s.random.IntN(2) == 0 {
			continue
		}
		delete(left, m.unset)
		if m.set != "" {
			left[m.set] = m.file
		}
	}
	return left
}

// partsLeft is what a power cut leaves of one change.
func (s *FS) partsLeft(c change, keep Keep) []change {
	if c.fate == synced || keep == KeepAll {
		return []change{c}
	}
	if keep == KeepNothing {
		return nil
	}
	switch parts := c.sectors(); s.random.IntN(4) {
	case 0:
		return nil
	case 1:
		return parts
	case 2:
		return parts[:s.random.IntN(len(parts)+1)]
	default:
		var some []change
		for _, p := range parts {
			if s.random.IntN(2) == 0 {
				some = append(some, p)
			}
		}
		return some
	}
}
