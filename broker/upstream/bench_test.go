//go:build unix

package upstream

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/broker"
)

// cpuTime is what this process has used, the broker's own process not included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counter counts events of the kinds and does nothing else.
type counter struct{ answered, delivered atomic.Int64 }

func (c *counter) Receive(ev broker.Event) {
	switch ev.Kind {
	case broker.Answered:
		c.answered.Add(1)
	case broker.Delivered:
		c.delivered.Add(1)
	}
}

// connected opens n connected Conns that share a counter.
func clientName(i int) string { return "bench-" + strconv.Itoa(i) }

func connected(t testing.TB, b *served, c *counter, n int) []broker.Conn {
	conns := make([]broker.Conn, n)
	for i := range conns {
		conns[i] = b.Open(clientName(i), c)
		if err := conns[i].Do(&broker.Request{Op: broker.Connect, CleanSession: true}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all connected", func() bool { return c.answered.Load() == int64(n) })
	c.answered.Store(0)
	return conns
}

// BenchmarkPublish publishes 100 octets as a gateway does: a batch of requests, spread
// over the clients, then Flush. It reports messages per CPU second of this process.
func BenchmarkPublish(b *testing.B) {
	const batch = 64
	for _, clients := range []int{1, 100} {
		for qos := byte(0); qos <= 2; qos++ {
			b.Run(fmt.Sprintf("clients=%d/qos=%d", clients, qos), func(b *testing.B) {
				m := startMosquitto(b, false, "max_inflight_messages 1000")
				o := quick(m.address)
				o.MaxPending = 1000
				up := serve(b, o)
				var c counter
				conns := connected(b, up, &c, clients)
				r := broker.Request{Op: broker.Publish, Topic: "sensors/one/temperature", Payload: make([]byte, 100), QoS: qos}
				pace := time.NewTicker(20 * time.Microsecond) // the load generator's, when it is far ahead
				defer pace.Stop()
				b.ReportAllocs()
				b.ResetTimer()
				begin := cpuTime()
				taken := 0
				for next := 0; taken < b.N; {
					for range batch {
						if conns[next%clients].Do(&r) != nil {
							break
						}
						taken++
						next++
					}
					up.Flush()
					if busy := taken - int(c.answered.Load()); qos > 0 && busy > 500 || qos == 0 && up.backlog() > 100<<10 {
						runtime.Gosched()
						for qos > 0 && taken-int(c.answered.Load()) > 250 || qos == 0 && up.backlog() > 50<<10 {
							<-pace.C
						}
					}
				}
				if qos > 0 {
					await(b, "all answered", func() bool { return int(c.answered.Load()) >= taken })
				} else {
					await(b, "all written", func() bool { return up.backlog() == 0 })
				}
				b.ReportMetric(float64(taken)/(cpuTime()-begin).Seconds(), "msg/cpu-s")
				b.StopTimer()
			})
		}
	}
}

// backlog is how many octets wait to be written, of all sessions.
func (b *Broker) backlog() (n int) {
	for _, s := range b.all(nil) {
		s.mu.Lock()
		if s.line != nil {
			n += s.line.waiting()
			if s.line.writer {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// BenchmarkIdle reports what 1000 idle connections cost.
func BenchmarkIdle(b *testing.B) {
	b.Run("mqtt", func(b *testing.B) {
		benchmarkIdle(b, quick(startMosquitto(b, false).address))
	})
	b.Run("ws", func(b *testing.B) {
		_, port, _ := net.SplitHostPort(freeAddress(b))
		benchmarkIdle(b, overTLSTo(startMosquitto(b, false, "protocol websockets", "listener "+port+" 127.0.0.1"), "ws", nil))
	})
	for _, version := range []string{"tlsv1.2", "tlsv1.3"} {
		b.Run("mqtts "+version, func(b *testing.B) {
			m, ca := secureMosquitto(b, nil, "tls_version "+version)
			benchmarkIdle(b, overTLSTo(m, "mqtts", ca))
		})
	}
	b.Run("mqtts, a certificate each", func(b *testing.B) {
		m, ca := secureMosquitto(b, nil, "require_certificate true")
		o, dir := overTLSTo(m, "mqtts", ca), b.TempDir()
		own(dir)(&o)
		ca.IssueAs(filepath.Join(dir, "warm-up"), "warm-up", nil)
		for i := range idleClients {
			ca.IssueAs(filepath.Join(dir, clientName(i)), clientName(i), nil)
		}
		benchmarkIdle(b, o)
	})
}

const idleClients = 1000

func benchmarkIdle(b *testing.B, o Options) {
	const clients, watch = idleClients, 5 * time.Second
	up := serve(b, o)
	up.open(b, "warm-up").connect(true)
	before, goroutines := memory(), runtime.NumGoroutine()
	var c counter
	begin := time.Now()
	conns := connected(b, up, &c, clients)
	b.ReportMetric(clients/time.Since(begin).Seconds(), "connects/s")
	after := memory()
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/clients, "heap-B/client")
	b.ReportMetric(float64(after.StackInuse-before.StackInuse)/clients, "stack-B/client")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/clients, "goroutines/client")
	cpu := cpuTime()
	<-time.After(watch)
	b.ReportMetric(100*float64(cpuTime()-cpu)/float64(watch), "cpu-%")
	runtime.KeepAlive(conns)
}

func memory() runtime.MemStats {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// BenchmarkWire measures the codec alone: a PUBLISH of 100 octets each way, and a PUBACK
// in.
func BenchmarkWire(b *testing.B) {
	r := broker.Request{Topic: "sensors/one/temperature", Payload: make([]byte, 100), QoS: 1}
	packet := appendPublish(nil, &r, 7)
	b.Run("append PUBLISH", func(b *testing.B) {
		b.ReportAllocs()
		out := make([]byte, 0, 1024)
		for b.Loop() {
			out = appendPublish(out[:0], &r, 7)
		}
	})
	for name, raw := range map[string][]byte{"decode PUBLISH": packet, "decode PUBACK": appendPuback(nil, 7, 0)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			l := newLine(nil, 1<<16)
			input := bytes.NewReader(nil)
			var in incoming
			for b.Loop() {
				input.Reset(raw)
				l.in.r.Reset(input)
				if err := l.in.next(&in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
