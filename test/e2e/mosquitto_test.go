package e2e

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mosquitto is a real broker at an address of its own.
type mosquitto struct {
	*process
	addr, config string
	logs         []*output
}

func startMosquitto(t *testing.T, p plan) *mosquitto {
	t.Helper()
	m := startMosquittoAt(t, p, freeAddr(t))
	if !m.running() && m.log.tellsOfTakenAddress() {
		return startMosquitto(t, p) // another run was faster
	}
	return m
}

func startMosquittoAt(t *testing.T, p plan, addr string) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	for name, content := range p.mosquittoFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := &mosquitto{addr: addr, config: filepath.Join(dir, "mosquitto.conf")}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(m.addr, ":")
	text := fmt.Sprintf("user %s\nlistener %s 127.0.0.1\nlog_dest stderr\nlog_type all\nconnection_messages true\n"+
		"persistence true\npersistence_location %s/\nmax_queued_messages 10000\n", me.Username, port, dir)
	more := strings.Join(p.mosquitto, "\n")
	if !strings.Contains(more, "allow_anonymous") {
		more += "\nallow_anonymous true"
	}
	text += strings.ReplaceAll(more, "{dir}", dir) + "\n"
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	t.Cleanup(func() { m.finish(t) })
	return m
}

// start starts it, again with what it has stored.
func (m *mosquitto) start(t *testing.T) {
	t.Helper()
	m.process = launch(t, "mosquitto", "mosquitto", "-c", m.config)
	m.logs = append(m.logs, m.log)
	eventually(t, "mosquitto listens", func() bool { return !m.running() || listening(m.addr) })
	if !m.running() && !m.log.tellsOfTakenAddress() {
		t.Fatalf("mosquitto ended: %v\n%s", m.err, m.log)
	}
}

// restart starts it after a kill, with nothing stored, and waits until the gateway has
// subscribed again for the client.
func (m *mosquitto) restart(r *rig, clientID string) {
	r.Helper()
	r.publisher = nil
	m.start(r.T)
	eventually(r.T, clientID+" has its subscriptions back", func() bool {
		return strings.Contains(m.log.String(), "Sending SUBACK to "+clientID)
	})
}

// freeze stops mosquitto in its tracks: connections stay, nothing is answered.
func (m *mosquitto) freeze() { m.signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (m *mosquitto) thaw() { m.signal(syscall.SIGCONT) }

// said counts the lines of its log that have the text.
func (m *mosquitto) said(text string) int {
	n := 0
	for _, log := range m.logs {
		n += strings.Count(log.String(), text)
	}
	return n
}

// mosquittoSays waits until mosquitto's log, which follows what it does, has one line with
// the text.
func (r *rig) mosquittoSays(text string) {
	r.Helper()
	if r.mosquitto != nil {
		eventually(r.T, fmt.Sprintf("mosquitto's log has one line with %q", text), func() bool { return r.mosquitto.said(text) == 1 })
	}
}

// finish ends it; a client that broke the protocol fails the test.
func (m *mosquitto) finish(t *testing.T) {
	if m.running() {
		m.kill()
	}
	for _, bad := range []string{"protocol error", "malformed packet"} {
		if m.said(bad) > 0 {
			t.Errorf("mosquitto's log has %q", bad)
		}
	}
	if t.Failed() {
		for _, log := range m.logs {
			t.Logf("mosquitto's log:\n%s", log)
		}
	}
}
