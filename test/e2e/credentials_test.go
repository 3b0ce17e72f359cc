//go:build unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mqttsn-gateway/test/pki"
)

// Each device has a user of its own at the broker. One with a wrong password is refused, and
// let in once its line is right and the gateway was told to look.
func TestUserForEachDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users, table := filepath.Join(dir, "users"), filepath.Join(dir, "table")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(users, "one:pw-first\ntwo:pw-second\n")
	if out, err := exec.Command("mosquitto_passwd", "-U", users).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v %s", err, out)
	}
	write(table, "cli-1:one:pw-first\ncli-2:two:pw-wrong\n")
	r := newRig(t, upstream, key("broker.credentials_file", table), mosquittoLine("password_file "+users, "allow_anonymous false"))
	one := r.device("cli-1")
	one.connect(cleanSession, minute)
	r.device("cli-2").ask("0B 04 04 01 00 3C 'cli-2'", "03 05 03")
	r.device("cli-3").ask("0B 04 04 01 00 3C 'cli-3'", "03 05 03")

	write(table, "cli-1:one:pw-first\ncli-2:two:pw-second\nno sense")
	r.gateway.signal(syscall.SIGHUP)
	eventually(t, "the log says what is wrong", func() bool { return strings.Contains(r.gateway.log.String(), "line 3: no colon") })
	r.device("cli-2").ask("0B 04 04 01 00 3C 'cli-2'", "03 05 03")

	write(table, "cli-1:one:pw-changed\ncli-2:two:pw-second\n")
	r.gateway.signal(syscall.SIGHUP)
	eventually(t, "the log says that it was read", func() bool { return strings.Contains(r.gateway.log.String(), "read anew") })
	r.device("cli-2").connect(cleanSession, minute)
	one.alive() // what is there stays
	for _, secret := range []string{"pw-first", "pw-wrong", "pw-second", "pw-changed"} {
		if strings.Contains(r.gateway.log.String(), secret) {
			t.Errorf("the log has the password %q", secret)
		}
	}
}

// As in the cloud: each device has a certificate of its own, and its topics.
func TestCertificateForEachDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := pki.New(t, "authority")
	broker := ca.Issue("broker", nil)
	for _, id := range []string{"cli-1", "cli-2"} {
		ca.IssueAs(filepath.Join(dir, id), id, nil)
	}
	ca.IssueAs(filepath.Join(dir, "cli-3"), "cli-3", pki.Expired)
	acl := filepath.Join(dir, "acl")
	if err := os.WriteFile(acl, []byte("pattern readwrite %u/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	r := newRig(t, upstream, mosquittoLine("listener "+port+" 127.0.0.1", "cafile "+ca.File, "certfile "+broker.CertificateFile,
		"keyfile "+broker.KeyFile, "require_certificate true", "use_identity_as_username true", "acl_file "+acl),
		key("broker.ca_file", ca.File), key("broker.certificate_file", filepath.Join(dir, "${clientid}.pem")),
		key("broker.key_file", filepath.Join(dir, "${clientid}.key")),
		func(p *plan) { p.brokerURL = "mqtts://" + addr })
	one, two := r.device("cli-1"), r.device("cli-2")
	one.connect(cleanSession, minute)
	two.connect(cleanSession, minute)
	one.register("cli-1/t")
	one.register("cli-2/t")
	one.ask("__ 0C 20 {cli-1/t} 00 03 'x'", "07 0D {cli-1/t} 00 03 00")
	one.ask("__ 0C 20 {cli-2/t} 00 04 'x'", "07 0D {cli-2/t} 00 04 03") // not its own
	for _, id := range []string{"cli-3", "cli-4", "../cli", "a/cli"} {
		d := r.device(id)
		d.ask(d.connectFrame(cleanSession, minute), "03 05 03")
	}
	two.alive()
}
