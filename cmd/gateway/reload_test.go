package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fileReader is a part whose file must not be empty.
type fileReader struct {
	name string
	text atomic.Value // string
}

func (f *fileReader) Files() []string { return []string{f.name} }

func (f *fileReader) Reload() error {
	text, err := os.ReadFile(f.name)
	if err == nil && len(text) == 0 {
		err = errors.New("text_file: " + f.name + " is empty")
	}
	if err == nil {
		f.text.Store(string(text))
	}
	return err
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Files are read when they have changed and have come to rest, and one that cannot be used
// changes nothing.
func TestReloaderWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := &fileReader{name: filepath.Join(dir, "text")}
		put(t, f.name, "one")
		f.text.Store("one")
		log := &journal{}
		r := newReloader(log.logger())
		r.add("text", f)
		ctx, stop := context.WithCancel(t.Context())
		signals := make(chan os.Signal)
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx, signals) }()
		pass := func(looks int) {
			time.Sleep(time.Duration(looks) * watchPause)
			synctest.Wait()
		}
		want := func(what, text string, failed, ok uint64) {
			t.Helper()
			if f.text.Load() != text || r.reloads[0].Load() != failed || r.reloads[1].Load() != ok {
				t.Errorf("%s: %q, %d failed, %d ok", what, f.text.Load(), r.reloads[0].Load(), r.reloads[1].Load())
			}
		}
		pass(3)
		want("unchanged", "one", 0, 0)
		put(t, f.name, "two")
		pass(1)
		want("seen once", "one", 0, 0)
		pass(1)
		want("changed", "two", 0, 1)
		pass(5)
		want("read once", "two", 0, 1)
		put(t, f.name, "")
		pass(5)
		want("broken", "two", 1, 1)
		if err := os.Remove(f.name); err != nil {
			t.Fatal(err)
		}
		pass(5)
		want("gone", "two", 2, 1)
		// A file that takes its place, as old and as long as the one before.
		put(t, f.name, "333")
		pass(2)
		want("back", "333", 2, 2)
		info, err := os.Stat(f.name)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(dir, "other")
		put(t, other, "444")
		if err := errors.Join(os.Chtimes(other, time.Time{}, info.ModTime()), os.Rename(other, f.name)); err != nil {
			t.Fatal(err)
		}
		pass(2)
		want("replaced", "444", 2, 3)
		signals <- os.Interrupt
		pass(1)
		want("asked for", "444", 2, 4)
		stop()
		<-ended
		var failures int
		for _, m := range log.messages(t) {
			if strings.Contains(m, "stays in use: text_file: "+f.name+" is empty") {
				failures++
			}
		}
		if failures != 1 {
			t.Errorf("%q", log.messages(t))
		}
	})
}

// oracle is a part that has learnt something, and has no files.
type oracle struct{ reloads atomic.Int32 }

func (o *oracle) Files() []string { return nil }
func (o *oracle) Reload() error   { o.reloads.Add(1); return nil }

// A part without files is told of a signal as well, and of nothing else.
func TestReloaderTellsPartsWithoutFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fileReader{name: filepath.Join(t.TempDir(), "text")}
		put(t, f.name, "one")
		o, r := new(oracle), newReloader((&journal{}).logger())
		r.add("oracle", o)
		r.add("text", f)
		signals := make(chan os.Signal)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx, signals) }()
		time.Sleep(5 * watchPause)
		put(t, f.name, "two")
		time.Sleep(5 * watchPause)
		if o.reloads.Load() != 0 {
			t.Error("it is told that a file of another part has changed")
		}
		signals <- os.Interrupt
		synctest.Wait()
		if o.reloads.Load() != 1 || r.reloads[1].Load() != 2 {
			t.Errorf("%d times, %d reloads", o.reloads.Load(), r.reloads[1].Load())
		}
		stop()
		<-ended
	})
}
