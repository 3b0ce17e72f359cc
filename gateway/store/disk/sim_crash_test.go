package disk_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/gateway/store/simfs"
)

var keeps = []simfs.Keep{simfs.KeepNothing, simfs.Random, simfs.KeepAll}

// crashAt plays a script up to an operation of the disk, crashes there in each way, and
// looks at what is left; and the same once more with a second crash while the store starts.
// It reports whether the script has come to its end before.
func crashAt(seed uint64, n int, open opener) (ended bool, err error) {
	s := newSim(seed, open)
	defer s.end()
	s.largest = 12000 // so that segments are cleaned
	s.fs.StopAt(n)
	if err := s.start(); err == nil {
		s.play(200)
	} else if errors.Is(err, errWrong) {
		return false, err
	}
	ended = !s.fs.Stopped()
	if err := s.crash(func(fs *simfs.FS) *simfs.FS { return fs }); err != nil {
		return ended, err
	}
	for i, keep := range keeps {
		starts, err := s.left(keep).recovers()
		if err == nil && (n+i)%len(keeps) == int(seed)%len(keeps) {
			err = s.left(keep).recoversLater(starts, n)
		}
		if err != nil {
			return ended, fmt.Errorf("keeping %v: %w", keep, err)
		}
	}
	return ended, nil
}

// recovers starts a store after a crash, and says how many operations that has taken.
func (s *sim) recovers() (operations int, err error) {
	defer s.end()
	if err := s.start(); err != nil {
		return 0, err
	}
	operations = s.fs.Ops()
	return operations, s.goOn()
}

// recoversLater crashes a few times more, at operations of the start if there are so many.
func (s *sim) recoversLater(operations, n int) error {
	defer s.end()
	for again := range 3 {
		s.fs.StopAt(1 + (n/3+again)%(operations+1))
		if err := s.start(); err == nil {
			s.play(4)
		} else if errors.Is(err, errWrong) {
			return fmt.Errorf("crash %d while it starts: %w", again+1, err)
		}
		if err := s.crash(powerCut(keeps[(n/9+again)%len(keeps)])); err != nil {
			return err
		}
	}
	if err := s.start(); err != nil {
		return fmt.Errorf("after more crashes: %w", err)
	}
	return s.goOn()
}

// left is a copy of a sim after a power cut.
func (s *sim) left(keep simfs.Keep) *sim {
	after := newSim(s.random.Uint64(), s.open)
	after.options, after.history, after.acked = s.options, s.history[:len(s.history):len(s.history)], s.acked
	after.fs = s.fs.Crash(keep)
	return after
}

// meansSomething plays the script to its end and looks whether it goes through everything.
func meansSomething(t *testing.T, seed uint64) {
	s := newSim(seed, openDisk)
	defer s.end()
	s.largest = 12000
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.play(200)
	if st := s.store.(*disk.Store).Stats(); st.BytesCleaned == 0 || st.Commits < 50 || s.fs.Ops() < 200 {
		t.Errorf("a script of %d operations, %d commits, %d octets cleaned tries little", s.fs.Ops(), st.Commits, st.BytesCleaned)
	}
}

// After a crash at any operation the store starts again, and has what it has acknowledged.
func TestSimCrashAtEachOperation(t *testing.T) {
	for seed := range uint64(*crashScripts) { // 3 have each kind of second crash at each operation
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { meansSomething(t, seed) })
			n := 1
			for ended := false; !ended && !t.Failed(); n++ {
				synctest.Test(t, func(t *testing.T) {
					var err error
					if ended, err = crashAt(seed, n, openDisk); err != nil {
						t.Errorf("seed %d, operation %d: %v", seed, n, err)
					}
				})
			}
		})
	}
}
