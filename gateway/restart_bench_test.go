package gateway_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/mqttsn"
)

// BenchmarkRestart is the time from the start of a process to service: half of the sessions
// in the state directory are those of sleepers with a subscription and a message that
// waits, the others of active devices with a topic id. It reports how long it takes to open
// the store, to make the broker and the gateway of what is in it, until one sleeper that
// asks with PINGREQ has its message and PINGRESP, and until all have; besides the CPU time
// of all that, and the memory that a session takes then.
func BenchmarkRestart(b *testing.B) {
	for _, sessions := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("sessions=", sessions), func(b *testing.B) {
			o := disk.DefaultOptions()
			o.Dir = b.TempDir() + "/state"
			e := &exchanges{pairs: sessions / 2}
			var times [4]time.Duration
			var cpu, memory int64
			for n := range b.N {
				b.StopTimer()
				st := openState(b, o)
				e.start(b, st)
				if n == 0 {
					e.join()
					e.sleep()
				}
				e.run(e.pairs) // a message for each sleeper
				e.end(b, st)
				before, began := heapInUse(), cpuTime()
				b.StartTimer()

				start := time.Now()
				lap := func(i int) { times[i] += time.Since(start) }
				st = openState(b, o)
				lap(0)
				e.start(b, st)
				lap(1)
				e.wake(2*e.pairs-1, 2*e.pairs)
				lap(2)
				e.wake(1, 2*e.pairs-1)
				lap(3)

				b.StopTimer()
				cpu += cpuTime() - began
				memory += heapInUse() - before
				e.end(b, st)
				b.StartTimer()
			}
			for i, unit := range []string{"open-ms", "made-ms", "first-ms", "all-ms"} {
				b.ReportMetric(float64(times[i].Milliseconds())/float64(b.N), unit)
			}
			b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms")
			b.ReportMetric(float64(memory)/float64(b.N*sessions), "B/session")
		})
	}
}

func openState(b *testing.B, o disk.Options) *disk.Store {
	st, err := disk.Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// heapInUse is how much of the heap is in use.
func heapInUse() int64 {
	for range 3 { // what is in a pool is there for two more
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// end ends the gateway and its store.
func (e *exchanges) end(b *testing.B, st *disk.Store) {
	e.stop()
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	e.air, e.recv, e.stop = nil, nil, nil
}

// sleep sends those to sleep that subscribe.
func (e *exchanges) sleep() {
	for i := 1; i < 2*e.pairs; i += 2 {
		e.send(i, mqttsn.Disconnect{HasDuration: true, Duration: 60000}.Append)
	}
	e.flush()
	for left := e.pairs; left > 0; {
		<-e.news
		for _, d := range e.take() {
			if p, _ := e.decoder.Decode(d.Data); p != nil && p.Type() == mqttsn.TypeDisconnect {
				left--
			}
		}
	}
}

// wake has the sleepers of a range collect what there is for them.
func (e *exchanges) wake(from, to int) {
	asleep := 0
	for i := from; i < to; i += 2 {
		asleep++
		e.send(i, mqttsn.Pingreq{ClientID: fmt.Append(nil, "device-", i)}.Append)
	}
	for e.flush(); asleep > 0; e.flush() {
		<-e.news
		for _, d := range e.take() {
			switch p, _ := e.decoder.Decode(d.Data); p := p.(type) {
			case *mqttsn.Publish:
				e.send(numberOf(d.Addr), mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}.Append)
			case *mqttsn.Pingresp:
				asleep--
			}
		}
	}
}
