package dtls

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/pion/dtls/v3"
)

// BenchmarkHandshake makes connections with pre-shared keys, client and link on the same
// machine, eight clients at a time.
func BenchmarkHandshake(b *testing.B) {
	ca := newAuthority(b, "test CA")
	withKeys, withCertificate, rotating := pskOptions(b), certOptions(b, ca, "ecdsa"), twoKeys(b)
	withCertificate.MaxHandshakesPerPrefix = 1 << 16
	trusting := []dtls.ClientOption{dtls.WithRootCAs(ca.pool()), dtls.WithServerName("gateway.test")}
	for _, c := range []struct {
		name    string
		o       Options
		client  []dtls.ClientOption
		resumes bool
	}{
		{"psk", withKeys, withKey("sensor-1", testKey), false},
		{"psk+cid", withKeys, withID(withKey("sensor-1", testKey)), false},
		{"psk, second of two keys", rotating, withKey("sensor-1", newKey), false},
		{"psk, resumed", withKeys, withKey("sensor-1", testKey), true},
		{"certificate", withCertificate, trusting, false},
		{"certificate, resumed", withCertificate, trusting, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := echo(b, c.o, quiet())
			options := append(c.client[:len(c.client):len(c.client)], dtls.WithLoggerFactory(silence{}))
			if c.resumes {
				options = again(&wallet{}, options)
				_ = benchClient(b, l, options).Close()
			}
			before := cpuTime()
			b.SetParallelism(8/runtime.GOMAXPROCS(0) + 1)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					c := benchClient(b, l, options)
					_ = c.Close()
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
			b.ReportMetric((cpuTime()-before).Seconds()*1e6/float64(b.N), "cpu-µs/both")
			if c.resumes { // the client is done first, and its port may be another's before the link is
				until(b, "all having resumed", func() bool {
					s := l.Stats()
					return s.Resumed+s.Failed.Replaced == uint64(b.N)
				})
			}
		})
	}
}

func benchClient(b *testing.B, l *Link, options []dtls.ClientOption) *dtls.Conn {
	c, err := dtls.DialWithOptions("udp", net.UDPAddrFromAddrPort(l.Addr()), options...)
	if err != nil {
		b.Error(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		b.Error(err)
	}
	return c
}

// BenchmarkEcho sends messages of 64 octets there and back over one connection.
func BenchmarkEcho(b *testing.B) {
	l := echo(b, pskOptions(b), quiet())
	c := benchClient(b, l, append(withKey("sensor-1", testKey), dtls.WithLoggerFactory(silence{})))
	defer c.Close()
	message, got := make([]byte, 64), make([]byte, 100)
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle measures what an idle connection costs. Half of what both sides use is the
// link's, as the same library is on either.
func BenchmarkIdle(b *testing.B) {
	const n = 500
	for range b.N {
		l := echo(b, pskOptions(b), quiet())
		before := loadAll()
		for range n {
			say(b, mustConnect(b, l.Addr(), withID(withKey("sensor-1", testKey))...), "x")
		}
		after := loadAll()
		b.ReportMetric(float64(after.memory-before.memory)/n/2, "octets/connection")
		b.ReportMetric(float64(after.goroutines-before.goroutines)/n, "goroutines/both")
	}
}

type loadWithStacks struct {
	goroutines int
	memory     uint64
}

func loadAll() loadWithStacks {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return loadWithStacks{runtime.NumGoroutine(), m.HeapAlloc + m.StackInuse}
}

// BenchmarkFind: a known and an unknown identity take the same time.
func BenchmarkFind(b *testing.B) {
	k := &keys{byIdentity: map[string]pair{}, stranger: make([]byte, 32)}
	for i := range 10000 {
		k.byIdentity[fmt.Sprintf("sensor-%05d", i)] = pair{testKey}
	}
	for _, identity := range []string{"sensor-01234", "sensor-x1234"} {
		b.Run(identity, func(b *testing.B) {
			for range b.N {
				k.find([]byte(identity))
			}
		})
	}
}
