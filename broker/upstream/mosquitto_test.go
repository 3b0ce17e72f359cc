//go:build unix

package upstream

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mqttsn-gateway/broker"
)

// mosquitto is a real broker of the test's own, on a free port.
type mosquitto struct {
	t       testing.TB
	address string
	config  string
	process *exec.Cmd
}

func startMosquitto(t testing.TB, persistence bool, settings ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, address: freeAddress(t)}
	dir := t.TempDir()
	m.config = filepath.Join(dir, "mosquitto.conf")
	_, port, _ := net.SplitHostPort(m.address)
	lines := []string{
		"listener " + port + " 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true", "max_queued_messages 0",
	}
	if persistence {
		lines = append(lines, "persistence true", "persistence_location "+dir+"/")
	}
	if os.Geteuid() == 0 {
		lines = append(lines, "user root")
	}
	lines = append(lines, settings...)
	if err := os.WriteFile(m.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.process = exec.Command("mosquitto", "-c", m.config)
	if err := m.process.Start(); err != nil {
		m.t.Fatalf("mosquitto (Debian package mosquitto) is needed: %v", err)
	}
	await(m.t, "mosquitto listens", func() bool { return reachable(m.address) })
}

func (m *mosquitto) signal(s os.Signal) {
	m.t.Helper()
	if err := m.process.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// stop lets it save what it has; kill does not.
func (m *mosquitto) stop() {
	m.signal(syscall.SIGTERM)
	_ = m.process.Wait()
	m.process = nil
}

func (m *mosquitto) kill() {
	if m.process != nil {
		_ = m.process.Process.Kill()
		_ = m.process.Wait()
		m.process = nil
	}
}

func TestEverythingThroughMosquitto(t *testing.T) {
	m := startMosquitto(t, false)
	b := serve(t, quick(m.address))
	from, to := b.open(t, "from"), b.open(t, "to")
	from.connect(true)
	if ev := to.connect(false); ev.SessionPresent {
		t.Fatal("a session was present")
	}
	for qos := byte(0); qos <= 2; qos++ {
		to.subscribe(fmt.Sprintf("q%d/+", qos), qos)
	}
	token := broker.Token(1)
	for sub := byte(0); sub <= 2; sub++ {
		for pub := byte(0); pub <= 2; pub++ {
			topic, payload := fmt.Sprintf("q%d/x", sub), fmt.Sprintf("%d-%d", sub, pub)
			from.publish(token, topic, payload, pub)
			if pub > 0 {
				from.answer(token, 0)
			}
			ev := to.message(topic, payload)
			if want := min(sub, pub); ev.QoS != want || (ev.Token == 0) != (want == 0) {
				t.Fatalf("QoS %d token %d, want QoS %d", ev.QoS, ev.Token, want)
			}
			if ev.QoS > 0 {
				to.ack(ev)
			}
			token++
		}
	}
	from.publish(token, "nobody/listens", "x", 1)
	from.answer(token, broker.CodeNoSubscribers)
	to.do(broker.Request{Op: broker.Unsubscribe, Token: 5, Topic: "q1/+"})
	to.answer(5, 0)

	to.do(broker.Request{Op: broker.Disconnect})
	from.publish(30, "q2/x", "later", 2)
	from.answer(30, 0)
	if ev := to.connect(false); !ev.SessionPresent {
		t.Fatal("no session was present")
	}
	to.ack(to.message("q2/x", "later"))
	await(t, "all acknowledged", func() bool { st := b.Stats(); return st.Unacked == 0 && st.Pending == 0 })
	from.quiet()
	to.quiet()
	st := b.Stats()
	if !st.Up || st.Connected != 2 || st.Published != 11 || st.Answered != 8 || st.Delivered != 10 || len(st.Failed) > 0 {
		t.Fatalf("%+v", st)
	}
}

// hashPasswords does what mosquitto_passwd -U does.
func hashPasswords(t testing.TB, file string) {
	t.Helper()
	if out, err := exec.Command("mosquitto_passwd", "-U", file).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v %s", err, out)
	}
}
