package disk

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is options with which little is needed to fill segments.
func small(dir string) Options {
	o := DefaultOptions()
	o.Dir, o.SyncInterval, o.SegmentSize = dir, 0, 64<<10
	return o
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) Options { return small(filepath.Join(t.TempDir(), "state")) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, fresh(t)) }, func(t *testing.T, s store.Store) store.Store {
		o := s.(*Store).options
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return open(t, o)
	})
}

func TestDirectory(t *testing.T) {
	top := t.TempDir()
	o := small(filepath.Join(top, "a", "b"))
	s := open(t, o)
	storetest.Wait(t, s, s.Apply(store.Put(store.SessionState, "c", 1, []byte("value"))))

	if _, err := Open(o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), o.Dir) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one in the same directory: %v", err)
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, formatFile: 0o600, lockFile: 0o600, reserveFile: 0o600, segmentName(1): 0o600} {
		info, err := os.Stat(filepath.Join(o.Dir, name))
		if err != nil || hasModes && info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %04o", name, info, err, mode)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, o).Close()

	if err := os.Chmod(o.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o, slog.New(slog.DiscardHandler)); hasModes && (err == nil || !strings.Contains(err.Error(), "chmod 0700 "+o.Dir)) {
		t.Errorf("others have access: %v", err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(small(file), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Open(small(""), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened nothing")
	}
}
