package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// await waits until ok, which is asked again after each change that somebody tells of,
// and every few milliseconds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// quick are options that do not make a test wait.
func quick(address string) Options {
	o := DefaultOptions()
	o.URL = "mqtt://" + address
	o.ReconnectMin = 100 * time.Millisecond
	o.ReconnectMax = 500 * time.Millisecond
	o.HealthInterval = time.Second
	o.ConnectTimeout = 5 * time.Second
	return o
}

// logs collects log lines.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// served is a Broker that is being served.
type served struct {
	*Broker
	logs *logs
	stop func()
}

// serve serves until the test ends, or stop is called, and checks that Serve obeys.
func serve(t testing.TB, o Options) *served {
	t.Helper()
	l := &logs{}
	b, err := New(o, nil, slog.New(slog.NewTextHandler(l, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, func() { b.Flush() }) }()
	var once sync.Once
	s := &served{Broker: b, logs: l}
	s.stop = func() {
		once.Do(func() {
			cancel()
			begin := time.Now()
			select {
			case err := <-done:
				if took := time.Since(begin); err != nil || took > 2*time.Second {
					t.Errorf("Serve returned %v after %v", err, took)
				}
			case <-time.After(patience):
				t.Error("Serve does not end")
			}
		})
	}
	t.Cleanup(s.stop)
	return s
}

// device is the gateway's side of one Conn: it records events.
type device struct {
	broker.Conn
	t testing.TB
	b *served

	mu     sync.Mutex
	events []broker.Event
	hook   func(broker.Event) // called with mu held
}

func (b *served) open(t testing.TB, id string) *device {
	d := &device{t: t, b: b}
	d.Conn = b.Open(id, d)
	return d
}

func (d *device) Receive(ev broker.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, ev)
	if d.hook != nil {
		d.hook(ev)
	}
}

// do asks and flushes.
func (d *device) do(r broker.Request) {
	d.t.Helper()
	if err := d.Do(&r); err != nil {
		d.t.Fatalf("%v: %v", r.Op, err)
	}
	d.b.Flush()
}

// want waits for the next event and takes it.
func (d *device) want(kind broker.Kind) broker.Event {
	d.t.Helper()
	var ev broker.Event
	await(d.t, fmt.Sprintf("event of kind %d", kind), func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.events) == 0 {
			return false
		}
		ev, d.events = d.events[0], d.events[1:]
		return true
	})
	if ev.Kind != kind {
		d.t.Fatalf("event %+v, want kind %d", ev, kind)
	}
	return ev
}

// answer waits for the answer with a token.
func (d *device) answer(token broker.Token, code broker.Code) broker.Event {
	d.t.Helper()
	ev := d.want(broker.Answered)
	if ev.Token != token || ev.Code != code {
		d.t.Fatalf("answer %d with code 0x%02X, want %d with 0x%02X", ev.Token, ev.Code, token, code)
	}
	return ev
}

// message waits for a delivery.
func (d *device) message(topic, payload string) broker.Event {
	d.t.Helper()
	ev := d.want(broker.Delivered)
	if ev.Message.Topic != topic || string(ev.Message.Payload) != payload {
		d.t.Fatalf("delivered %q %q, want %q %q", ev.Message.Topic, ev.Message.Payload, topic, payload)
	}
	return ev
}

// quiet checks that nothing has been told.
func (d *device) quiet() {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.events) > 0 {
		d.t.Fatalf("told %+v, want nothing", d.events)
	}
}

func (d *device) connect(clean bool) broker.Event {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Connect, Token: 1000, CleanSession: clean})
	return d.answer(1000, 0)
}

func (d *device) subscribe(filter string, qos byte) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Subscribe, Token: 1001, Topic: filter, QoS: qos})
	if ev := d.answer(1001, 0); ev.QoS != qos {
		d.t.Fatalf("granted QoS %d, want %d", ev.QoS, qos)
	}
}

func (d *device) publish(token broker.Token, topic, payload string, qos byte) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Publish, Token: token, Topic: topic, Payload: []byte(payload), QoS: qos})
}

func (d *device) ack(ev broker.Event) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Ack, Token: ev.Token})
}

// freeAddress is a loopback address that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// reachable reports whether somebody listens at address.
func reachable(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	return errors.Join(c.Close()) == nil
}
