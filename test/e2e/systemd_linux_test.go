package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// units are the files of deploy/systemd, with the gateway of the tests in the place of the
// installed one.
func units(t *testing.T, dropIns ...string) (service string) {
	t.Helper()
	dir := t.TempDir()
	service = filepath.Join(dir, "gateway.service")
	put := func(name, from string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("../../deploy/systemd", from))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.ReplaceAll(string(text), "/usr/local/bin/gateway", gatewayBinary))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(service, "gateway.service")
	for _, d := range dropIns {
		put(filepath.Join(service+".d", d), d)
	}
	return service
}

// systemd understands each line of the units, and rates what is left to the service at 1.5 at
// most; 9.6 is a service without any of it.
func TestSystemdUnit(t *testing.T) {
	for _, dropIns := range [][]string{nil, {"gateway-serial.conf"}, {"gateway-serial.conf", "gateway-keys.conf"}} {
		service := units(t, dropIns...)
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", service).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: systemd-analyze verify: %v\n%s", dropIns, err, out)
		}
		// The threshold is in tenths.
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", service).CombinedOutput()
		if err != nil {
			t.Errorf("%v: systemd-analyze security: %v\n%s", dropIns, err, out)
		}
		t.Logf("%v: %s", dropIns, regexp.MustCompile(`Overall exposure level.*`).Find(out))
	}
}

// The command of the unit, with what systemd gives it, is ready soon and ends well.
func TestSystemdCommand(t *testing.T) {
	text, err := os.ReadFile(units(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, state, socket := filepath.Join(dir, "gateway.yaml"), filepath.Join(dir, "state"), filepath.Join(dir, "notify")
	sample, err := exec.Command(gatewayBinary, "config", "sample").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, sample, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(text)
	if command == nil {
		t.Fatal("there is no ExecStart")
	}
	args := strings.Fields(strings.NewReplacer("/etc/gateway/gateway.yaml", config, "${STATE_DIRECTORY}", state).Replace(string(command[1])))
	// The sample listens at the usual ports, which may be taken here.
	args = append(args, "--udp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "STATE_DIRECTORY="+state)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	expect := func(want string) {
		t.Helper()
		_ = manager.SetReadDeadline(time.Now().Add(20 * time.Second))
		got := make([]byte, 1000)
		n, err := manager.Read(got)
		if err != nil || !strings.HasPrefix(string(got[:n]), want) {
			t.Fatalf("%q %v instead of %s\n%s", got[:n], err, want, log.String())
		}
	}
	expect("READY=1")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
}
