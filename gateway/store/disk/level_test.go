package disk

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"log/slog"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/storetest"
)

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Options){
		"sync_interval": func(o *Options) { o.SyncInterval = 2e9 },
		"max_bytes":     func(o *Options) { o.MaxBytes = 1000 },
		"max_records":   func(o *Options) { o.MaxRecords = 1 },
		"segment_size":  func(o *Options) { o.SegmentSize = 4096 },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, by := range []string{"records", "bytes"} {
		o := fresh(t)
		size, unit := 0, 10 // records for each percent
		if by == "records" {
			o.MaxRecords = 1000
		} else {
			o.MaxBytes = 1 << 20
			size, unit = 1048-overhead-1, 10
		}
		s := openLazy(t, o)
		value, n := make([]byte, size), 0
		to := func(percent int, want store.Level) {
			t.Helper()
			for ; n < percent*unit; n++ {
				s.Apply(store.Put(store.MQTTMessage, "c", uint64(n), value))
			}
			for ; n > percent*unit; n-- {
				s.Apply(store.Delete(store.MQTTMessage, "c", uint64(n-1)))
			}
			if s.Level() != want {
				t.Errorf("%s: at %d %% the level is %v, want %v", by, percent, s.Level(), want)
			}
		}
		to(69, store.Normal)
		to(71, store.Warning)
		to(66, store.Warning)
		to(64, store.Normal)
		to(79, store.Warning)
		to(81, store.Crowded)
		to(91, store.Full)
		to(86, store.Full)
		to(84, store.Crowded)
		to(76, store.Crowded)
		to(91, store.Full)
		storetest.Wait(t, s, s.Apply())
		closed(t, s)
		s = openLazy(t, o)
		to(91, store.Full)
		to(60, store.Normal)
	}
}

// broken is a directory in which some operations fail.
type broken struct {
	FS
	create, sync atomic.Value // of error
}

type brokenFile struct {
	File
	fs *broken
}

var errNone = errors.New("none")

func (b *broken) fail(v *atomic.Value) error {
	if err, _ := v.Load().(error); err != nil && !errors.Is(err, errNone) {
		return err
	}
	return nil
}

func (b *broken) Create(name string, size int64) (File, error) {
	if err := b.fail(&b.create); err != nil {
		return nil, err
	}
	f, err := b.FS.Create(name, size)
	return brokenFile{f, b}, err
}

func (b *broken) Open(name string) (File, error) {
	f, err := b.FS.Open(name)
	return brokenFile{f, b}, err
}

func (b *broken) Lock(name string) (io.Closer, error) { return b.FS.Lock(name) }

func (f brokenFile) Sync() error {
	if err := f.fs.fail(&f.fs.sync); err != nil {
		return err
	}
	return f.File.Sync()
}

func openBroken(t *testing.T, o Options) (*Store, *broken) {
	t.Helper()
	dir, err := openDirectory(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &broken{FS: dir}
	s, err := OpenFS(b, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, b
}

// While the disk fails nothing is durable, what was applied can be read, and everything
// becomes durable when the disk works again, without a restart.
func TestDegraded(t *testing.T) {
	o := fresh(t)
	s, b := openBroken(t, o)
	told := make(chan store.Level, 1000)
	s.Notify(func() { told <- s.Level() })
	commit(t, s, store.Put(store.SessionState, "c", 0, []byte("old")))

	b.sync.Store(errors.Join(syscall.EIO))
	mark := s.Apply(store.Put(store.SessionState, "c", 0, []byte("new")))
	waitFor(t, func() bool { return s.Level() == store.Degraded })
	later := s.Apply(store.Put(store.SessionState, "d", 0, []byte("later")))
	if s.Durable() >= mark {
		t.Error("durable on a disk that fails")
	}
	want := records{{Space: store.SessionState, Client: "c"}: "new", {Space: store.SessionState, Client: "d"}: "later"}
	if got := storetest.Records(t, s); len(got) != 2 || got[store.Key{Space: store.SessionState, Client: "c"}] != "new" {
		t.Errorf("records %v, want %v", got, want)
	}
	b.sync.Store(errors.Join(errNone))
	storetest.Wait(t, s, later)
	waitFor(t, func() bool { return s.Level() == store.Normal })
	if s.Stats().Failures == 0 {
		t.Error("no failure was counted")
	}
	closed(t, s)
	degraded := false
	for len(told) > 0 {
		if <-told == store.Degraded {
			degraded = true
		}
	}
	if !degraded {
		t.Error("nobody was told that the store was degraded")
	}
	if got := storetest.Records(t, open(t, o)); len(got) != 2 || got[store.Key{Space: store.SessionState, Client: "d"}] != "later" {
		t.Errorf("after a restart %v, want %v", got, want)
	}
}

func TestCloseOfABrokenDisk(t *testing.T) {
	s, b := openBroken(t, fresh(t))
	commit(t, s, store.Put(store.SessionState, "c", 0, nil))
	b.sync.Store(errors.Join(syscall.EIO))
	s.Apply(store.Put(store.SessionState, "d", 0, nil))
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v, want EIO", err)
	}
	if _, err := s.Read(store.Key{Space: store.SessionState, Client: "c"}, nil); !errors.Is(err, errClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// The reserve is given up on a full disk, so that what was accepted can still be finished;
// new messages are refused until it can be made again.
func TestReserve(t *testing.T) {
	o := fresh(t)
	s, b := openBroken(t, o)
	commit(t, s, store.Put(store.SessionState, "c", 0, nil))
	b.create.Store(errors.Join(syscall.ENOSPC))
	value := make([]byte, 50_000) // so that the next one needs a new segment
	s.Apply(store.Put(store.MQTTMessage, "c", 1, value))
	mark := s.Apply(store.Put(store.MQTTMessage, "c", 2, value))
	waitFor(t, func() bool { return s.Level() == store.Degraded })
	if names, err := s.fs.List(); err != nil || strings.Contains(strings.Join(names, " "), reserveFile) {
		t.Errorf("the reserve is still there: %v, %v", names, err)
	}
	b.create.Store(errors.Join(errNone))
	storetest.Wait(t, s, mark)
	waitFor(t, func() bool { return s.Level() == store.Normal })
}
