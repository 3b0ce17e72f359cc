package embedded

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// BenchmarkIdle measures what a client costs that does nothing: 10,000 MQTT clients in a
// process of the broker's own, without a keep alive and with one of a minute, the same with
// TLS and by WebSocket without a keep alive, and devices. Memory is per client; the
// processor's share is of one core, for all clients. It takes two minutes.
func BenchmarkIdle(b *testing.B) {
	for _, scheme := range schemes {
		b.Run(scheme, func(b *testing.B) { benchIdle(b, scheme, 10_000, 30*time.Second) })
	}
	b.Run("device", func(b *testing.B) {
		const n = 10_000
		br := newBroker(b)
		conns := make([]broker.Conn, n)
		to := new(sink)
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprint("device-", i)
		}
		before := inUse()
		for i := range conns {
			conns[i] = br.Open(ids[i], to)
			_ = conns[i].Do(&broker.Request{Op: broker.Connect})
		}
		b.ReportMetric(float64(inUse().Heap-before.Heap)/n, "heap-B/client")
		b.ReportMetric(0, "ns/op")
		runtime.KeepAlive(conns)
		runtime.KeepAlive(br)
	})
}

func benchIdle(b *testing.B, scheme string, n int, watch time.Duration) {
	s := newSecured(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr()
	l.Close()
	c := startChild(b, s, scheme, addr.String())
	before := c.use()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = idleClient(b, s, scheme, addr, i)
	}
	defer func() {
		for _, conn := range conns {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // no port is left in TIME_WAIT
			}
			conn.Close()
		}
	}()
	per := func(after, before uint64) float64 { return float64(after-before) / float64(n) }
	report := func(what string) {
		u := c.use()
		b.ReportMetric(per(u.Heap, before.Heap), "heap-B/client"+what)
		b.ReportMetric(per(u.Stack, before.Stack), "stack-B/client"+what)
		b.ReportMetric(per(u.Resident, before.Resident), "rss-B/client"+what)
		b.ReportMetric(per(u.Goroutines, before.Goroutines), "goroutines/client"+what)
	}
	b.ReportMetric(0, "ns/op")
	<-time.After(time.Second)
	if scheme != "mqtt" {
		report("")
		return
	}
	busy := cpuTime(b, c.pid)
	<-time.After(watch)
	b.ReportMetric(100*(cpuTime(b, c.pid)-busy).Seconds()/watch.Seconds(), "%cpu")
	report("")

	// Each client sends a PINGREQ once a minute.
	busy = cpuTime(b, c.pid)
	ping, answer := []byte{0xC0, 0}, make([]byte, 2)
	start := time.Now()
	for i := range int(time.Duration(n) * watch / time.Minute) {
		if wait := time.Until(start.Add(time.Duration(i) * time.Minute / time.Duration(n))); wait > time.Millisecond {
			<-time.After(wait)
		}
		conn := conns[i%n]
		if _, err := conn.Write(ping); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*(cpuTime(b, c.pid)-busy).Seconds()/watch.Seconds(), "%cpu-pings")
	report("-pings")
}

func idleClient(b *testing.B, s *secured, scheme string, addr net.Addr, i int) net.Conn {
	conn, err := s.over(b, scheme, addr)
	if err != nil {
		b.Fatalf("connection %d: %v", i, err)
	}
	p := mqtt.Connect{CleanStart: true, KeepAlive: 60, ClientID: fmt.Append(nil, "client-", i)}
	_, _ = conn.Write(p.Append(nil, mqtt.V311))
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		b.Fatalf("connection %d: %v", i, err)
	}
	return conn
}

// childProcess is a broker in a process of its own.
type childProcess struct {
	b   *testing.B
	pid int
	ask io.Writer
	say *bufio.Scanner
}

func startChild(b *testing.B, s *secured, scheme, addr string) *childProcess {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddr+"="+addr, childScheme+"="+scheme,
		childCertificate+"="+s.pair.CertificateFile, childKey+"="+s.pair.KeyFile)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	until(b, "the broker listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return &childProcess{b: b, pid: cmd.Process.Pid, ask: in, say: bufio.NewScanner(out)}
}

// use asks the process what it uses now, garbage aside.
func (c *childProcess) use() (u use) {
	c.b.Helper()
	if _, err := fmt.Fprintln(c.ask, "use"); err != nil {
		c.b.Fatal(err)
	}
	if !c.say.Scan() {
		c.b.Fatal("the broker does not answer")
	}
	if err := json.Unmarshal(c.say.Bytes(), &u); err != nil {
		c.b.Fatal(err)
	}
	return u
}

// answerUse answers use in the process that is asked, until there is nobody who asks.
func answerUse(in io.Reader, out io.Writer) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		_ = json.NewEncoder(out).Encode(inUse())
	}
}

// use is what a process uses, in octets.
type use struct{ Heap, Stack, Resident, Goroutines uint64 }

func inUse() (u use) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Stack, u.Goroutines = m.HeapAlloc, m.StackInuse, uint64(runtime.NumGoroutine())
	status, _ := os.ReadFile("/proc/self/status")
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		_, _ = fmt.Sscan(rest, &u.Resident)
		u.Resident <<= 10
	}
	return u
}
