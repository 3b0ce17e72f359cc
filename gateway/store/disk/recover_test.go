package disk

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/storetest"
)

type records = map[store.Key]string

// laterFormat is the file FORMAT of a release to come.
func laterFormat() []byte {
	text := []byte("mqttsn-gateway state, format 7\nread by release 3.2.1 and later\nsomething new\n")
	return fmt.Appendf(text, "check %08x\n", crc32.Checksum(text, castagnoli))
}

// commit applies and waits.
func commit(t testing.TB, s *Store, ops ...store.Op) {
	t.Helper()
	storetest.Wait(t, s, s.Apply(ops...))
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// script writes one frame after the other, closes the store, and returns what the records
// were after each frame.
func script(t testing.TB, o Options, frames int) []records {
	t.Helper()
	s := open(t, o)
	states := []records{storetest.Records(t, s)}
	for n := range frames {
		a, b := uint64(n%5), uint64(n%3)
		commit(t, s,
			store.Put(store.MQTTMessage, "c", a, fmt.Appendf(nil, "%d %s", n, bytes.Repeat([]byte{byte(n)}, n*7%50))),
			store.Put(store.MQTTFlight, "c", uint64(n), []byte{byte(n)}),
			store.Delete(store.MQTTFlight, "c", b+uint64(n)/2))
		states = append(states, storetest.Records(t, s))
	}
	closed(t, s)
	return states
}

// copyDir copies the files of a store.
func copyDir(t testing.TB, from string) Options {
	t.Helper()
	o := fresh(t)
	if err := os.CopyFS(o.Dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// A crash may leave any part of the last frame; all that is before it must be there.
func TestTruncatedAnywhere(t *testing.T) {
	o := fresh(t)
	states := script(t, o, 6)
	name := filepath.Join(o.Dir, segmentName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndexFunc(whole, func(r rune) bool { return r != 0 }) + 1
	start := at &^ (blockSize - 1)
	for size := start; size <= at; size++ {
		for _, zeros := range []bool{false, true} {
			o := copyDir(t, o.Dir)
			b := whole[:size:size]
			if zeros {
				b = append(b, make([]byte, len(whole)-size)...)
			}
			if err := os.WriteFile(filepath.Join(o.Dir, segmentName(1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openLazy(t, o)
			want := states[5]
			if size >= at {
				want = states[6]
			}
			if got := storetest.Records(t, s); !maps.Equal(got, want) {
				t.Fatalf("cut at %d: %v, want %v", size, got, want)
			}
			if d := s.Stats().Damages; len(d) > 0 {
				t.Errorf("cut at %d: reported %v", size, d)
			}
			commit(t, s, store.Put(store.SessionState, "new", 0, []byte("new")))
			closed(t, s)
			if got := storetest.Records(t, openLazy(t, o)); len(got) != len(want)+1 {
				t.Fatalf("cut at %d, and written to: %v", size, got)
			}
		}
	}
}

// history is all values that each key ever had.
func history(states []records) map[store.Key]map[string]bool {
	all := make(map[store.Key]map[string]bool)
	for _, s := range states {
		for k, v := range s {
			if all[k] == nil {
				all[k] = make(map[string]bool)
			}
			all[k][v] = true
		}
	}
	return all
}

// Whatever octet is changed: either it does not matter, or it is reported, or it is in the
// last frame, which cannot be told from one that was not finished.
func TestFlippedAnywhere(t *testing.T) {
	o := fresh(t)
	states := script(t, o, 5)
	open(t, o).Close() // writes the last frame again, in a second segment
	last := states[len(states)-1]
	once := history(states)
	for _, name := range []string{segmentName(1), segmentName(2), formatFile} {
		whole, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i++ {
			if whole[i] == 0 && i%blockSize > headerSize && i%1021 != 0 {
				continue // most of what is between the frames
			}
			o := copyDir(t, o.Dir)
			b := bytes.Clone(whole)
			b[i] ^= 0x41
			if err := os.WriteFile(filepath.Join(o.Dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openLazy(t, o)
			got := storetest.Records(t, s)
			for k, v := range got {
				if !once[k][v] {
					t.Fatalf("%s, octet %d: %v has the value %q, which it never had", name, i, k, v)
				}
			}
			lastFrame := name == segmentName(2) && i >= blockSize
			if !maps.Equal(got, last) && len(s.Stats().Damages) == 0 && !lastFrame {
				t.Fatalf("%s, octet %d: lost something and reported nothing", name, i)
			}
			if lastFrame && !maps.Equal(got, last) && !maps.Equal(got, states[len(states)-2]) {
				t.Fatalf("%s, octet %d: %v", name, i, got)
			}
			s.Close()
		}
	}
}

func TestDamageIsReported(t *testing.T) {
	o := fresh(t)
	s := open(t, o)
	for n := range 40 { // three segments
		commit(t, s, store.Put(store.MQTTMessage, "c", uint64(n), []byte("value")))
	}
	closed(t, s)
	name := filepath.Join(o.Dir, segmentName(2))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[3*blockSize+20] ^= 1 // third frame of the segment
	b[4*blockSize+20] ^= 1
	b[9*blockSize+20] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	s, err = Open(o, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := uint64(15 + 3) // 15 frames in the first segment
	want := []Damage{
		{File: segmentName(2) + keptSuffix, Offset: 3 * blockSize, From: first, To: first + 1},
		{File: segmentName(2) + keptSuffix, Offset: 9 * blockSize, From: first + 6, To: first + 6},
	}
	if got := s.Stats().Damages; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("damages %+v, want %+v", got, want)
	}
	if got := storetest.Records(t, s); len(got) != 37 {
		t.Errorf("%d records are left, want 37", len(got))
	}
	waitFor(t, func() bool { return s.Stats().Segments == 2 || exists(name+keptSuffix) })
	closed(t, s)
	if kept, err := os.ReadFile(name + keptSuffix); err != nil || !bytes.Equal(kept, b) {
		t.Errorf("the damaged file is not kept: %v", err)
	}
	if n := strings.Count(text.String(), "level=ERROR"); n != 2 || !strings.Contains(text.String(), fmt.Sprint("lost_from=", first)) {
		t.Errorf("log:\n%s", text.String())
	}
	s = open(t, o)
	if got := storetest.Records(t, s); len(got) != 37 || len(s.Stats().Damages) != 0 {
		t.Errorf("the next start has %d records, want 37, and reports %v", len(got), s.Stats().Damages)
	}
}

func TestMissingSegment(t *testing.T) {
	o := fresh(t)
	s := open(t, o)
	for n := range 50 {
		commit(t, s, store.Put(store.MQTTMessage, "c", uint64(n), []byte("value")))
	}
	closed(t, s)
	if err := os.Remove(filepath.Join(o.Dir, segmentName(2))); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	want := []Damage{{File: segmentName(2), From: 16, To: 30}}
	if got := s.Stats().Damages; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("damages %+v, want %+v", got, want)
	}
	if got := storetest.Records(t, s); len(got) != 35 {
		t.Errorf("%d records are left, want 35", len(got))
	}
	waitFor(t, func() bool { return !exists(filepath.Join(o.Dir, segmentName(1))) })
	closed(t, s)
	if d := open(t, o).Stats().Damages; len(d) != 0 {
		t.Errorf("reported again: %v", d)
	}
}

// A state directory of each format that there ever was.
func TestGoldenDirectories(t *testing.T) {
	dirs, err := filepath.Glob("testdata/format*")
	if err != nil || len(dirs) != formatVersion {
		t.Fatalf("found %v, %v; want one for each format", dirs, err)
	}
	for _, dir := range dirs {
		s := open(t, copyDir(t, dir))
		got := storetest.Records(t, s)
		want := records{
			{Space: store.SessionState, Client: "sensor-1"}:            "\x01state",
			{Space: store.SessionTopic, Client: "sensor-1", Number: 2}: "\x01a/b",
			{Space: store.SessionTopic, Client: "sensor-2", Number: 1}: "",
			{Space: store.MQTTMessage, Number: 1<<64 - 1}:              strings.Repeat("long ", 2000),
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", dir, got, want)
		}
		if d := s.Stats().Damages; len(d) > 0 {
			t.Errorf("%s: %v", dir, d)
		}
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	o := fresh(t)
	script(t, o, 2)
	if err := os.WriteFile(filepath.Join(o.Dir, formatFile), laterFormat(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(o, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "format 7") || !strings.Contains(err.Error(), "release 3.2.1") {
		t.Errorf("opened: %v", err)
	}
}

func TestFormatFileIsMissing(t *testing.T) {
	o := fresh(t)
	states := script(t, o, 3)
	if err := os.Remove(filepath.Join(o.Dir, formatFile)); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	if got := storetest.Records(t, s); !maps.Equal(got, states[3]) {
		t.Errorf("records %v, want %v", got, states[3])
	}
}
