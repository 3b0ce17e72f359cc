package dtls

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPipe: a pipe that nobody writes to does not stop the start.
func TestPipe(t *testing.T) {
	o := DefaultOptions()
	o.PSKFile = filepath.Join(t.TempDir(), "psk")
	if err := unix.Mkfifo(o.PSKFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCredentials(o, quiet()); err == nil || !strings.Contains(err.Error(), "psk_file: "+o.PSKFile+" is no regular file") {
		t.Errorf("%v", err)
	}
}
