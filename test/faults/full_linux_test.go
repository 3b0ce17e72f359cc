package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull: the file system of the state directory is filled up by somebody else, and
// freed again. Meanwhile nothing is acknowledged that cannot be kept, and afterwards the
// gateway goes on without a restart.
func TestDiskFull(t *testing.T) {
	beside(t)
	g := newGateway(t)
	r := fillDisk(t, g, form(2000, 20_000), form(1, 5))
	r.judge(g)
	if g.lives != 1 {
		t.Errorf("the gateway had %d lives, want 1", g.lives)
	}
}

// fillDisk starts the gateway with a small file system, and fills that up some times while
// devices publish.
func fillDisk(t *testing.T, g *gateway, messages, times int) *traffic {
	t.Helper()
	g.options["state.segment_size"] = "65536"
	// The gateway gets a small file system of its own, in a mount namespace of its own; as
	// an ordinary user's in a user namespace too.
	g.state = filepath.Join(t.TempDir(), "small")
	unshare := []string{"unshare", "-m"}
	if os.Geteuid() != 0 {
		unshare = []string{"unshare", "-U", "-r", "-m"}
	}
	if err := os.Mkdir(g.state, 0o700); err != nil {
		t.Fatal(err)
	}
	g.before = append(unshare, "sh", "-c", `mount -t tmpfs -o size=48m,mode=700 tmpfs "$0" && exec "$@"`, g.state)
	g.start()
	r := newTraffic(t, 5, g.udp, g.mqtt, 5*time.Millisecond)
	r.publish(messages, func() {
		for range times {
			filler := fill(t, fmt.Sprintf("/proc/%d/root%s", g.cmd.Process.Pid, g.state))
			silent := within(patience/4, func() bool {
				before := r.ledger.Acknowledged()
				pass(2 * time.Second) // ten times T_retry
				return before == r.ledger.Acknowledged()
			})
			if !silent {
				r.complaint = "messages are acknowledged although the disk is full"
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			before := r.ledger.Acknowledged()
			eventually(t, "messages are acknowledged again", func() bool { return before != r.ledger.Acknowledged() })
		}
	})
	return r
}

// fill writes until there is no space left.
func fill(t *testing.T, dir string) (name string) {
	t.Helper()
	name = filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatalf("the small file system cannot be reached: %v", err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
	return name
}
