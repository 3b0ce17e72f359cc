package faults

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// sessionsAtRestart is how many sessions a gateway has that is to be back soon.
const sessionsAtRestart = 10_000

// TestRestartWithManySessions: a gateway with many sleeping clients that is killed serves
// again within 2 s, be it the first, the last or any other client that wakes up.
func TestRestartWithManySessions(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	const workers = 50
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < sessionsAtRestart; i += workers {
				s := newSleeper(t, NewLedger(), g.udp, fmt.Sprintf("sleeper-%d", i))
				for _, err := range []error{s.connect(), s.subscribe(fmt.Sprintf("down/%d", i)), s.sleep(keepAlive)} {
					if err != nil {
						t.Error(err)
						return
					}
				}
				_ = s.conn.Close() // it wakes up at another port: one socket is enough for all
			}
		})
	}
	working.Wait()
	g.kill()
	rnd := dice(t)
	began := time.Now()
	g.begin()
	for i, number := range []int{rnd.IntN(sessionsAtRestart), 0, sessionsAtRestart - 1, rnd.IntN(sessionsAtRestart)} {
		s := newSleeper(t, NewLedger(), g.udp, fmt.Sprintf("sleeper-%d", number))
		s.retry = 20 * time.Millisecond
		if err := s.wake(); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if i == 0 {
			t.Logf("seed %d: %d sessions, kill -9: first PINGRESP %v after the start", *seed, sessionsAtRestart, took.Round(time.Millisecond))
		}
		if long && took > 2*time.Second {
			t.Errorf("%s has its PINGRESP only after %v, want 2 s", s.id, took)
		}
		if s.strangers > 0 {
			t.Errorf("%s was told that it is a stranger", s.id)
		}
	}
	if n := g.metric("sessions", `state="asleep"`); n != sessionsAtRestart {
		t.Errorf("%v sessions are asleep after the restart, want %d", n, sessionsAtRestart)
	}
}
