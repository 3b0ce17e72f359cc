package dtls

import (
	"testing"

	"github.com/pion/dtls/v3"

	"mqttsn-gateway/transports"
)

var _ interface {
	transports.Link
	transports.Identifier
	transports.DropCounter
} = (*Link)(nil)

// TestKeys: a client with a pre-shared key is heard and answered, in order, and is who it
// says, with each cipher suite.
func TestKeys(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	for _, suite := range []dtls.CipherSuiteID{
		dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256,
		dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
	} {
		c := mustConnect(t, l.Addr(), append(withKey("sensor-1", testKey), dtls.WithCipherSuites(suite))...)
		for _, text := range []string{"a", "bb", "ccc"} {
			say(t, c, text)
		}
	}
	if s := l.Stats(); s.Connections != 4 || s.Handshakes != 4 || s.Handshaking != 0 || s.CookiesSent != 4 || s.CookiesBad != 0 {
		t.Errorf("%+v", s)
	}
}
