package aggregate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inside is a Local that notes what comes in, with a record of each message.
type inside struct {
	*memory.Broker
	mu     sync.Mutex
	number uint64
	got    []string // topic payload, and to whom if it is retained
}

func (l *inside) Inbound(m *broker.Message, retain bool, to []string, apply func([]store.Op) store.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := m.Topic + " " + string(m.Payload)
	if retain {
		slices.Sort(to)
		text += fmt.Sprintf(" for %v", to)
	}
	if m.QoS > 0 {
		l.number++
		apply([]store.Op{store.Put(store.MQTTDelivery, "here", l.number, m.Payload)})
	}
	l.got = append(l.got, text)
}

func (l *inside) inbound() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// world is a Broker that is being served in a bubble of time.
type world struct {
	*Broker
	far   *memory.Broker
	near  *inside
	store *store.Memory
}

func run(t *testing.T, links int, far *memory.Broker, f func(w *world)) {
	t.Helper()
	st := store.NewMemory()
	far.Keep(st)
	b, err := New(Options{ClientID: "gw", Links: links}, far, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Broker: b, far: far, near: &inside{Broker: memory.New()}, store: st}
	b.Join(w.near)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, func() {}) }()
	synctest.Wait()
	f(w)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// come subscribes, and returns what the answer was.
func (w *world) come(name, client string, qos byte) (answers *[]string) {
	answers = new([]string)
	w.Subscribe(name, client, qos, func(code broker.Code, granted byte) {
		*answers = append(*answers, fmt.Sprintf("%v %d", code.Failed(), granted))
	})
	w.settle()
	synctest.Wait()
	return answers
}

func (w *world) wantInbound(t *testing.T, want ...string) {
	t.Helper()
	w.settle()
	synctest.Wait()
	if got := w.near.inbound(); !slices.Equal(got, want) {
		t.Errorf("inbound: %q, want %q", got, want)
	}
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run(t, 3, memory.New(), func(w *world) {
			for i := range 30 {
				from := fmt.Sprint("c", i%10)
				with := store.Put(store.SessionExchange, from, uint64(i), []byte{1})
				r := broker.Request{Op: broker.Publish, Topic: "t", Payload: fmt.Append(nil, i), QoS: byte(i % 3), With: []store.Op{with}}
				code, mark := w.Publish(from, &r)
				if code.Failed() || i%3 > 0 && mark == 0 {
					t.Errorf("%d: code %v, mark %d", i, code, mark)
				}
				if _, err := w.store.Read(with.Key, nil); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
			links := make(map[string]string) // by payload modulo 10, which is the client
			for _, p := range w.far.Published() {
				client := string(p.Payload[len(p.Payload)-1:])
				if before := links[client]; before != "" && before != p.ClientID {
					t.Errorf("client %s by %s and %s", client, before, p.ClientID)
				}
				links[client] = p.ClientID
				if !strings.HasPrefix(p.ClientID, "gw-") {
					t.Errorf("published by %q", p.ClientID)
				}
			}
			if n := len(w.far.Published()); n != 30 {
				t.Errorf("%d published", n)
			}
			w.far.BusyAfter(0)
			if code, _ := w.Publish("c", &broker.Request{Op: broker.Publish, Topic: "t", QoS: 1}); !code.Failed() {
				t.Error("a busy link takes a message")
			}
		})
	})
}

// A filter is subscribed to once, with the highest QoS, and given up with the last client.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run(t, 2, memory.New(), func(w *world) {
			if a := *w.come("a", "one", 0); !slices.Equal(a, []string{"false 0"}) {
				t.Errorf("answers %q", a)
			}
			if a := *w.come("a", "two", 2); !slices.Equal(a, []string{"false 2"}) {
				t.Errorf("answers %q", a)
			}
			if a := *w.come("a", "three", 1); !slices.Equal(a, []string{"false 1"}) {
				t.Errorf("answers %q", a)
			}
			if got := w.far.Subscriptions("gw-0"); len(got) != 1 || got["a"] != 2 {
				t.Errorf("subscriptions %v", got)
			}
			if got := w.far.Subscriptions("gw-1"); len(got) != 0 {
				t.Errorf("subscriptions of the second link %v", got)
			}
			w.far.Publish("a", []byte("x"), 2, false)
			w.wantInbound(t, "a x")
			w.Unsubscribe("a")
			w.settle()
			if got := w.far.Subscriptions("gw-0"); len(got) != 0 {
				t.Errorf("subscriptions %v", got)
			}
			w.far.Refuse(broker.Subscribe, broker.CodeNotAuthorized)
			if a := *w.come("b", "one", 1); !slices.Equal(a, []string{"true 0"}) {
				t.Errorf("answers %q", a)
			}
			if a := *w.come("$share/g/b", "one", 1); !slices.Equal(a, []string{"true 0"}) {
				t.Errorf("answers %q", a)
			}
		})
	})
}

