package dtls

import (
	"bytes"
	"encoding/hex"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// sClient is `openssl s_client -dtls1_2`, the second opinion of these tests.
type sClient struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *sClient) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *sClient) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func openssl(t testing.TB, l *Link, args ...string) *sClient {
	t.Helper()
	return opensslAt(t, l.Addr().String(), args...)
}

func opensslAt(t testing.TB, addr string, args ...string) *sClient {
	t.Helper()
	c := &sClient{}
	args = append([]string{"s_client", "-dtls1_2", "-connect", addr, "-nbio"}, args...)
	c.cmd = exec.Command("openssl", args...)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = in
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		stop := time.AfterFunc(limit, func() { _ = c.cmd.Process.Kill() })
		defer stop.Stop()
		_ = c.cmd.Wait()
		if t.Failed() {
			t.Logf("openssl %s:\n%s", strings.Join(args, " "), c.output())
		}
	})
	return c
}

// say types a line and expects it back.
func (c *sClient) say(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "openssl printing "+line, func() bool { return strings.Contains(c.output(), line+"\n") })
}

func TestOpenSSLWithKey(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	for _, cipher := range []string{"PSK-AES128-CCM8", "PSK-AES128-CCM", "PSK-AES128-GCM-SHA256", "ECDHE-PSK-CHACHA20-POLY1305", "PSK"} {
		c := openssl(t, l, "-psk_identity", "sensor-3", "-psk", hex.EncodeToString(testKey), "-cipher", cipher+":@SECLEVEL=0")
		c.say(t, "hello "+cipher)
		c.say(t, "and again "+cipher)
		if !strings.Contains(c.output(), "Extended master secret: yes") {
			t.Errorf("%s: no extended master secret:\n%s", cipher, c.output())
		}
		_ = c.in.Close()
	}
	until(t, "openssl saying goodbye", func() bool { return l.Stats().Closed.Peer == 5 })
}

func TestOpenSSLWithCertificate(t *testing.T) {
	ca := newAuthority(t, "test CA")
	for _, kind := range []string{"ecdsa", "rsa"} {
		o := certOptions(t, ca, kind)
		o.ClientCertificates, o.ClientCAFile = certificatesRequired, ca.file
		l := echo(t, o, quiet())
		client := ca.issue(t, kind, nil)
		c := openssl(t, l, "-CAfile", ca.file, "-verify_return_error", "-cert", client.certFile, "-key", client.keyFile)
		c.say(t, "hello with "+kind)
		if !strings.Contains(c.output(), "Verify return code: 0 (ok)") {
			t.Errorf("%s: not verified:\n%s", kind, c.output())
		}
		_ = c.in.Close()
	}
}

func TestOpenSSLRefused(t *testing.T) {
	log := &logBuffer{}
	l := echo(t, pskOptions(t), log.logger())
	for _, identity := range []string{"sensor-3", "stranger"} {
		c := openssl(t, l, "-psk_identity", identity, "-psk", strings.Repeat("ab", 16), "-cipher", "PSK-AES128-CCM8")
		until(t, "openssl giving up", func() bool { return strings.Contains(c.output(), "decrypt error") })
	}
	until(t, "the counters", func() bool {
		f := l.Stats().Failed
		return f.WrongKey == 1 && f.UnknownIdentity == 1 && l.Stats().Handshaking == 0
	})
	for _, want := range []string{"wrong key", "no such identity", "identity=sensor-3", "identity=stranger", "peer=127.0.0.1:"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}
