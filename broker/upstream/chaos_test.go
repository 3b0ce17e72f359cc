//go:build unix

package upstream

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/test/pki"
)

// cutter is a TCP proxy that ends connections at random moments.
type cutter struct {
	address string
	mu      sync.Mutex
	conns   map[net.Conn]time.Time // since when
	cuts    int
}

func startCutter(t testing.TB, to string) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{address: l.Addr().String(), conns: make(map[net.Conn]time.Time)}
	var parts sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		c.cut(1, 0)
		parts.Wait()
	})
	parts.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.conns[in] = time.Now()
			c.mu.Unlock()
			for _, pipe := range [][2]net.Conn{{in, out}, {out, in}} {
				parts.Go(func() {
					_, _ = io.Copy(pipe[0], pipe[1])
					_ = in.Close()
					_ = out.Close()
					c.mu.Lock()
					delete(c.conns, in)
					c.mu.Unlock()
				})
			}
		}
	})
	return c
}

// cut ends each connection of at least this age with this probability: with RST, what is
// under way is lost. Mosquitto 2.0.11 needs a moment: if a connection ends before it has
// sent its PUBRELs again, it sends the PUBLISH again afterwards.
func (c *cutter) cut(probability float64, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, since := range c.conns {
		if time.Since(since) >= age && rand.Float64() < probability {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
			c.cuts++
		}
	}
}

// cutting cuts all the time until the returned function is called.
func (c *cutter) cutting() (stop func()) {
	end := make(chan struct{})
	var part sync.WaitGroup
	part.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(rand.N(60 * time.Millisecond)):
				c.cut(0.5, 50*time.Millisecond)
			}
		}
	})
	return func() {
		close(end)
		part.Wait()
	}
}

// count is how many connections were cut.
func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// hasty are options for reconnecting all the time.
func hasty(address string) Options {
	o := quick(address)
	o.ReconnectMax = 100 * time.Millisecond
	o.ReconnectRate = 1000
	return o
}

// ledger is what a subscriber has received, by number.
type ledger struct {
	mu       sync.Mutex
	count    map[int]int
	last     int
	disorder int // first copies that came after a later one
}

func (l *ledger) note(payload []byte) {
	n, _ := strconv.Atoi(string(payload))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[n]++
	if l.count[n] == 1 {
		if n < l.last {
			l.disorder++
		}
		l.last = n
	}
}

func (l *ledger) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.count)
}

func (l *ledger) duplicates() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.count {
		n += c - 1
	}
	return n
}

// listen makes a subscriber that notes and acknowledges everything.
func (b *served) listen(t testing.TB, id, filter string, qos byte) *ledger {
	l := &ledger{count: make(map[int]int)}
	d := b.open(t, id)
	d.connect(false)
	d.subscribe(filter, qos)
	var acks []broker.Token // guarded by d.mu
	ready := make(chan struct{}, 1)
	d.mu.Lock()
	d.hook = func(ev broker.Event) {
		d.events = nil
		if ev.Kind != broker.Delivered {
			return
		}
		l.note(ev.Message.Payload)
		if ev.QoS > 0 {
			acks = append(acks, ev.Token)
			select {
			case ready <- struct{}{}:
			default:
			}
		}
	}
	d.mu.Unlock()
	end := make(chan struct{})
	var part sync.WaitGroup
	part.Go(func() {
		for {
			select {
			case <-ready:
			case <-end:
				return
			}
			d.mu.Lock()
			tokens := acks
			acks = nil
			d.mu.Unlock()
			for _, token := range tokens {
				_ = d.Do(&broker.Request{Op: broker.Ack, Token: token})
			}
			b.Flush()
		}
	})
	t.Cleanup(func() {
		close(end)
		part.Wait()
	})
	return l
}

