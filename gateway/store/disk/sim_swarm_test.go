package disk_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/store/simfs"
)

var (
	crashScripts = flag.Int("sim.scripts", 1, "scripts of TestSimCrashAtEachOperation")
	swarmRuns    = flag.Int("sim.runs", 400, "random runs of the store on a simulated disk")
	swarmSeed    = flag.Uint64("sim.seed", 0, "the one random run to repeat")
)

// Random scripts with random failures and crashes. A failure prints its seed:
//
//	go test ./gateway/store/disk -run TestSimSwarm -sim.seed 123       that one again
//	go test ./gateway/store/disk -run TestSimSwarm -sim.runs 1000000   many, for long
func TestSimSwarm(t *testing.T) {
	first, runs := uint64(1), uint64(*swarmRuns)
	switch {
	case *swarmSeed != 0:
		first, runs = *swarmSeed, 1
	case *swarmRuns > 400: // others than every day
		first = rand.Uint64N(1 << 40)
		t.Logf("seeds from %d on", first)
	}
	for seed := first; seed < first+runs; seed++ {
		synctest.Test(t, func(t *testing.T) {
			if err := swarm(seed, openDisk); err != nil {
				t.Errorf("-sim.seed %d: %v", seed, err)
			}
		})
	}
}

// Seeds that have found something.
func TestSimSwarmFound(t *testing.T) {
	for _, seed := range []uint64{
		412405071950, // what was applied while the start could not write waited for the next change
		252575906087, // the frame that a start writes again was skipped after a segment without frames
	} {
		synctest.Test(t, func(t *testing.T) {
			if err := swarm(seed, openDisk); err != nil {
				t.Errorf("-sim.seed %d: %v", seed, err)
			}
		})
	}
}

// swarm is one random run: a few lives of the store, each of which ends in a way of its own,
// and then one in which nothing fails. Each seed leaves out some kinds of trouble, or they
// would hide each other.
func swarm(seed uint64, open opener) error {
	s := newSim(seed, open)
	defer s.end()
	r := rand.New(rand.NewPCG(seed, 3))
	s.options.SyncInterval = []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}[r.IntN(4)]
	s.options.SegmentSize = []int{64 << 10, 80 << 10, 256 << 10}[r.IntN(3)]
	s.largest = []int{20, 600, 8000}[r.IntN(3)]
	fails, fills, meanwhile := r.IntN(2) == 0, r.IntN(4) == 0, r.IntN(2) == 0

	for life := range 1 + r.IntN(5) {
		if meanwhile {
			s.applyMeanwhile(rand.New(rand.NewPCG(seed, uint64(4+life))))
		}
		if fails {
			for range r.IntN(4) {
				f := failures[r.IntN(len(failures))]
				if f.stays {
					s.fs.FailFrom(1+r.IntN(150), f.kind)
				} else {
					s.fs.FailAt(1+r.IntN(150), f.kind)
				}
			}
		}
		if fills {
			s.fs.SetCapacity(int64(s.options.SegmentSize * (2 + r.IntN(6))))
		}
		if r.IntN(2) == 0 {
			s.fs.StopAt(1 + r.IntN(150))
		}
		if err := s.live(r); err != nil {
			return fmt.Errorf("life %d: %w", life+1, err)
		}
	}
	s.fs.Heal()
	s.fs.SetCapacity(0)
	if err := s.start(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return s.goOn()
}

// live starts the store, plays and ends it.
func (s *sim) live(r *rand.Rand) error {
	err := s.start()
	if errors.Is(err, errWrong) {
		return err
	}
	if err == nil {
		for range 1 + r.IntN(4) {
			s.play(r.IntN(60))
			if r.IntN(3) == 0 {
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				synctest.Wait()
				s.note()
			}
			if r.IntN(4) == 0 && !s.fs.Stopped() {
				s.fs.Heal()
				s.fs.SetCapacity(0)
				if err := s.settle(); err != nil && !s.fs.Stopped() {
					return err
				}
			}
		}
		if r.IntN(4) == 0 {
			if err := s.stop(); errors.Is(err, errWrong) {
				return err
			}
		}
	}
	switch r.IntN(3) {
	case 0:
		return s.crash((*simfs.FS).CrashKill)
	default:
		return s.crash(powerCut(keeps[r.IntN(len(keeps))]))
	}
}

// applyMeanwhile has batches applied while the store writes and syncs: not without end, or
// the store would never be done.
func (s *sim) applyMeanwhile(r *rand.Rand) {
	left := 30
	s.fs.Before(func(simfs.Op) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.store != nil && !s.quiet && left > 0 && r.IntN(8) == 0 {
			left--
			s.applyLocked()
		}
	})
}
