package disk

import (
	"testing"
	"time"

	"mqttsn-gateway/gateway/store"
)

func TestSlowness(t *testing.T) {
	start := time.Unix(1000, 0)
	var w slowness
	now := start
	// sync lets a sync end, and the time after it pass.
	sync := func(took, after time.Duration) (became bool) {
		now = now.Add(took)
		became = w.took(now, took)
		now = now.Add(after)
		return became
	}
	for range 2000 { // 20 s
		if sync(5*time.Millisecond, 5*time.Millisecond) || w.is(now) {
			t.Fatal("slow, and each sync took 5 ms")
		}
	}
	for i := range 1100 { // one in 200
		took := 5 * time.Millisecond
		if i%200 == 0 {
			took = 1100 * time.Millisecond
		}
		if sync(took, 5*time.Millisecond) || w.is(now) {
			t.Fatal("slow, and one sync in 200 was")
		}
	}
	became := 0
	for range 30 { // more than 30 s, and at most one window of the time before
		if sync(1100*time.Millisecond, 0) {
			became++
		}
	}
	if became != 1 || !w.is(now) {
		t.Fatalf("became slow %d times, slow is %v", became, w.is(now))
	}
	if idle := now.Add(2 * slowWindow); w.is(idle) {
		t.Error("slow for ever without anything to do")
	}
	now = now.Add(time.Hour)
	if sync(1100*time.Millisecond, 0) || w.is(now) {
		t.Error("slow by a lone sync")
	}
	for range 2500 {
		sync(5*time.Millisecond, 5*time.Millisecond)
	}
	if w.is(now) || w.any() {
		t.Error("slow, and each sync of 25 s took 5 ms")
	}
}

// A slow disk lets no new sessions in; what is accepted goes on.
func TestSlowDiskIsCrowded(t *testing.T) {
	s := open(t, fresh(t))
	level := func(quota store.Level, slow time.Duration, want store.Level) {
		t.Helper()
		s.level.Store(uint32(quota))
		s.slowness.until.Store(time.Now().Add(slow).UnixNano())
		if got := s.Level(); got != want {
			t.Errorf("level %v, slow for %v: %v, want %v", quota, slow, got, want)
		}
	}
	level(store.Normal, -time.Second, store.Normal)
	level(store.Normal, time.Hour, store.Crowded)
	level(store.Warning, time.Hour, store.Crowded)
	level(store.Full, time.Hour, store.Full)
	level(store.Degraded, time.Hour, store.Degraded)
	level(store.Warning, -time.Second, store.Warning)
	s.level.Store(uint32(store.Normal))
}
