package disk

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/gateway/store"
)

// BenchmarkApply has workers that each keep a message of 100 octets, wait until it is
// durable, delete it, and wait again, as for a message that is acknowledged and then
// delivered. It reports messages per second; and per octet of payload what was given to the
// file system, and what the system says the process has caused to be written (Linux).
func BenchmarkApply(b *testing.B) {
	for _, interval := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond} {
		for _, workers := range []int{1, 64, 1000} {
			b.Run(fmt.Sprintf("interval=%v/waiters=%d", interval, workers), func(b *testing.B) {
				o := DefaultOptions()
				o.Dir, o.SyncInterval = fresh(b).Dir, interval
				benchmark(b, open(b, o), workers)
			})
		}
	}
}

func benchmark(b *testing.B, s *Store, workers int) {
	var mu sync.Mutex
	changed := sync.NewCond(&mu)
	s.Notify(func() {
		mu.Lock()
		defer mu.Unlock()
		changed.Broadcast()
	})
	wait := func(m store.Mark) {
		mu.Lock()
		defer mu.Unlock()
		for s.Durable() < m {
			changed.Wait()
		}
	}
	const size = 100
	payload := make([]byte, size)
	before, diskBefore := s.Stats(), written()
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for w := range workers {
		client := fmt.Sprint("client-", w)
		wg.Go(func() {
			for n := w; n < b.N; n += workers {
				wait(s.Apply(store.Put(store.MQTTDelivery, client, uint64(n), payload)))
				wait(s.Apply(store.Delete(store.MQTTDelivery, client, uint64(n))))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	b.StopTimer()
	after := s.Stats()
	b.ReportMetric(float64(b.N)/took.Seconds(), "msg/s")
	b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/float64(b.N*size), "written/octet")
	b.ReportMetric(float64(after.Syncs-before.Syncs)/took.Seconds(), "syncs/s")
	if n := written() - diskBefore; n > 0 {
		b.ReportMetric(float64(n)/float64(b.N*size), "disk/octet")
	}
}

// written is how many octets the process has caused to be written to disks; 0 if unknown.
func written() (n int64) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// BenchmarkRecover starts a store of 100,000 records.
func BenchmarkRecover(b *testing.B) {
	o := fresh(b)
	o.SegmentSize = DefaultOptions().SegmentSize
	s := open(b, o)
	for n := range uint64(100_000) {
		s.Apply(store.Put(store.SessionTopic, fmt.Sprint("client-", n%10_000), n, make([]byte, 100)))
	}
	s.Close()
	for b.Loop() {
		open(b, o).Close()
	}
}
