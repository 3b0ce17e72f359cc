package simfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"mqttsn-gateway/gateway/store/disk"
)

var _ disk.FS = (*FS)(nil)

// create makes a file with text in it.
func create(t *testing.T, s *FS, name, text string) disk.File {
	t.Helper()
	f, err := s.Create(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, text, 0)
	return f
}

func write(t *testing.T, f disk.File, text string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(text), off); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(text), err)
	}
}

func read(t *testing.T, f disk.File) string {
	t.Helper()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(b)
}

// content is what stands in a file; "none" if there is none.
func content(t *testing.T, s *FS, name string) string {
	t.Helper()
	f, err := s.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return read(t, f)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// After a power cut there is what was synced, and of the rest what the test wants.
func TestCrash(t *testing.T) {
	for _, c := range []struct {
		name       string
		do         func(s *FS, f disk.File)
		none, kill string // after KeepNothing; after KeepAll and CrashKill
	}{
		{"nothing synced", func(*FS, disk.File) {}, "none", "old"},
		{"file only", func(_ *FS, f disk.File) { must(t, f.Sync()) }, "none", "old"},
		{"directory only", func(s *FS, _ disk.File) { must(t, s.SyncDir()) }, "", "old"},
		{"both", func(s *FS, f disk.File) { must(t, errors.Join(f.Sync(), s.SyncDir())) }, "old", "old"},
		{"and more written", func(s *FS, f disk.File) {
			must(t, errors.Join(f.Sync(), s.SyncDir()))
			write(t, f, "newer", 0)
		}, "old", "newer"},
		{"and truncated", func(s *FS, f disk.File) {
			must(t, errors.Join(f.Sync(), s.SyncDir(), f.Truncate(1)))
		}, "old", "o"},
		{"and removed", func(s *FS, f disk.File) {
			must(t, errors.Join(f.Sync(), s.SyncDir(), s.Remove("a")))
		}, "old", "none"},
		{"and removed durably", func(s *FS, f disk.File) {
			must(t, errors.Join(f.Sync(), s.SyncDir(), s.Remove("a"), s.SyncDir()))
		}, "none", "none"},
		{"and replaced", func(s *FS, f disk.File) {
			must(t, errors.Join(f.Sync(), s.SyncDir()))
			g := create(t, s, "b", "other")
			must(t, errors.Join(g.Sync(), s.Rename("b", "a")))
		}, "old", "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, end := range []struct {
				crash func(*FS) *FS
				want  string
			}{
				{func(s *FS) *FS { return s.Crash(KeepNothing) }, c.none},
				{func(s *FS) *FS { return s.Crash(KeepAll) }, c.kill},
				{func(s *FS) *FS { return s.CrashKill() }, c.kill},
				{func(s *FS) *FS { return s.CrashKill().Crash(KeepNothing) }, c.none},
			} {
				s := New(1)
				f := create(t, s, "a", "old")
				c.do(s, f)
				after := end.crash(s)
				if got := content(t, after, "a"); got != end.want {
					t.Errorf("there is %q, want %q", got, end.want)
				}
				if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, ErrStopped) {
					t.Errorf("a write by the dead: %v", err)
				}
			}
		})
	}
}

// Random leaves all that is possible, sector by sector, and nothing else.
func TestCrashRandom(t *testing.T) {
	sector := func(c byte) string { return string(bytes.Repeat([]byte{c}, sectorSize)) }
	got := make(map[string]int)
	for seed := range uint64(300) {
		s := New(seed)
		f := create(t, s, "a", sector('a')+sector('b'))
		must(t, errors.Join(f.Sync(), s.SyncDir()))
		write(t, f, sector('A')+sector('B')+sector('C'), 0)
		text := content(t, s.Crash(Random), "a")
		var short []byte
		for i := range len(text) / sectorSize {
			part := text[i*sectorSize : (i+1)*sectorSize]
			if part != sector(part[0]) {
				t.Fatalf("seed %d: a sector was torn", seed)
			}
			short = append(short, part[0])
		}
		got[string(short)]++
	}
	var want []string
	for _, a := range "aA" {
		for _, b := range "bB" {
			want = append(want, fmt.Sprintf("%c%c", a, b), fmt.Sprintf("%c%cC", a, b))
		}
	}
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("%q never came", w)
		}
		delete(got, w)
	}
	if len(got) > 0 {
		t.Errorf("wrong: %v", got)
	}
}

// Each un-synced change of the directory may be there or not.
func TestCrashRandomNames(t *testing.T) {
	got := make(map[string]bool)
	for seed := range uint64(300) {
		s := New(seed)
		must(t, errors.Join(create(t, s, "old", "old").Sync(), create(t, s, "gone", "gone").Sync(), s.SyncDir()))
		must(t, create(t, s, "new", "new").Sync())
		must(t, errors.Join(s.Rename("new", "old"), s.Remove("gone")))
		after := s.Crash(Random)
		names, err := after.List()
		must(t, err)
		got[fmt.Sprint(names, content(t, after, "old"))] = true
	}
	for _, want := range []string{
		"[gone old]old", "[gone new old]old", "[gone old]new", "[old]new", "[old]old", "[new old]old",
	} {
		if !got[want] {
			t.Errorf("%s never came", want)
		}
		delete(got, want)
	}
	if len(got) > 0 {
		t.Errorf("wrong: %v", got)
	}
}

