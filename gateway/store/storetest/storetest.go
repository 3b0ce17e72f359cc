// Package storetest has the tests that each store.Store has to pass.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/gateway/store"
)

// Wait waits until a mark is durable. The test fails if that takes a minute.
func Wait(t testing.TB, s store.Store, mark store.Mark) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Durable() < mark; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("durable up to %d after a minute, want %d; level %v", s.Durable(), mark, s.Level())
		}
	}
}

// Records is all that a store has.
func Records(t testing.TB, s store.Store) map[store.Key]string {
	t.Helper()
	all := make(map[store.Key]string)
	for space := range 256 {
		var last *store.Key
		err := s.All(store.Space(space), func(k store.Key, value []byte) error {
			if last != nil && store.CompareKeys(*last, k) >= 0 {
				t.Errorf("%v comes after %v", k, *last)
			}
			last = &k
			all[k] = string(value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Run runs the tests. Open makes an empty store; Reopen, which may be nil, closes a store
// and opens it again.
func Run(t *testing.T, open func(t *testing.T) store.Store, reopen func(t *testing.T, s store.Store) store.Store) {
	t.Run("put", func(t *testing.T) { testPut(t, open(t), reopen) })
	t.Run("last operation wins", func(t *testing.T) { testOrder(t, open(t), reopen) })
	t.Run("values are copied", func(t *testing.T) { testCopies(t, open(t)) })
	t.Run("all", func(t *testing.T) { testAll(t, open(t)) })
	t.Run("marks", func(t *testing.T) { testMarks(t, open(t)) })
	t.Run("notify", func(t *testing.T) { testNotify(t, open(t)) })
	t.Run("many", func(t *testing.T) { testMany(t, open(t), reopen) })
}

func want(t *testing.T, s store.Store, k store.Key, value string, exists bool) {
	t.Helper()
	v, err := s.Read(k, []byte("before "))
	switch {
	case !exists && !errors.Is(err, store.ErrNotFound):
		t.Errorf("%v: read %q, %v; want ErrNotFound", k, v, err)
	case exists && (err != nil || string(v) != "before "+value):
		t.Errorf("%v: read %q, %v; want %q", k, v, err, "before "+value)
	}
}

func end(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func testPut(t *testing.T, s store.Store, reopen func(*testing.T, store.Store) store.Store) {
	long := string(bytes.Repeat([]byte("long "), 100_000))
	s.Apply(
		store.Put(store.SessionState, "a", 0, []byte("state")),
		store.Put(store.SessionState, "", 0, []byte("no client")),
		store.Put(store.SessionTopic, "a", 1<<64-1, nil),
		store.Put(store.SessionTopic, "a\x00\xff", 7, []byte(long)),
		store.Put(store.SessionTopic, "gone", 7, []byte("x")))
	s.Apply(store.Delete(store.SessionTopic, "gone", 7), store.Delete(store.SessionTopic, "never", 7))
	for round := range 2 {
		want(t, s, store.Key{Space: store.SessionState, Client: "a"}, "state", true)
		want(t, s, store.Key{Space: store.SessionState}, "no client", true)
		want(t, s, store.Key{Space: store.SessionTopic, Client: "a", Number: 1<<64 - 1}, "", true)
		want(t, s, store.Key{Space: store.SessionTopic, Client: "a\x00\xff", Number: 7}, long, true)
		want(t, s, store.Key{Space: store.SessionTopic, Client: "gone", Number: 7}, "", false)
		want(t, s, store.Key{Space: store.SessionTopic, Client: "a", Number: 7}, "", false)
		want(t, s, store.Key{Space: store.MQTTSession, Client: "a"}, "", false)
		if round == 0 {
			if reopen == nil {
				break
			}
			s = reopen(t, s)
		}
	}
	end(t, s)
}

func testOrder(t *testing.T, s store.Store, reopen func(*testing.T, store.Store) store.Store) {
	k := func(n uint64) store.Key { return store.Key{Space: store.MQTTFlight, Client: "c", Number: n} }
	put := func(n uint64, v string) store.Op { return store.Op{Key: k(n), Value: []byte(v)} }
	del := func(n uint64) store.Op { return store.Op{Key: k(n)} }
	s.Apply(put(1, "a"), put(1, "b"), put(2, "a"), del(2), put(3, "a"), del(3), put(3, "b"))
	for _, wait := range []bool{true, false} {
		mark := s.Apply(put(4, "a"), put(5, "a"), put(6, "a"))
		if wait {
			Wait(t, s, mark)
		}
		s.Apply(del(4), put(5, "b"), del(6))
		s.Apply(put(6, "c"))
	}
	if reopen != nil {
		s = reopen(t, s)
	}
	for n, v := range map[uint64]string{1: "b", 3: "b", 5: "b", 6: "c"} {
		want(t, s, k(n), v, true)
	}
	want(t, s, k(2), "", false)
	want(t, s, k(4), "", false)
	end(t, s)
}

func testCopies(t *testing.T, s store.Store) {
	value := []byte("value")
	mark := s.Apply(store.Put(store.MQTTReceived, "c", 1, value))
	copy(value, "xxxxx")
	want(t, s, store.Key{Space: store.MQTTReceived, Client: "c", Number: 1}, "value", true)
	Wait(t, s, mark)
	want(t, s, store.Key{Space: store.MQTTReceived, Client: "c", Number: 1}, "value", true)
	end(t, s)
}

func testAll(t *testing.T, s store.Store) {
	mark := s.Apply(store.Put(store.SessionHand, "b", 2, []byte("b2")), store.Put(store.SessionHand, "b", 1, []byte("b1")))
	Wait(t, s, mark)
	s.Apply(store.Put(store.SessionHand, "a", 9, []byte("a9")), store.Put(store.SessionHand, "b", 2, []byte("new")), store.Put(store.SessionState, "a", 0, nil))
	var got []string
	err := s.All(store.SessionHand, func(k store.Key, v []byte) error {
		got = append(got, fmt.Sprint(k.Client, k.Number, string(v)))
		return nil
	})
	if w := []string{"a9a9", "b1b1", "b2new"}; err != nil || !slices.Equal(got, w) {
		t.Errorf("all: %v, %v; want %v", got, err, w)
	}
	stop := errors.New("stop")
	calls := 0
	err = s.All(store.SessionHand, func(store.Key, []byte) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("all ended with %v after %d calls", err, calls)
	}
	end(t, s)
}

func testMarks(t *testing.T, s store.Store) {
	Wait(t, s, s.Apply())
	last := store.Mark(0)
	for n := range uint64(200) {
		mark := s.Apply(store.Put(store.MQTTDelivery, "c", n%7, []byte{byte(n)}))
		if mark < last {
			t.Errorf("mark %d after %d", mark, last)
		}
		last = mark
	}
	Wait(t, s, s.Apply())
	if s.Durable() < last {
		t.Errorf("an empty Apply is durable, and %d before it is not: %d", last, s.Durable())
	}
	Wait(t, s, s.Apply(store.Delete(store.MQTTDelivery, "nobody", 1)))
	Wait(t, s, s.Apply(store.Put(store.MQTTDelivery, "d", 1, nil), store.Delete(store.MQTTDelivery, "d", 1)))
	end(t, s)
}

func testNotify(t *testing.T, s store.Store) {
	var mu sync.Mutex
	seen := store.Mark(0)
	s.Notify(func() {
		d := s.Durable()
		mu.Lock()
		defer mu.Unlock()
		seen = max(seen, d)
	})
	mark := s.Apply(store.Put(store.MQTTDelivery, "c", 1, nil))
	Wait(t, s, mark)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if _, memory := s.(*store.Memory); seen < mark && !memory {
		t.Errorf("told of %d, want %d", seen, mark)
	}
}

// testMany has several goroutines change records of their own.
func testMany(t *testing.T, s store.Store, reopen func(*testing.T, store.Store) store.Store) {
	const workers, rounds, records = 4, 300, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			client := fmt.Sprint("client ", w)
			for n := range rounds {
				number := uint64(n*7) % records
				k := store.Key{Space: store.MQTTMessage, Client: client, Number: number}
				value := fmt.Appendf(nil, "%d of %s", n, client)
				mark := s.Apply(store.Op{Key: k, Value: value})
				if n%3 == 0 {
					Wait(t, s, mark)
				}
				if v, err := s.Read(k, nil); err != nil || !bytes.Equal(v, value) {
					t.Errorf("read %q, %v; want %q", v, err, value)
				}
				if n%5 == 0 {
					s.Apply(store.Op{Key: k})
				}
			}
		})
	}
	wg.Wait()
	before := Records(t, s)
	if len(before) == 0 {
		t.Error("nothing is left")
	}
	if reopen != nil {
		s = reopen(t, s)
		if after := Records(t, s); !equal(before, after) {
			t.Errorf("%d records before, %d others after", len(before), len(after))
		}
	}
	end(t, s)
}

func equal(a, b map[store.Key]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
