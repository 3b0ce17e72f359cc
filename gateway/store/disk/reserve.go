package disk

import "time"

// reserve is a file that takes space, to be given up when the disk is full: deleting needs
// to write, too. Until it can be made again the level is Full at least.
type reserve struct {
	there bool
	tried time.Time
}

// keepReserve makes the reserve if it is not there.
func (s *Store) keepReserve() {
	if s.reserve.there || time.Since(s.reserve.tried) < maxRetry {
		return
	}
	s.reserve.tried = time.Now()
	f, err := s.fs.Create(reserveFile, int64(s.options.SegmentSize))
	if err != nil {
		_ = s.fs.Remove(reserveFile) // it is tried again
		s.failed("cannot reserve space", err)
		s.setShort(true)
		return
	}
	_ = f.Close() // nothing was written
	s.reserve.there = true
	s.setShort(false)
}

// freeReserve gives its space up.
func (s *Store) freeReserve() {
	if !s.reserve.there {
		return
	}
	if err := s.fs.Remove(reserveFile); err != nil {
		s.failed("cannot give up the reserve", err)
		return
	}
	s.reserve.there, s.reserve.tried = false, time.Now()
	s.setShort(true)
}

func (s *Store) setShort(short bool) {
	if s.short == short {
		return // only this goroutine changes it
	}
	s.mu.Lock()
	s.short = short
	s.setLevel()
	s.mu.Unlock()
	if short {
		s.log.Error("store: the disk is full; new messages are refused until there is space again", "error", s.failure)
	} else {
		s.log.Info("store: the disk has space again")
	}
	s.notify()
}