// A failed Sync drops what it should have written: the next one succeeds without it, and a
// process that starts after a kill may still read it.
func TestFailedSync(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range uint64(20) {
		s := New(seed)
		f := create(t, s, "a", "old")
		must(t, errors.Join(f.Sync(), s.SyncDir()))
		write(t, f, "NEW", 0)
		s.FailAt(s.Ops()+1, IO)
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		text := read(t, f)
		seen[text] = true
		if keep := s.Crash(KeepAll); content(t, keep, "a") != text {
			t.Fatalf("the file read %q, and all that is kept is %q", text, content(t, keep, "a"))
		}
		s.dead = false // that was a look ahead
		write(t, f, "er", 3)
		must(t, f.Sync())
		if got := content(t, s.CrashKill().Crash(KeepNothing), "a"); got != "older" {
			t.Fatalf("there is %q, want %q", got, "older")
		}
	}
	if !seen["old"] || !seen["NEW"] || len(seen) != 2 {
		t.Errorf("read after the failure: %v", seen)
	}
}

func TestFaults(t *testing.T) {
	s := New(1)
	f := create(t, s, "a", "0123456789") // operations 1 and 2
	s.FailAt(3, NoSpace)                 // waits for a write
	must(t, f.Sync())
	if n, err := f.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %d, %v", n, err)
	}
	must(t, f.Sync()) // once
	s.FailFrom(s.Ops()+1, IO)
	for range 2 {
		for op, err := range map[string]error{
			"sync": f.Sync(), "syncdir": s.SyncDir(), "rename": s.Rename("a", "b"),
			"remove": s.Remove("a"), "truncate": f.Truncate(0),
		} {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	s.Heal()
	if got := content(t, s, "a"); got != "0123456789" {
		t.Errorf("what failed was done: %q", got)
	}
	parts := make(map[int]bool)
	for range 100 {
		s.FailAt(0, Torn)
		n, err := f.WriteAt([]byte("abc"), 10)
		if err == nil {
			t.Fatal("no error")
		}
		if got := read(t, f); got[10:] != "abc"[:len(got)-10] || len(got)-10 < n {
			t.Fatalf("a part of it is there: %q", got)
		}
		parts[n] = true
		must(t, f.Truncate(10))
	}
	if len(parts) != 4 {
		t.Errorf("parts written: %v", parts)
	}
	s.FailReadAt(s.Reads() + 1)
	if _, err := f.Size(); !errors.Is(err, syscall.EIO) {
		t.Errorf("size: %v", err)
	}
	if _, err := f.Size(); err != nil {
		t.Errorf("size: %v", err)
	}
}

func TestCapacity(t *testing.T) {
	s := New(3)
	s.SetCapacity(2 * sectorSize)
	f := create(t, s, "a", "")
	if n, err := f.WriteAt(make([]byte, 3*sectorSize), 0); n != 2*sectorSize || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d: %v", n, err)
	}
	write(t, f, "in place", 0)
	must(t, s.Remove("a"))
	if _, err := s.Create("b", 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create while a removed file is open: %v", err)
	}
	must(t, f.Close())
	s.Remove("b") // it may be there
	if _, err := s.Create("b", 2*sectorSize); err != nil {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	s := New(1)
	s.StopAt(4)
	f := create(t, s, "a", "one") // 1, 2
	must(t, f.Sync())
	if s.Stopped() {
		t.Error("stopped too early")
	}
	if err := s.SyncDir(); !errors.Is(err, ErrStopped) || !s.Stopped() {
		t.Errorf("operation 4: %v", err)
	}
	if _, err := s.List(); !errors.Is(err, ErrStopped) {
		t.Errorf("list: %v", err)
	}
	if _, err := f.WriteAt([]byte("two"), 0); !errors.Is(err, ErrStopped) {
		t.Errorf("write: %v", err)
	}
	if got := content(t, s.CrashKill(), "a"); got != "one" {
		t.Errorf("there is %q", got)
	}
}

func TestNames(t *testing.T) {
	s := New(1)
	f := create(t, s, "a", "")
	for name, c := range map[string]struct{ got, want error }{
		"create": {func() error { _, err := s.Create("a", 0); return err }(), fs.ErrExist},
		"open":   {func() error { _, err := s.Open("b"); return err }(), fs.ErrNotExist},
		"rename": {s.Rename("b", "c"), fs.ErrNotExist},
		"remove": {s.Remove("b"), fs.ErrNotExist},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	lock, err := s.Lock("LOCK")
	must(t, err)
	if _, err := s.Lock("LOCK"); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	if names, _ := s.List(); !slices.Equal(names, []string{"LOCK", "a"}) {
		t.Errorf("names: %v", names)
	}
	if s.OpenFiles() != 2 {
		t.Errorf("%d open files", s.OpenFiles())
	}
	must(t, errors.Join(lock.Close(), f.Close()))
	if err := f.Sync(); !errors.Is(err, fs.ErrClosed) || s.OpenFiles() != 0 {
		t.Errorf("sync of a closed file: %v; %d open", err, s.OpenFiles())
	}
}

// The same seed does the same.
func TestSeed(t *testing.T) {
	run := func(seed uint64) string {
		s := New(seed)
		for i := range 20 {
			f := create(t, s, fmt.Sprint(i), "text")
			if i%3 == 0 {
				must(t, f.Sync())
			}
		}
		after := s.Crash(Random)
		names, _ := after.List()
		all := fmt.Sprint(names)
		for _, n := range names {
			all += content(t, after, n)
		}
		return all
	}
	different := make(map[string]bool)
	for seed := range uint64(20) {
		got := run(seed)
		if again := run(seed); got != again {
			t.Fatalf("seed %d: %q, then %q", seed, got, again)
		}
		different[got] = true
	}
	if len(different) < 10 {
		t.Errorf("20 seeds make %d different crashes", len(different))
	}
}
