package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// userFiles are a password file that mosquitto_passwd has made, with users whose passwords are
// "pw-" and their name, and an ACL file.
type userFiles struct{ passwords, acl string }

func makeUsers(t testing.TB, acl string, users ...string) userFiles {
	t.Helper()
	dir := t.TempDir()
	f := userFiles{filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")}
	f.write(t, f.passwords, "")
	for _, u := range users {
		if out, err := exec.Command("mosquitto_passwd", "-b", f.passwords, u, "pw-"+u).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
	}
	if err := os.Chmod(f.passwords, 0o600); err != nil {
		t.Fatal(err)
	}
	f.write(t, f.acl, acl)
	return f
}

func (f userFiles) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f userFiles) settings(p *plan) {
	p.keys["auth.password_file"], p.keys["auth.acl_file"] = f.passwords, f.acl
}

// runTool runs mosquitto_pub or mosquitto_sub at a broker to its end.
func runTool(name, addr string, args ...string) (string, error) {
	host, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command(name, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	return string(out), err
}

// Mosquitto's own clients at the broker inside, with users that its own tool has written.
func TestUsers(t *testing.T) {
	t.Parallel()
	f := makeUsers(t, "user alice\ntopic readwrite a/#\nuser bob\ntopic read a/#\n", "alice", "bob")
	g := startGateway(t, newPlan(f.settings), "", nil)
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		alice := []string{"-V", version, "-u", "alice", "-P", "pw-alice"}
		bob := []string{"-V", version, "-u", "bob", "-P", "pw-bob"}
		for qos := range 3 {
			payload := fmt.Sprint(version, qos)
			q := fmt.Sprint(qos)
			if out, err := runTool("mosquitto_pub", g.mqtt, append(alice, "-q", q, "-r", "-t", "a/x", "-m", payload)...); err != nil {
				t.Fatalf("%s: alice: %v\n%s", version, err, out)
			}
			out, err := runTool("mosquitto_sub", g.mqtt, append(bob, "-q", q, "-t", "a/+", "-C", "1", "-W", "10")...)
			if err != nil || strings.TrimSpace(out) != payload {
				t.Fatalf("%s: bob got %q, %v, want %q", version, out, err, payload)
			}
			// What bob may not publish is not there; the tool ends well or not, by version.
			_, _ = runTool("mosquitto_pub", g.mqtt, append(bob, "-q", q, "-r", "-t", "a/x", "-m", "not bob's")...)
			if out, err := runTool("mosquitto_sub", g.mqtt, append(bob, "-t", "a/+", "-C", "1", "-W", "10")...); err != nil || strings.TrimSpace(out) != payload {
				t.Fatalf("%s: bob got %q, %v, want %q", version, out, err, payload)
			}
		}
		for name, args := range map[string][]string{
			"a wrong password": {"-u", "alice", "-P", "pw-bob"},
			"an unknown user":  {"-u", "carol", "-P", "pw-carol"},
			"no user":          nil,
		} {
			if out, err := runTool("mosquitto_pub", g.mqtt, append(args, "-V", version, "-t", "a/x", "-m", "x")...); err == nil {
				t.Errorf("%s: %s is let in: %s", version, name, out)
			}
		}
	}
	for reason, want := range map[string]float64{"bad_user_name_or_password": 6, "anonymous_not_allowed": 3} {
		if n := g.labelled(t, "embedded_connects_refused_total", reason); n != want {
			t.Errorf("%v are counted as %s, want %v", n, reason, want)
		}
	}
	if log := g.log.String(); strings.Contains(log, "pw-") {
		t.Error("there is a password in the log")
	}
}

// A SIGHUP takes a right away from a subscription that is there, and ends the connection of a
// user who has gone.
func TestUsersReload(t *testing.T) {
	t.Parallel()
	f := makeUsers(t, "user alice\ntopic readwrite a/#\nuser bob\ntopic read a/#\n", "alice", "bob")
	g := startGateway(t, newPlan(f.settings), "", nil)
	host, port, _ := net.SplitHostPort(g.mqtt)
	sub := exec.Command("mosquitto_sub", "-h", host, "-p", port, "-V", "mqttv311", "-u", "bob", "-P", "pw-bob", "-i", "bob", "-t", "a/#", "-v")
	var got output
	sub.Stdout = &got
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sub.Process.Kill()
		_ = sub.Wait()
	})
	publish := func(topic string) {
		t.Helper()
		if out, err := runTool("mosquitto_pub", g.mqtt, "-u", "alice", "-P", "pw-alice", "-q", "1", "-t", topic, "-m", "x"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	eventually(t, "bob gets a message", func() bool { publish("a/first"); return strings.Contains(got.String(), "a/first") })
	reload := func(name, text string) {
		t.Helper()
		before := g.metric(t, "reloads_total")
		f.write(t, name, text)
		g.signal(syscall.SIGHUP)
		eventually(t, "the files are read", func() bool { return g.metric(t, "reloads_total") > before })
	}
	reload(f.acl, "user alice\ntopic readwrite a/#\nuser bob\ntopic read a/other\n")
	publish("a/revoked")
	publish("a/other")
	eventually(t, "bob gets the other message", func() bool { return strings.Contains(got.String(), "a/other") })
	if strings.Contains(got.String(), "a/revoked") {
		t.Errorf("bob got %s", got.String())
	}
	users, err := os.ReadFile(f.passwords)
	if err != nil {
		t.Fatal(err)
	}
	alone, _, _ := strings.Cut(string(users), "\n")
	reload(f.passwords, alone+"\n")
	eventually(t, "bob is disconnected", func() bool {
		return g.labelled(t, "embedded_disconnects_total", "not_authorized") > 0
	})
	publish("a/other")
}
