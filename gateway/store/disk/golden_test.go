package disk

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/store"
)

var update = flag.Bool("update", false, "write testdata of the present format")

// TestGoldenDirectory writes the directory that TestGoldenDirectories reads, when asked to.
// That of a format that was released is never written again.
func TestGoldenDirectory(t *testing.T) {
	if !*update {
		return
	}
	o := fresh(t)
	s := open(t, o)
	commit(t, s, store.Put(store.SessionState, "sensor-1", 0, []byte("\x01old")), store.Put(store.SessionTopic, "sensor-1", 2, []byte("\x01a/b")))
	commit(t, s, store.Put(store.SessionState, "sensor-1", 0, []byte("\x01state")), store.Put(store.SessionTopic, "sensor-2", 1, nil))
	commit(t, s, store.Put(store.MQTTMessage, "", 1<<64-1, []byte(strings.Repeat("long ", 2000))), store.Put(store.MQTTRetained, "gone", 0, nil))
	closed(t, s)
	s = open(t, o)
	commit(t, s, store.Delete(store.MQTTRetained, "gone", 0))
	closed(t, s)
	dir := "testdata/format1"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{formatFile, segmentName(1), segmentName(2)} {
		b, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != formatFile { // without the space that was taken ahead
			b = b[:min(len(b), int(align(int64(len(strings.TrimRight(string(b), "\x00"))))))]
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
