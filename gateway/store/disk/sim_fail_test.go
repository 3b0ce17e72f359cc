package disk_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/simfs"
)

// failure is a way for an operation of the disk to fail.
type failure struct {
	kind  simfs.Fault
	stays bool // until the disk is healed
}

var failures = []failure{
	{simfs.IO, false}, {simfs.NoSpace, false}, {simfs.Torn, false},
	{simfs.IO, true}, {simfs.NoSpace, true}, {simfs.Torn, true},
}

func (f failure) String() string {
	if f.stays {
		return fmt.Sprintf("%v from there on", f.kind)
	}
	return f.kind.String()
}

// failAt plays a script, an operation of which fails. What is acknowledged then or later
// must outlast a crash; and all must become durable without another start once the disk
// works. It reports whether the script has ended before that operation.
func failAt(seed uint64, n int, f failure, open opener) (ended bool, err error) {
	s := newSim(seed, open)
	defer s.end()
	if f.stays {
		s.fs.FailFrom(n, f.kind)
	} else {
		s.fs.FailAt(n, f.kind)
	}
	if err := s.start(); err != nil {
		if errors.Is(err, errWrong) || s.fs.Ops() < n {
			return false, err
		}
		s.fs.Heal()
		f.stays = false
		if err := s.start(); err != nil {
			return false, fmt.Errorf("starting again: %w", err)
		}
	}
	s.play(60)
	ended = s.fs.Ops() < n
	if !ended && f.stays {
		if err := s.degraded(f); err != nil {
			return ended, err
		}
	}
	keep := keeps[s.pace.IntN(len(keeps))]
	switch s.pace.IntN(4) {
	case 0: // power is lost before the disk works again
		if err := s.crash(powerCut(keep)); err != nil {
			return ended, err
		}
	case 1: // the process is killed, and later the power is lost
		if err := s.crash((*simfs.FS).CrashKill); err != nil {
			return ended, err
		}
		if err := s.start(); err != nil {
			return ended, fmt.Errorf("after a kill: %w", err)
		}
		if err := s.crash(powerCut(keep)); err != nil {
			return ended, err
		}
	default: // it works again
		if f.stays {
			s.fs.Heal()
		}
		if err := s.settle(); err != nil {
			return ended, err
		}
		if s.acked != len(s.history) {
			return ended, wrong("%d of %d durable", s.acked, len(s.history))
		}
		if err := s.crash(powerCut(keep)); err != nil {
			return ended, err
		}
	}
	if err := s.start(); err != nil {
		return ended, fmt.Errorf("after a crash: %w", err)
	}
	return ended, s.goOn()
}

// degraded waits until the store says that it is, if something cannot become durable. A
// full disk may have room for it.
func (s *sim) degraded(f failure) error {
	s.apply()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if s.store.Level() == store.Degraded {
			s.note()
			return nil
		}
	}
	s.note()
	if s.acked == len(s.history) && f.kind == simfs.NoSpace {
		return nil
	}
	return wrong("the disk fails for two seconds, and the level is %v", s.store.Level())
}

func TestSimFailAtEachOperation(t *testing.T) {
	for _, f := range failures {
		t.Run(f.String(), func(t *testing.T) {
			n := 1
			for ended := false; !ended && !t.Failed(); n++ {
				synctest.Test(t, func(t *testing.T) {
					var err error
					if ended, err = failAt(uint64(n%8), n, f, openDisk); err != nil {
						t.Errorf("seed %d, operation %d: %v", n%8, n, err)
					}
				})
			}
			if n < 40 {
				t.Errorf("a script of %d operations tries little", n)
			}
		})
	}
}

// Once the disk is full nothing more is acknowledged, and once there is room all is.
func TestSimDiskFull(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(seed, openDisk)
			defer s.end()
			if err := s.start(); err != nil {
				t.Fatal(err)
			}
			s.play(10)
			s.fs.SetCapacity(int64(s.options.SegmentSize) * int64(3+seed%4))
			for range 50 {
				s.largest = 1200
				s.play(20)
				if s.store.Level() == store.Degraded {
					break
				}
			}
			if s.store.Level() != store.Degraded {
				return // it all fits in
			}
			if seed%2 == 0 {
				if err := s.crash(powerCut(keeps[seed/2%3])); err != nil {
					t.Fatal(err)
				}
				s.fs.SetCapacity(0)
				if err := s.start(); err != nil {
					t.Fatal(err)
				}
			} else {
				s.fs.SetCapacity(0)
				if err := s.settle(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.goOn(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A file that cannot be read at the start is not taken for an empty one: the store does not
// start, has everything all the same, or reports damage.
func TestSimUnreadable(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(5, openDisk)
			defer s.end()
			if err := s.start(); err != nil {
				t.Fatal(err)
			}
			s.play(60)
			if err := s.crash(powerCut(simfs.KeepNothing)); err != nil {
				t.Fatal(err)
			}
			s.fs.FailReadAt(n)
			err := s.start()
			reached = s.fs.Reads() >= n
			if errors.Is(err, errDamage) {
				return
			}
			if errors.Is(err, errWrong) {
				t.Fatalf("read %d: %v", n, err)
			}
			s.fs.Heal()
			if err != nil {
				if err := s.start(); err != nil {
					t.Fatalf("read %d: %v", n, err)
				}
			}
			if err := s.goOn(); err != nil {
				t.Fatalf("read %d: %v", n, err)
			}
		})
	}
}
