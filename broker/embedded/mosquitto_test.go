package embedded

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests let mosquitto_pub and mosquitto_sub, of mosquitto-clients, judge the broker.

// mosquitto runs one of the tools to its end.
func mosquitto(t *testing.T, b *Broker, tool string, args ...string) {
	t.Helper()
	cmd := exec.Command("mosquitto_"+tool, append(at(b), args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

func at(b *Broker) []string {
	addr := b.Addrs()[0]
	if addr.Network() == "unix" {
		return []string{"--unix", addr.String()}
	}
	host, port, _ := net.SplitHostPort(addr.String())
	return []string{"-h", host, "-p", port}
}

// subscriber is a running mosquitto_sub.
type subscriber struct {
	t     *testing.T
	lines chan string
	stop  func() // kills it
}

// subscribed starts mosquitto_sub and waits until it has subscribed.
func subscribed(t *testing.T, b *Broker, args ...string) *subscriber {
	t.Helper()
	cmd := exec.Command("mosquitto_sub", append(append(at(b), "-F", "> %t %q %r %p"), args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := b.Stats()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &subscriber{t: t, lines: make(chan string, 1000)}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	l.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		for range l.lines {
		}
		_ = cmd.Wait()
		until(t, "the broker notices", func() bool { return b.Stats().Connections <= before.Connections })
	})
	t.Cleanup(l.stop)
	until(t, "mosquitto_sub subscribes", func() bool { return b.Stats().Subscriptions > before.Subscriptions })
	return l
}

// wait waits for a line with that prefix.
func (l *subscriber) wait(prefix string) string {
	l.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				l.t.Fatalf("mosquitto_sub has ended, want %q", prefix)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-timeout.C:
			l.t.Fatalf("mosquitto_sub did not say %q", prefix)
		}
	}
}

// gets expects that the next message is this one: topic, QoS, retain, payload.
func (l *subscriber) gets(want string) {
	l.t.Helper()
	if got := l.wait("> "); got != "> "+want {
		l.t.Fatalf("mosquitto_sub got %q, want %q", got, want)
	}
}

func TestMosquittoClients(t *testing.T) {
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			b := serve(t)
			for qos := range 3 {
				q := fmt.Sprint(qos)
				sub := subscribed(t, b, "-V", version, "-q", q, "-t", "a/+/c", "-t", "a/#")
				for pub := range 3 {
					mosquitto(t, b, "pub", "-V", version, "-q", fmt.Sprint(pub), "-t", "a/b/c", "-m", "hello world")
					sub.gets(fmt.Sprintf("a/b/c %d 0 hello world", min(qos, pub)))
				}
				sub.stop()
			}
		})
	}
}

func TestMosquittoRetain(t *testing.T) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			b := serve(t)
			live := subscribed(t, b, "-V", version, "-t", "r/#")
			mosquitto(t, b, "pub", "-V", version, "-r", "-q", "1", "-t", "r/1", "-m", "old")
			mosquitto(t, b, "pub", "-V", version, "-r", "-q", "1", "-t", "r/1", "-m", "new")
			live.gets("r/1 0 0 old")
			live.gets("r/1 0 0 new")
			subscribed(t, b, "-V", version, "-q", "1", "-t", "r/+").gets("r/1 1 1 new")
			mosquitto(t, b, "pub", "-V", version, "-r", "-n", "-t", "r/1")
			until(t, "nothing is retained", func() bool { return b.Stats().RetainedMessages == 0 })
		})
	}
}

func TestMosquittoPersistentSession(t *testing.T) {
	for _, version := range [][]string{{"-V", "mqttv311", "-q", "1"}, {"-V", "mqttv311", "-q", "2"}, {"-V", "mqttv5", "-q", "2"}} {
		t.Run(strings.Join(version, ""), func(t *testing.T) {
			b := serve(t)
			args := append([]string{"-i", "keeper", "-c", "-t", "p/#"}, version...)
			mosquitto(t, b, "sub", append(args, "-E")...)
			for i := range 50 {
				mosquitto(t, b, "pub", "-q", version[3], "-t", "p/x", "-m", fmt.Sprint(i))
			}
			if n := b.Stats().QueuedMessages; n != 50 {
				t.Errorf("%d messages are queued, want 50", n)
			}
			sub := exec.Command("mosquitto_sub", append(append(at(b), args...), "-C", "50", "-W", "10")...)
			out, err := sub.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var want strings.Builder
			for i := range 50 {
				fmt.Fprintln(&want, i)
			}
			if string(out) != want.String() {
				t.Errorf("got %q", out)
			}
			until(t, "the queue is empty", func() bool { return b.Stats().QueuedMessages == 0 })
		})
	}
}

func TestMosquittoWill(t *testing.T) {
	b := serve(t)
	for _, version := range []string{"mqttv311", "mqttv5"} {
		watcher := subscribed(t, b, "-V", version, "-q", "1", "-t", "will/"+version)
		lost := subscribed(t, b, "-V", version, "-t", "x", "--will-topic", "will/"+version,
			"--will-payload", "gone", "--will-qos", "1", "--will-retain")
		lost.stop() // kills it
		watcher.gets("will/" + version + " 1 0 gone")
		subscribed(t, b, "-V", version, "-t", "will/"+version).gets("will/" + version + " 0 1 gone")
	}
}

func TestMosquittoAndDevice(t *testing.T) {
	b := serve(t)
	d := connected(t, b, "device", true)
	d.subscribe("to/device", 2)
	sub := subscribed(t, b, "-V", "mqttv5", "-q", "2", "-t", "from/+")
	for qos := range byte(3) {
		d.publish("from/device", "up", qos, false)
		b.Flush()
		sub.gets(fmt.Sprintf("from/device %d 0 up", qos))
		mosquitto(t, b, "pub", "-q", fmt.Sprint(qos), "-t", "to/device", "-m", "down")
		if token := d.delivered("down", qos); qos > 0 {
			d.ack(token)
		}
	}
}

func TestMosquittoSys(t *testing.T) {
	b := serve(t)
	sub := subscribed(t, b, "-t", "$SYS/broker/version", "-t", "$SYS/broker/uptime", "-t", "$SYS/broker/clients/connected")
	sub.wait("> $SYS/broker/version 0 1 mqttsn-gateway")
	sub.gets("$SYS/broker/uptime 0 1 0 seconds")
	sub.gets("$SYS/broker/clients/connected 0 1 1")
}
