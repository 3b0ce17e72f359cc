package embedded

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/test/pki"
)

// BenchmarkAgainstMosquitto lets the broker, in a process of its own, and mosquitto pass
// on the same messages, in turn: one publisher, 1 or 100 subscribers, QoS 0 and 1, 64
// octets, MQTT 3.1.1. A stream has up to 500 messages on their way, or 100 with QoS 1, so
// that work can be done for many at once; a single one is awaited before the next is
// published, so that none can. Messages count when they have reached a subscriber; the
// figures are messages per second and per CPU-second of the broker's process. The former
// need an otherwise idle machine.
func BenchmarkAgainstMosquitto(b *testing.B) {
	for _, window := range []string{"stream", "single"} {
		for _, qos := range []mqtt.QoS{0, 1} {
			for _, subs := range []int{1, 100} {
				for _, server := range []string{"embedded", "mosquitto"} {
					b.Run(fmt.Sprintf("%s/qos=%d/subs=%d/%s", window, qos, subs, server), func(b *testing.B) {
						addr, pid := startServer(b, server)
						l := newLoad(b, addr, qos, subs)
						defer l.close()
						if window == "single" {
							l.window = 1
						}
						l.measure(pid)
					})
				}
			}
		}
	}
}

// measure publishes b.N messages by way of the broker that is process pid.
func (l *load) measure(pid int) {
	b := l.b
	before := cpuTime(b, pid)
	b.ResetTimer()
	l.run(b.N)
	b.StopTimer()
	delivered := float64(b.N * len(l.subs))
	b.ReportMetric(delivered/b.Elapsed().Seconds(), "msgs/s")
	if cpu := cpuTime(b, pid) - before; cpu > 0 {
		b.ReportMetric(delivered/cpu.Seconds(), "msgs/cpu-s")
	}
}

// The environment variables that make the test binary a broker. With a scheme it has such a
// listener, for which it needs a certificate and its key.
const (
	childAddr        = "EMBEDDED_TEST_LISTEN"
	childScheme      = "EMBEDDED_TEST_SCHEME"
	childCertificate = "EMBEDDED_TEST_CERTIFICATE"
	childKey         = "EMBEDDED_TEST_KEY"
)

// child serves until its standard input ends.
func child(addr string) {
	o := DefaultOptions()
	o.Listeners = listeners(addr)
	if scheme := os.Getenv(childScheme); scheme != "" {
		s := &secured{pair: pki.Pair{CertificateFile: os.Getenv(childCertificate), KeyFile: os.Getenv(childKey)}}
		o.Listeners[0] = s.listener(scheme)
		o.Listeners[0].Listen = addr
	}
	b, err := New(o, nil, silent())
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		answerUse(os.Stdin, os.Stdout)
		cancel()
	}()
	_ = b.Serve(ctx, func() {})
}

func startServer(b *testing.B, server string) (addr string, pid int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	var cmd *exec.Cmd
	if server == "embedded" {
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childAddr+"="+addr)
		if _, err := cmd.StdinPipe(); err != nil {
			b.Fatal(err)
		}
	} else {
		_, port, _ := net.SplitHostPort(addr)
		conf := filepath.Join(b.TempDir(), "mosquitto.conf")
		text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nlog_type none\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		cmd = exec.Command("/usr/sbin/mosquitto", "-c", conf)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	until(b, server+" listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr, cmd.Process.Pid
}

// cpuTime is what a process has used so far.
func cpuTime(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// load is one publisher and its subscribers.
type load struct {
	b        *testing.B
	qos      mqtt.QoS
	window   int // how many messages are on their way at most
	pub      net.Conn
	subs     []net.Conn
	acked    atomic.Int64
	received []atomic.Int64 // by each subscriber
	progress chan struct{}
}

func newLoad(b *testing.B, addr string, qos mqtt.QoS, subs int) *load {
	l := &load{b: b, qos: qos, window: 500, received: make([]atomic.Int64, subs), progress: make(chan struct{}, 1)}
	if qos > 0 {
		l.window = 100
	}
	open := func(id string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		newPeer(b, conn, mqtt.V311).connect(id)
		return conn
	}
	for i := range subs {
		conn := open(fmt.Sprint("sub", i))
		newPeer(b, conn, mqtt.V311).subscribe(qos, "t/1")
		_ = conn.SetReadDeadline(time.Time{})
		l.subs = append(l.subs, conn)
		go l.receive(conn, &l.received[i])
	}
	l.pub = open("pub")
	_ = l.pub.SetReadDeadline(time.Time{})
	go l.collect()
	return l
}

func (l *load) close() {
	for _, conn := range append(l.subs, l.pub) {
		conn.Close()
	}
}

func (l *load) tell() {
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

// receive counts what comes to a subscriber, and acknowledges it.
func (l *load) receive(conn net.Conn, received *atomic.Int64) {
	buf := make([]byte, 64<<10)
	var acks []byte
	for have := 0; ; {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		at, count := 0, int64(0)
		acks = acks[:0]
		for {
			h, body, size, _ := mqtt.Frame(buf[at:have], 0)
			if size == 0 {
				break
			}
			at += size
			if h.Type == mqtt.TypePublish {
				count++
				if l.qos > 0 {
					acks = append(acks, 0x40, 2, body[5], body[6]) // after the topic "t/1"
				}
			}
		}
		have = copy(buf, buf[at:have])
		if len(acks) > 0 {
			_, _ = conn.Write(acks)
		}
		received.Add(count)
		l.tell()
	}
}

// collect counts the publisher's PUBACKs.
func (l *load) collect() {
	buf := make([]byte, 4096)
	for rest := 0; ; {
		n, err := l.pub.Read(buf)
		if err != nil {
			return
		}
		l.acked.Add(int64((rest + n) / 4))
		rest = (rest + n) % 4
		l.tell()
	}
}

// done is how many messages have come to all subscribers, and are acknowledged.
func (l *load) done() int {
	n := l.acked.Load()
	if l.qos == 0 {
		n = 1<<63 - 1
	}
	for i := range l.received {
		n = min(n, l.received[i].Load())
	}
	return int(n)
}

// run publishes n messages, at most some on their way at a time: fewer than any queue
// holds. It waits until all have come to all subscribers.
func (l *load) run(n int) {
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	var batch []byte
	for sent := 0; ; {
		done := l.done()
		if done >= n {
			return
		}
		batch = batch[:0]
		for ; sent < n && sent-done < l.window && len(batch) < 8000; sent++ {
			p := mqtt.Publish{Topic: []byte("t/1"), Payload: make([]byte, 64), QoS: l.qos, PacketID: uint16(sent%0xFFFF + 1)}
			batch = p.Append(batch, mqtt.V311)
		}
		if len(batch) > 0 {
			if _, err := l.pub.Write(batch); err != nil {
				l.b.Fatal(err)
			}
			continue
		}
		select {
		case <-l.progress:
			timeout.Reset(time.Minute)
		case <-timeout.C:
			l.b.Fatalf("stuck at %d of %d", done, n)
		}
	}
}
