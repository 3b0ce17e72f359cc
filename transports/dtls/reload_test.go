package dtls

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pion/dtls/v3"
)

func rewrite(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const newHex = "00112233445566778899aabbccddeeff"

var newKey = []byte("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")

// TestReload: handshakes use what the file says when they begin; a connection goes on while
// its identity is there, whatever its key, and is closed when it is not.
func TestReload(t *testing.T) {
	log := &logBuffer{}
	l := echo(t, pskOptions(t), log.logger())
	changed := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
	removed := mustConnect(t, l.Addr(), withKey("sensor-2", testKey)...)
	say(t, changed, "x")
	say(t, removed, "x")
	file := l.trust.Files()[0]
	rewrite(t, file, "sensor-1:"+newHex+"\nnew:"+newHex+"\n")
	if err := l.trust.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, identity := range []string{"sensor-1", "sensor-2"} {
		if _, err := connect(t, l.Addr(), withKey(identity, testKey)...); err == nil {
			t.Errorf("the old key of %s still works", identity)
		}
	}
	say(t, mustConnect(t, l.Addr(), withKey("new", newKey)...), "hello")
	say(t, mustConnect(t, l.Addr(), withKey("sensor-1", newKey)...), "hello")
	say(t, changed, "still here")
	if _, err := removed.Read(make([]byte, 10)); err == nil {
		t.Error("a connection of a removed identity is there still")
	}
	until(t, "its end being counted", func() bool { return l.Stats().Closed == Closings{Removed: 1} })
	if !strings.Contains(log.String(), "connections=1") || strings.Contains(log.String(), newHex) {
		t.Errorf("logged: %s", log)
	}
	_ = l.Close()
	if len(l.trust.links) != 0 {
		t.Error("a closed link is remembered")
	}
}

// TestReloadBroken: what cannot be read changes nothing, and the error says where it is.
func TestReloadBroken(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	c := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
	file := l.trust.Files()[0]
	for text, want := range map[string]string{
		"":                             "no key",
		"sensor-9:" + newHex + "\nx\n": "line 2: there is no colon",
	} {
		rewrite(t, file, text)
		err := l.trust.Reload()
		if err == nil || !strings.HasPrefix(err.Error(), "psk_file: "+file+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	say(t, c, "still here")
	say(t, mustConnect(t, l.Addr(), withKey("sensor-2", testKey)...), "hello")
}

// TestReloadCertificate: a new certificate is shown from the next handshake on, and new
// authorities decide about it.
func TestReloadCertificate(t *testing.T) {
	ca, other := newAuthority(t, "old CA"), newAuthority(t, "new CA")
	o := certOptions(t, ca, "ecdsa")
	o.ClientCertificates, o.ClientCAFile = certificatesRequired, ca.file
	l := echo(t, o, quiet())
	if want := []string{o.CertificateFile, o.KeyFile, o.ClientCAFile}; !slices.Equal(l.trust.Files(), want) {
		t.Errorf("%v, want %v", l.trust.Files(), want)
	}
	as := func(client, server *authority) []dtls.ClientOption {
		return []dtls.ClientOption{
			dtls.WithRootCAs(server.pool()), dtls.WithServerName("gateway.test"),
			dtls.WithCertificates(client.issue(t, "ecdsa", nil).Certificate),
		}
	}
	before := mustConnect(t, l.Addr(), as(ca, ca)...)
	server := other.issue(t, "ecdsa", nil)
	copyFile(t, server.certFile, o.CertificateFile)
	if err := l.trust.Reload(); err == nil || !strings.HasPrefix(err.Error(), "certificate_file: "+o.CertificateFile) {
		t.Errorf("a certificate without its key: %v", err)
	}
	copyFile(t, server.keyFile, o.KeyFile)
	copyFile(t, other.file, o.ClientCAFile)
	if err := l.trust.Reload(); err != nil {
		t.Fatal(err)
	}
	say(t, before, "still here")
	say(t, mustConnect(t, l.Addr(), as(other, other)...), "hello")
	if _, err := connect(t, l.Addr(), as(ca, other)...); err == nil {
		t.Error("the old authority is believed still")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, to, string(text))
}

// TestReloadSelfSigned: the certificate made at the start remains.
func TestReloadSelfSigned(t *testing.T) {
	log := &logBuffer{}
	l := echo(t, DefaultOptions(), log.logger())
	before, lines := l.trust.now.Load().certificate, log.String()
	if err := l.trust.Reload(); err != nil || l.trust.now.Load().certificate != before || log.String() != lines {
		t.Errorf("%v, logged %s", err, log)
	}
}

// TestRemovedMeanwhile: a handshake that began before its identity was removed does not
// succeed after it.
func TestRemovedMeanwhile(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	c := &conn{link: l, name: "gone", assoc: proven{identityOf: "gone"}}
	c.proof.asked, c.proof.claimed = true, "gone"
	if err := l.establish(c); err == nil || len(l.byNumber) != 0 {
		t.Errorf("%v", err)
	}
}

// proven is an association whose client has proven that identity.
type proven struct {
	association
	identityOf string
}

func (p proven) identity() (psk, certificate []byte) { return []byte(p.identityOf), nil }
