package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/doctor"
)

// anywhere are flags with which every port is a free one.
var anywhere = []string{"doctor", "--udp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"}

// examined runs gateway doctor --json and returns the findings about some subjects; the
// rest depends on the machine.
func examined(t *testing.T, about string, args ...string) ([]doctor.Finding, error) {
	t.Helper()
	out, err := execute(append(args, "--json")...)
	var report struct {
		OK       bool
		Findings []doctor.Finding
	}
	if e := json.Unmarshal([]byte(out), &report); e != nil {
		t.Fatalf("%v in %s", e, out)
	}
	if report.OK != (err == nil) {
		t.Errorf("ok is %t, and the error %v", report.OK, err)
	}
	return slices.DeleteFunc(report.Findings, func(f doctor.Finding) bool { return !strings.HasPrefix(f.Subject, about) }), err
}

func TestDoctor(t *testing.T) {
	out, _ := execute(anywhere...)
	for _, line := range []string{"ok    configuration: can be used\n", "ok    udp 127.0.0.1:0: free\n", "ok    tcp 127.0.0.1:0: free\n", "  clock: says ", "  serial"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if strings.Contains(out, "broker") {
		t.Errorf("there is no broker elsewhere:\n%s", out)
	}
}

func TestDoctorFindsTakenPorts(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	udp, tcp := u.LocalAddr().String(), l.Addr().String()
	got, err := examined(t, "udp", append(anywhere, "--udp", udp)...)
	if len(got) != 2 || got[1].Status != doctor.Fail || got[1].Subject != "udp "+udp || len(got[1].Fixes) == 0 || err == nil || exitStatus(err) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = examined(t, "tcp", append(anywhere, "--mqtt", tcp)...)
	if len(got) != 3 || got[1].Status != doctor.Fail || err == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = examined(t, "tcp", "doctor", "--udp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", tcp)
	if len(got) != 2 || got[1].Status != doctor.Fail || err == nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDoctorAsksTheBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "mqtt://" + l.Addr().String()
	l.Close()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"doctor", "--udp", "127.0.0.1:0", "--admin", "", "--broker", url,
		"--set", "broker.username=gw", "--set", "broker.password_file=" + password,
	}
	got, err := examined(t, "broker", args...)
	if err == nil || len(got) != 2 || got[0].Status != doctor.OK || got[0].Subject != "broker.password_file "+password ||
		got[1].Status != doctor.Fail || got[1].Subject != "broker "+url || !strings.Contains(got[1].Text, "nothing listens") {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, _ := examined(t, "tcp", args...); len(got) != 0 {
		t.Errorf("the embedded broker does not run: %+v", got)
	}
}

func TestDoctorReadsTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte("session:\n  t_rety: 1s\nudp:\n  - listen: 127.0.0.1:99999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := examined(t, "configuration", "doctor", "--config", file)
	if err == nil || len(got) != 3 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Text, file+":2: session.t_rety") ||
		!strings.Contains(got[1].Text, "udp.0.listen") || got[2].Status != doctor.Warn {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, _ := examined(t, "udp", "doctor", "--config", file); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	got, err = examined(t, "configuration", "doctor", "--broker", "mqtt://x", "--mqtt", ":0")
	if err == nil || len(got) != 2 || !strings.Contains(got[0].Text, "embedded broker") {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = examined(t, "configuration", "doctor", "--broker", "mqtt://u:secret@x")
	if err == nil || strings.Contains(got[0].Text, "secret") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDoctorLooksAtSerialPortsAndKeys(t *testing.T) {
	psk := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(psk, []byte("sensor:00112233445566778899aabbccddeeff\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(anywhere, "--serial", "/nowhere/ttyUSB0", "--dtls", "127.0.0.1:0", "--set", "dtls.psk_file="+psk)
	got, err := examined(t, "serial /nowhere/ttyUSB0", args...)
	if err == nil || len(got) != 1 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Text, "no such device") {
		t.Errorf("got %+v, %v", got, err)
	}
	got, _ = examined(t, "dtls.psk_file", args...)
	if len(got) != 1 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Fixes[0], "chmod 600") {
		t.Errorf("got %+v", got)
	}
	if err := os.Chmod(psk, 0o600); err != nil {
		t.Fatal(err)
	}
	got, _ = examined(t, "udp", args...)
	if len(got) != 2 || got[1].Status != doctor.OK {
		t.Errorf("got %+v", got)
	}
	got, _ = examined(t, "serial /nowhere/ttyUSB0", append(args, "--set", "serial.0.required=false")...)
	if len(got) != 1 || got[0].Status != doctor.Warn {
		t.Errorf("got %+v", got)
	}
}

// The doctor looks at all files with secrets, and reads them, and those of rights, once it may.
func TestDoctorReadsFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		put(t, name, text)
		return name
	}
	rights, who := file("rights", "topic raed a b\n"), file("who", "pump-7\n")
	passwords, logins, key := file("passwords", "alice:x\n"), file("logins", "pump-7\n"), file("key", "x")
	args := append(anywhere[:3:3], "--set", "auth.password_file="+passwords, "--set", "auth.acl_file="+rights,
		"--set", "gateway.identity_file="+who, "--broker", "mqtts://127.0.0.1:1", "--set", "broker.credentials_file="+logins,
		"--set", "broker.certificate_file="+key, "--set", "broker.key_file="+key)
	all := []string{"auth.password_file", "gateway.identity_file", "broker.credentials_file", "broker.key_file"}
	for _, name := range []string{passwords, who, logins, key} {
		if err := os.Chmod(name, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, option := range all {
		got, err := examined(t, option, args...)
		if err == nil || len(got) != 1 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Text, "mode 0644") {
			t.Errorf("%s: %+v, %v", option, got, err)
		}
	}
	for _, name := range []string{passwords, who, logins, key} {
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, option := range all[:3] {
		got, err := examined(t, option, args...)
		if err == nil || len(got) != 2 || got[0].Status != doctor.OK || got[1].Status != doctor.Fail || !strings.Contains(got[1].Text, "1: ") {
			t.Errorf("%s: %+v, %v", option, got, err)
		}
	}
	put(t, passwords, "")
	got, _ := examined(t, "auth.acl_file", args...)
	if len(got) != 1 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Text, rights+":1: ") {
		t.Errorf("%+v", got)
	}
}
