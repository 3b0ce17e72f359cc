package disk_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/gateway/store/simfs"
)

// badFS spoils a file system: what is nil in it works.
type badFS struct {
	*simfs.FS
	sync    func(disk.File) error
	syncDir func() error
	write   func(f disk.File, b []byte, off int64) (int, error)
}

type badFile struct {
	disk.File
	fs *badFS
}

func (b *badFS) Create(name string, size int64) (disk.File, error) {
	f, err := b.FS.Create(name, size)
	return b.wrap(f, err)
}

func (b *badFS) Open(name string) (disk.File, error) {
	f, err := b.FS.Open(name)
	return b.wrap(f, err)
}

func (b *badFS) wrap(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return badFile{f, b}, nil
}

func (b *badFS) SyncDir() error {
	if b.syncDir != nil {
		return b.syncDir()
	}
	return b.FS.SyncDir()
}

func (f badFile) Sync() error {
	if f.fs.sync != nil {
		return f.fs.sync(f.File)
	}
	return f.File.Sync()
}

func (f badFile) WriteAt(b []byte, off int64) (int, error) {
	if f.fs.write != nil {
		return f.fs.write(f.File, b, off)
	}
	return f.File.WriteAt(b, off)
}

// hasty says that all is durable as soon as it is applied.
type hasty struct {
	store.Store
	mu   sync.Mutex
	last store.Mark
}

func (h *hasty) Apply(ops ...store.Op) store.Mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.Store.Apply(ops...)
	return h.last
}

func (h *hasty) Durable() store.Mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// forgetful loses one change in each batch of three or more.
type forgetful struct{ store.Store }

func (f forgetful) Apply(ops ...store.Op) store.Mark {
	if len(ops) > 2 {
		ops = ops[1:]
	}
	return f.Store.Apply(ops...)
}

func bad(spoil func(*badFS)) opener {
	return func(fs *simfs.FS, o disk.Options) (store.Store, error) {
		b := &badFS{FS: fs}
		spoil(b)
		return openOn(b, o)
	}
}

// Stores that are wrong are found out by the same tests that the real one passes.
func TestSimControl(t *testing.T) {
	for _, c := range []struct {
		name  string
		open  opener
		crash bool // a crash alone shows it, no operation needs to fail
	}{
		{"syncs nothing", bad(func(b *badFS) {
			b.sync = func(disk.File) error { return nil }
		}), true},
		{"syncs files and no names", bad(func(b *badFS) {
			b.syncDir = func() error { return nil }
		}), true},
		{"acknowledges before the sync", func(fs *simfs.FS, o disk.Options) (store.Store, error) {
			s, err := openDisk(fs, o)
			return &hasty{Store: s}, err
		}, true},
		{"loses a change", func(fs *simfs.FS, o disk.Options) (store.Store, error) {
			s, err := openDisk(fs, o)
			return forgetful{s}, err
		}, true},
		{"takes no notice when a sync fails", bad(func(b *badFS) {
			b.sync = func(f disk.File) error { f.Sync(); return nil }
		}), false},
		{"syncs again when a sync fails", bad(func(b *badFS) {
			b.sync = func(f disk.File) error {
				if f.Sync() == nil {
					return nil
				}
				return f.Sync()
			}
		}), false},
		{"takes no notice when a write fails", bad(func(b *badFS) {
			b.write = func(f disk.File, p []byte, off int64) (int, error) {
				f.WriteAt(p, off)
				return len(p), nil
			}
		}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := func(what string, run func() error) bool {
				var err error
				synctest.Test(t, func(*testing.T) { err = run() })
				if errors.Is(err, errWrong) {
					t.Logf("found in %s: %v", what, err)
					return true
				}
				return false
			}
			crash, fail, random := false, false, false
			for n := 1; n < 100 && c.crash && !crash; n++ {
				crash = found("a crash", func() error { _, err := crashAt(1, n, c.open); return err })
			}
			for n := 1; n < 600 && !fail; n++ {
				f := failures[n/40%len(failures)]
				fail = found("a failure", func() error { _, err := failAt(uint64(n/40), 1+n%40, f, c.open); return err })
			}
			for seed := uint64(1); seed < 200 && !random; seed++ {
				random = found("a random run", func() error { return swarm(seed, c.open) })
			}
			if crash != c.crash || !fail || !random {
				t.Errorf("found by crashes: %t, by failures: %t, by random runs: %t", crash, fail, random)
			}
		})
	}
}