// publishAll publishes numbers, a few at a time, and waits for all answers.
func (d *device) publishAll(topic string, qos byte, from, to int) {
	d.t.Helper()
	answered := make(map[broker.Token]int)
	d.mu.Lock()
	d.hook = func(ev broker.Event) {
		d.events = nil
		if ev.Kind == broker.Answered && !ev.Code.Failed() {
			answered[ev.Token]++
		}
	}
	d.mu.Unlock()
	count := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(answered)
	}
	for n := from; n < to; n++ {
		r := broker.Request{Op: broker.Publish, Token: broker.Token(n), Topic: topic, Payload: []byte(strconv.Itoa(n)), QoS: qos}
		await(d.t, fmt.Sprintf("room for message %d", n), func() bool { return n-from-count() < 20 && d.Do(&r) == nil })
		d.b.Flush()
	}
	await(d.t, "all answers", func() bool { return count() == to-from })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = nil
	for token, times := range answered {
		if times != 1 {
			d.t.Fatalf("message %d was answered %d times", token, times)
		}
	}
}

// Connections break all the time, in both directions; the broker keeps the sessions.
// QoS 1 loses nothing, QoS 2 loses and doubles nothing, and the order is kept.
func TestNothingIsLostWhenConnectionsBreak(t *testing.T) {
	for qos := byte(1); qos <= 3; qos++ {
		for _, direction := range []string{"up", "down"} {
			name, overTLS := fmt.Sprintf("%s, QoS %d", direction, min(qos, 2)), qos == 3
			if overTLS {
				name += " over TLS"
			}
			t.Run(name, func(t *testing.T) {
				qos := min(qos, 2)
				m, ca := startMosquitto(t, false), (*pki.Authority)(nil)
				if overTLS {
					m.kill()
					m, ca = secureMosquitto(t, nil)
				}
				cut := startCutter(t, m.address)
				hasty, quick := hasty(cut.address), quick(m.address)
				for _, o := range []*Options{&hasty, &quick} {
					if overTLS {
						o.URL, o.CAFile = strings.Replace(o.URL, "mqtt:", "mqtts:", 1), ca.File
					}
				}
				broken, whole := serve(t, hasty), serve(t, quick)
				from, to := broken, whole
				if direction == "down" {
					from, to = whole, broken
				}
				ledger := to.listen(t, "listener", "t", 2)
				d := from.open(t, "talker")
				d.connect(true)
				stop := cut.cutting()
				messages := 0
				for cut.count() < 15 {
					d.publishAll("t", qos, messages, messages+100)
					messages += 100
				}
				stop()
				await(t, "all messages", func() bool { return ledger.seen() == messages })
				st := broken.Stats()
				t.Logf("%d messages, %d cuts, %d reconnects, %d duplicates", messages, cut.count(), st.Reconnects, ledger.duplicates())
				if st.Reconnects < 5 || st.SessionsLost > 0 || st.Uncertain > 0 {
					t.Errorf("%+v", st)
				}
				if ledger.disorder > 0 || qos == 2 && ledger.duplicates() > 0 {
					t.Errorf("%d out of order, %d duplicates", ledger.disorder, ledger.duplicates())
				}
			})
		}
	}
}

