package dtls

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pion/dtls/v3"

	"mqttsn-gateway/transports"
)

// bothOptions are options with keys and a certificate.
func bothOptions(t *testing.T) (*authority, Options) {
	a := newAuthority(t, "test CA")
	o := certOptions(t, a, "ecdsa")
	o.PSKFile = pskOptions(t).PSKFile
	return a, o
}

// TestKeyFirst: a client that offers a certificate's cipher suites before those of its key
// uses its key, and so proves its identity.
func TestKeyFirst(t *testing.T) {
	_, o := bothOptions(t)
	l := openLink(t, o, quiet())
	identities := make(chan string, 1)
	serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			identity, _ := l.Identity(d.Addr)
			identities <- identity
		}
		_, _ = l.Send(batch)
	})
	c := mustConnect(t, l.Addr(), append(withKey("sensor-1", testKey), dtls.WithInsecureSkipVerify(true), dtls.WithCipherSuites(
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_PSK_WITH_AES_128_CCM_8))...)
	say(t, c, "hello")
	if got := wait(t, identities); got != "sensor-1" {
		t.Errorf("identity is %q", got)
	}
	openssl(t, l, "-psk_identity", "sensor-3", "-psk", hex.EncodeToString(testKey)).say(t, "hello")
	if got := wait(t, identities); got != "sensor-3" {
		t.Errorf("OpenSSL's identity is %q", got)
	}
}

// TestOpenDoor: with keys and a certificate, and no client certificates asked for, anyone
// may connect, which is said at the start.
func TestOpenDoor(t *testing.T) {
	a, o := bothOptions(t)
	for setting, warned := range map[string]bool{certificatesNone: true, certificatesRequired: false} {
		if o.ClientCertificates = setting; setting != certificatesNone {
			o.ClientCAFile = a.file
		} else {
			o.ClientCAFile = ""
		}
		log := &logBuffer{}
		if _, err := LoadCredentials(o, log.logger()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "without proving who they are") != warned {
			t.Errorf("%s: logged %q", setting, log)
		}
	}
}