// Retained messages are for those who have just come. Who comes while they arrive waits.
func TestNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := memory.New()
		far.Publish("a", []byte("r"), 1, true)
		run(t, 1, far, func(w *world) {
			w.come("a", "one", 1)
			w.wantInbound(t, "a r for [one]")
			w.come("a", "two", 1)
			w.come("a", "three", 1)
			w.wantInbound(t, "a r for [one]")
			time.Sleep(retainedTime + time.Second)
			w.wantInbound(t, "a r for [one]", "a r for [three two]")
			w.come("+", "one", 1)
			w.wantInbound(t, "a r for [one]", "a r for [three two]", "a r for [one three two]")
		})
	})
}

// What was subscribed to before a restart of the broker elsewhere, or of a link, is
// subscribed to again; nobody is given retained messages for that.
func TestLinkIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := memory.New()
		far.Publish("a", []byte("r"), 1, true)
		run(t, 1, far, func(w *world) {
			w.come("a", "one", 1)
			time.Sleep(time.Minute)
			far.Kick("gw-0", broker.CodeTakenOver)
			far.Forget("gw-0")
			far.Publish("a", []byte("lost"), 1, false)
			time.Sleep(time.Minute)
			far.Publish("a", []byte("x"), 1, false)
			w.wantInbound(t, "a r for [one]", "a r for []", "a x")
			far.Refuse(broker.Connect, broker.CodeNotAuthorized)
			far.Kick("gw-0", broker.CodeUnspecified)
			if code, _ := w.Publish("c", &broker.Request{Op: broker.Publish, Topic: "t", QoS: 1}); !code.Failed() {
				t.Error("a closed link takes a message")
			}
			time.Sleep(10 * time.Minute)
			n := 0
			for _, a := range far.Asked() {
				if a.Op == broker.Connect {
					n++
				}
			}
			if n < 5 || n > 30 {
				t.Errorf("%d attempts to connect", n)
			}
			far.Refuse(broker.Connect, 0)
			time.Sleep(3 * time.Minute)
			if code, _ := w.Publish("c", &broker.Request{Op: broker.Publish, Topic: "t", QoS: 1}); code.Failed() {
				t.Errorf("after it is connected again: %v", code)
			}
		})
	})
}

// While the store is full nothing is taken from the broker elsewhere: it keeps it.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run(t, 1, memory.New(), func(w *world) {
			w.come("a", "one", 1)
			w.store.SetLevel(store.Full)
			w.far.Publish("a", []byte("x"), 1, false)
			w.wantInbound(t)
			if unacked, _ := w.far.Unacked("gw-0"); unacked != 1 {
				t.Errorf("%d unacknowledged", unacked)
			}
			w.store.SetLevel(store.Normal)
			w.wantInbound(t, "a x")
			if unacked, _ := w.far.Unacked("gw-0"); unacked != 0 {
				t.Errorf("%d unacknowledged", unacked)
			}
		})
	})
}

func TestNeedsStore(t *testing.T) {
	if _, err := New(Options{Links: 1}, memory.New(), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--state") {
		t.Errorf("without a store: %v", err)
	}
}

// Without a name of its own, a gateway has the same client ids after a restart.
func TestName(t *testing.T) {
	st := store.NewMemory()
	ids := func() (all []string) {
		b, err := New(Options{Links: 2}, memory.New(), st, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range b.links {
			all = append(all, l.id)
		}
		return all
	}
	first := ids()
	if again := ids(); !slices.Equal(first, again) || first[0] == first[1] || !strings.HasPrefix(first[0], "mqttsn-gateway-") {
		t.Errorf("%q, then %q", first, again)
	}
	st.Apply(store.Put(store.AggregateName, "", 0, []byte{1, 200}))
	if _, err := New(Options{Links: 2}, memory.New(), st, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "client_id") {
		t.Errorf("a damaged name: %v", err)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a/+", "a/b", true},
		{"a/+", "a", false},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"#", "a/b", true},
		{"+/b", "a/b", true},
		{"+", "a/b", false},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"+/+", "/a", true},
		{"/+", "/a", true},
		{"a//b", "a//b", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
	}
}