// Mosquitto is killed and started again, with its sessions and without.
func TestBrokerRestarts(t *testing.T) {
	for _, persistence := range []bool{true, false} {
		t.Run(fmt.Sprintf("persistence %v", persistence), func(t *testing.T) {
			m := startMosquitto(t, persistence, "max_inflight_messages 0")
			b := serve(t, hasty(m.address))
			ledger := b.listen(t, "listener", "t/#", 2)
			one, two := b.open(t, "one"), b.open(t, "two")
			one.connect(false)
			two.connect(false)
			for round := range 5 {
				var both sync.WaitGroup
				both.Go(func() { one.publishAll("t/1", 1, round*100, round*100+100) })
				both.Go(func() { two.publishAll("t/2", 2, 1000+round*100, 1000+round*100+100) })
				if persistence {
					m.stop()
				} else {
					m.kill()
				}
				await(t, "away", func() bool { return !b.Up() })
				m.start()
				both.Wait()
			}
			await(t, "reconnected", func() bool { return b.Stats().Connected == 3 })
			st := b.Stats()
			t.Logf("%d of 1000 seen, %d uncertain, %d sessions lost, %d duplicates", ledger.seen(), st.Uncertain, st.SessionsLost, ledger.duplicates())
			if persistence {
				await(t, "all messages", func() bool { return ledger.seen() == 1000 })
			}
			// Every message has been answered. Without persistence the broker loses what it
			// had taken; the gateway itself must not lose any, nor its subscription.
			if !persistence && (st.SessionsLost < 10 || st.Uncertain > 20*st.SessionsLost) || persistence && st.Uncertain > 0 {
				t.Errorf("%+v", st)
			}
			one.publishAll("t/1", 1, 5000, 5001)
			await(t, "the message after the restart", func() bool {
				ledger.mu.Lock()
				defer ledger.mu.Unlock()
				return ledger.count[5000] == 1
			})
			for _, line := range []string{"the broker is away", "the broker is back"} {
				if n := b.logs.count(line); n < 1 || n > 5 {
					t.Errorf("%d times %q in the log:\n%s", n, line, b.logs)
				}
			}
			if n := strings.Count(b.logs.String(), "\n"); n > 12 {
				t.Errorf("%d lines in the log:\n%s", n, b.logs)
			}
		})
	}
}

func TestMosquittoStopped(t *testing.T) {
	m := startMosquitto(t, false)
	b := serve(t, quick(m.address))
	d := b.open(t, "c")
	d.connect(true)
	m.signal(syscall.SIGSTOP)
	for i := range 20 {
		d.publish(broker.Token(i), "t", strings.Repeat("x", 1000), 1)
	}
	await(t, "noticed", func() bool { return !b.Up() })
	d.quiet()
	m.signal(syscall.SIGCONT)
	for i := range 20 {
		d.answer(broker.Token(i), broker.CodeNoSubscribers)
	}
	await(t, "up", b.Up)
	if st := b.Stats(); st.Reconnects > 0 || st.Connected != 1 {
		t.Fatalf("%+v", st)
	}
}

// Somebody else connects with our client id. Mosquitto 2.0.11 does not say so: it takes
// three reconnects to find out.
func TestTakenOverAtMosquitto(t *testing.T) {
	m := startMosquitto(t, false)
	here, there := serve(t, quick(m.address)), serve(t, quick(m.address))
	d := here.open(t, "roamer")
	d.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(1)})
	d.answer(1, 0)
	d.subscribe("t", 1)
	other := there.open(t, "roamer")
	if ev := other.connect(false); !ev.SessionPresent {
		t.Fatalf("%+v", ev)
	}
	if ev := d.want(broker.Closed); ev.Code != broker.CodeTakenOver {
		t.Fatalf("%+v", ev)
	}
	other.publish(2, "x", "mine", 1)
	other.answer(2, broker.CodeNoSubscribers)
	if st := here.Stats(); st.TakenOver != 1 || st.Wills > 0 {
		t.Fatalf("%+v", st)
	}
}

func TestManyConnectAtOnce(t *testing.T) {
	const clients = 500
	m := startMosquitto(t, false)
	b := serve(t, quick(m.address))
	var c counter
	conns := connected(t, b, &c, clients)
	m.kill()
	await(t, "away", func() bool { return !b.Up() && b.Stats().Reconnecting == clients })
	m.start()
	await(t, "all back", func() bool { return b.Stats().Connected == clients })
	for i, conn := range conns {
		if err := conn.Do(&broker.Request{Op: broker.Publish, Token: broker.Token(i), Topic: "t", QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	b.Flush()
	await(t, "all answered", func() bool { return c.answered.Load() == clients })
	if n := b.logs.count("\n"); n > 10 { // 4, if the machine is not too busy
		t.Fatalf("log:\n%s", b.logs)
	}
	for _, conn := range conns {
		if err := conn.Do(&broker.Request{Op: broker.Disconnect}); err != nil {
			t.Fatal(err)
		}
	}
	b.Flush()
	await(t, "all gone", func() bool { st := b.Stats(); return st.Connected+st.Leaving == 0 })
}
