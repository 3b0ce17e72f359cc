//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// On a terminal the password is asked for twice, and never shown.
func TestPasswdOnTerminal(t *testing.T) {
	for _, c := range []struct{ first, second, want string }{{"wonderland", "wonderland", ""}, {"wonderland", "wonderlamp", "differ"}} {
		keyboard, terminal := openTerminal(t)
		file := filepath.Join(t.TempDir(), "passwords")
		cmd := rootCommand()
		cmd.SetArgs([]string{"passwd", "-c", file, "alice"})
		cmd.SetIn(terminal)
		cmd.SetErr(terminal)
		cmd.SetOut(terminal)
		done := make(chan error, 1)
		go func() { done <- cmd.Execute() }()
		shown := keyboard.until(t, "Password: ")
		io.WriteString(keyboard, c.first+"\n")
		shown += keyboard.until(t, "again: ")
		io.WriteString(keyboard, c.second+"\n")
		err := <-done
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		io.WriteString(keyboard, "echo\n") // is shown again
		if shown += keyboard.until(t, "echo"); strings.Contains(shown, "wonder") {
			t.Errorf("shown is %q", shown)
		}
		if err == nil && !lets(t, file, "alice", c.first) {
			t.Error("not let in")
		}
		if _, err := os.Stat(file); (err == nil) != (c.want == "") {
			t.Error(err)
		}
	}
}

// Whoever interrupts it gets a terminal that shows what is typed.
func TestPasswdInterrupted(t *testing.T) {
	keyboard, terminal := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := readHidden(ctx, terminal, io.Discard, "")
		done <- err
	}()
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "nothing is changed") {
		t.Error(err)
	}
	io.WriteString(keyboard, "visible\n") // this also ends the reading
	keyboard.until(t, "visible")
}

// keyboard is where somebody types at a terminal, and sees what it shows.
type keyboard struct {
	*os.File
	seen bytes.Buffer
}

func openTerminal(t *testing.T) (*keyboard, *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		slave.Close()
		master.Close()
	})
	return &keyboard{File: master}, slave
}

// until reads what is shown up to some text.
func (k *keyboard) until(t *testing.T, text string) string {
	t.Helper()
	_ = k.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 256)
	for {
		if before, after, ok := strings.Cut(k.seen.String(), text); ok {
			k.seen.Reset()
			k.seen.WriteString(after)
			return before + text
		}
		n, err := k.Read(b)
		k.seen.Write(b[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%q is not shown, but %q: %v", text, k.seen.String(), err)
		}
	}
}
