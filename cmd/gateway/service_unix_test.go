//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What systemd is told by the program, from its start to its end.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	next := func() string {
		t.Helper()
		text := make([]byte, 1000)
		if err := manager.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		state, _, _ := strings.Cut(string(text[:n]), "\n")
		return state
	}
	// until reads on to a state, and returns what came before it.
	until := func(state string) (before []string) {
		t.Helper()
		for {
			got := next()
			if got == state {
				return before
			}
			before = append(before, got)
		}
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "500000")
	p := launch(t, "--mqtt", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	if before := until("READY=1"); slices.Contains(before, "STOPPING=1") {
		t.Errorf("%q before it is ready", before)
	}
	until("WATCHDOG=1")
	until("WATCHDOG=1")
	p.signal(t, syscall.SIGHUP)
	until("RELOADING=1")
	until("READY=1")
	p.log.await(t, "there is nothing to read anew")
	p.signal(t, os.Interrupt)
	until("STOPPING=1")
	if err := p.end(t, 10*time.Second); err != nil {
		t.Error(err)
	}
}
