package disk

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/storetest"
)

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// lazy is a directory that syncs nothing, for tests that write much and crash never.
type lazy struct{ directory }

type lazyFile struct{ File }

func (lazy) SyncDir() error { return nil }

func (l lazy) Create(name string, _ int64) (File, error) {
	f, err := l.directory.Create(name, 0)
	return lazyFile{f}, err
}

func (l lazy) Open(name string) (File, error) {
	f, err := l.directory.Open(name)
	return lazyFile{f}, err
}

func (lazyFile) Sync() error { return nil }

func openLazy(t testing.TB, o Options) *Store {
	t.Helper()
	dir, err := openDirectory(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenFS(lazy{dir}, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// waitFor polls until something is so.
func waitFor(t testing.TB, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing has happened for a minute")
		}
		<-time.After(time.Millisecond)
	}
}

// The log stays small whatever is written, and what is to be there is.
func TestCleaning(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := fresh(t)
		s := openLazy(t, o)
		model := make(records)
		var last store.Mark
		steps := rapid.IntRange(50, 400).Draw(r, "steps")
		for range steps {
			var ops []store.Op
			for range rapid.IntRange(1, 4).Draw(r, "ops") {
				k := store.Key{Space: store.Space(rapid.IntRange(17, 19).Draw(r, "space")), Client: rapid.SampledFrom([]string{"a", "b"}).Draw(r, "client"), Number: rapid.Uint64Range(0, 30).Draw(r, "number")}
				if rapid.IntRange(0, 2).Draw(r, "what") == 0 {
					ops = append(ops, store.Op{Key: k})
					delete(model, k)
					continue
				}
				value := make([]byte, rapid.SampledFrom([]int{0, 10, 5000, 40_000}).Draw(r, "size"))
				copy(value, fmt.Sprint(rapid.Uint64().Draw(r, "value")))
				ops = append(ops, store.Op{Key: k, Value: value})
				model[k] = string(value)
			}
			last = s.Apply(ops...)
			switch rapid.IntRange(0, 40).Draw(r, "then") {
			case 0:
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = openLazy(t, o)
				last = 0
			case 1, 2, 3, 4, 5, 6:
				storetest.Wait(t, s, last)
			}
		}
		storetest.Wait(t, s, last)
		if got := storetest.Records(t, s); !maps.Equal(got, model) {
			r.Fatalf("%d records, want %d", len(got), len(model))
		}
		limit := int64(16*o.SegmentSize + 2*o.SegmentSize)
		waitFor(t, func() bool { st := s.Stats(); return st.LogBytes <= limit+2*st.LiveBytes })
		if st := s.Stats(); st.Records != len(model) || st.LiveBytes != modelBytes(model) {
			r.Fatalf("stats say %d records with %d octets, want %d with %d", st.Records, st.LiveBytes, len(model), modelBytes(model))
		}
		if err := s.Close(); err != nil {
			r.Fatal(err)
		}
		s = openLazy(t, o)
		if got := storetest.Records(t, s); !maps.Equal(got, model) {
			r.Fatalf("after a restart %d records, want %d", len(got), len(model))
		}
		s.Close()
	})
}

func modelBytes(m records) (n int64) {
	for k, v := range m {
		n += cost(k, len(v))
	}
	return n
}

// Records that stay outlive many rounds of the log, and what is deleted or replaced while
// its segment is being cleaned does not come back.
func TestCleaningDoesNotResurrect(t *testing.T) {
	o := fresh(t)
	s := open(t, o)
	model := make(records)
	value := make([]byte, 3000)
	for n := range 3000 {
		k := store.Key{Space: store.MQTTMessage, Client: "c", Number: uint64(n)}
		copy(value, fmt.Sprint(n))
		mark := s.Apply(store.Op{Key: k, Value: value})
		model[k] = string(value)
		if old := (store.Key{Space: store.MQTTMessage, Client: "c", Number: uint64(n / 2)}); n%50 != 0 {
			mark = s.Apply(store.Op{Key: old})
			delete(model, old)
		}
		storetest.Wait(t, s, mark)
	}
	storetest.Wait(t, s, s.Apply())
	if st := s.Stats(); st.BytesCleaned < 1<<20 {
		t.Errorf("only %d octets were cleaned: %+v", st.BytesCleaned, st)
	}
	for range 2 {
		if got := storetest.Records(t, s); !maps.Equal(got, model) {
			t.Fatalf("%d records, want %d", len(got), len(model))
		}
		closed(t, s)
		s = open(t, o)
	}
}
