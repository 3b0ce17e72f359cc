package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestForeignTools uses mosquitto_sub and mosquitto_pub as scripts do: each run ends by
// itself, when its option says so.
func TestForeignTools(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	topics := []string{"kept/1", "kept/2", "kept/3"}
	for sessions, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		tool := func(name string, args ...string) *process {
			t.Helper()
			path := tool(t, name, "the package mosquitto-clients")
			p := launch(t, name+" "+strings.Join(args, " "), path, append([]string{"-p", strconv.Itoa(f.port), "-V", version}, args...)...)
			t.Cleanup(func() {
				p.kill()
				if t.Failed() {
					t.Logf("%s printed:\n%s", p.name, p.log)
				}
			})
			return p
		}
		// printed is what has come when the program has ended: topics, qos and retain, sorted.
		printed := func(p *process, want ...string) {
			t.Helper()
			eventually(t, p.name+" ends", func() bool { return !p.running() })
			lines := strings.Fields(p.log.String())
			slices.Sort(lines)
			if p.err != nil || !slices.Equal(lines, want) {
				t.Errorf("%s: %s: %v, printed %q, want %q", version, p.name, p.err, lines, want)
			}
		}
		sub := func(args ...string) *process {
			t.Helper()
			return tool("mosquitto_sub", append([]string{"-F", "%t:%q:%r", "-q", "1"}, args...)...)
		}
		// subscribers waits until there are so many besides the sessions that stay.
		subscribers := func(n int) {
			t.Helper()
			eventually(t, "subscribers come and go", func() bool { return f.metric("embedded_subscriptions") == float64(sessions+n) })
		}
		for _, topic := range topics {
			f.publish(topic, "x", 1, true)
		}
		printed(sub("-t", "kept/#", "-C", "3"), "kept/1:1:1", "kept/2:1:1", "kept/3:1:1")

		subscribers(0)
		all := sub("-t", "kept/#", "--retained-only")
		subscribers(1)
		f.publish("kept/live", "x", 1)
		printed(all, "kept/1:1:1", "kept/2:1:1", "kept/3:1:1")

		subscribers(0)
		fresh := sub("-t", "kept/#", "-R", "-C", "1")
		subscribers(1)
		f.publish("kept/1", "y", 1, true)
		printed(fresh, "kept/1:1:0")

		remover := sub("-t", "kept/#", "--remove-retained") // with -C mosquitto_sub 2.0.11 hangs after DISCONNECT
		eventually(t, "retained messages go", func() bool { return f.metric("embedded_retained_messages") == 0 })
		remover.kill()

		session := []string{"-i", "script-" + version, "-c", "-t", "news/#", "-T", "news/dull"}
		if version == "mqttv5" {
			session = append(session, "-x", "3600")
		}
		printed(sub(append(session, "-E")...))
		file := filepath.Join(t.TempDir(), "long")
		if err := os.WriteFile(file, []byte(strings.Repeat("\x00\xff", 300_000)), 0o600); err != nil {
			t.Fatal(err)
		}
		printed(tool("mosquitto_pub", "-t", "news/file", "-f", file, "-q", "2"))
		printed(tool("mosquitto_pub", "-t", "news/dull", "-m", "x", "-q", "1"))
		printed(tool("mosquitto_pub", "-t", "news/again", "-m", "x", "-q", "1", "--repeat", "3"))
		printed(sub(append(session, "-C", "4", "-F", "%t:%l")...), "news/again:1", "news/again:1", "news/again:1", "news/file:600000")
	}
	// What nobody may publish is refused with a reason, which the tool shows.
	out, err := exec.Command("mosquitto_pub", "-p", strconv.Itoa(f.port), "-V", "mqttv5", "-q", "1", "-t", "$SYS/x", "-m", "x").CombinedOutput()
	if want := "Warning: Publish 1 failed: Not authorized."; !strings.Contains(string(out), want) {
		t.Errorf("mosquitto_pub to $SYS/x: %v, %q, want %q", err, out, want)
	}
}
