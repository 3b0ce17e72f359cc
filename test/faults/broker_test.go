package faults

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mosquitto is a Mosquitto over all its lives. It keeps its sessions in a file, which it
// writes when it is asked to end or to save, so a kill -9 takes it back to that time.
type mosquitto struct {
	t testing.TB
	*process
	addr, dir string
}

func startMosquitto(t testing.TB) *mosquitto {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{t: t, addr: freeAddr(t), dir: t.TempDir()}
	_, port, _ := net.SplitHostPort(m.addr)
	config := fmt.Sprintf("user %s\nlistener %s 127.0.0.1\nallow_anonymous true\nlog_dest stderr\npersistence true\n"+
		"persistence_location %s/\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 100\n", me.Username, port, m.dir)
	if err := os.WriteFile(m.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(func() {
		m.kill()
		m.inspect()
	})
	return m
}

func (m *mosquitto) config() string { return filepath.Join(m.dir, "mosquitto.conf") }

// inspect fails the test if a client broke the protocol.
func (m *mosquitto) inspect() {
	for _, bad := range []string{"protocol error", "malformed packet"} {
		if log := m.log.String(); strings.Contains(log, bad) {
			m.t.Errorf("Mosquitto's log has %q:\n%s", bad, log[max(0, len(log)-5000):])
		}
	}
}

func (m *mosquitto) start() {
	m.t.Helper()
	if m.process != nil {
		m.inspect()
	}
	m.process = launch(m.t, "mosquitto", nil, "mosquitto", "-c", m.config())
	eventually(m.t, "Mosquitto listens", func() bool {
		conn, err := net.DialTimeout("tcp", m.addr, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || !m.running()
	})
	if !m.running() {
		m.t.Fatalf("Mosquitto ended:\n%s", m.log)
	}
}

// end asks it to end, which saves all it has.
func (m *mosquitto) end() {
	m.t.Helper()
	m.signal(syscall.SIGTERM)
	eventually(m.t, "Mosquitto ends", func() bool { return !m.running() })
}

// save has it write its file.
func (m *mosquitto) save() {
	m.t.Helper()
	began := time.Now().Add(-10 * time.Millisecond) // file systems have a coarser clock
	m.signal(syscall.SIGUSR1)
	eventually(m.t, "Mosquitto saves", func() bool {
		info, err := os.Stat(filepath.Join(m.dir, "mosquitto.db"))
		return err == nil && info.ModTime().After(began)
	})
}

// freeze stops the program in its tracks: its connections stay, and nothing is answered.
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (p *process) thaw() { p.signal(syscall.SIGCONT) }
