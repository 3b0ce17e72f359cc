package dtls

import (
	"net/netip"
	"testing"

	"github.com/pion/dtls/v3"
)

// TestClientID: with the longest connection id that a client may want, the longest message
// makes a datagram of no more than the MTU. A longer id is refused without a connection.
func TestClientID(t *testing.T) {
	a := newAir()
	o := pskOptions(t)
	l := airEcho(t, a, o)
	longest := 0
	a.mu.Lock()
	a.lose = func(b []byte, from netip.AddrPort) bool {
		if from == l.Addr() {
			longest = max(longest, len(b))
		}
		return false
	}
	a.mu.Unlock()
	with := func(octets int) (*dtls.Conn, error) {
		return connectOver(t, a.open("198.51.100.1:1"), l.Addr(), append(withKey("sensor-1", testKey),
			dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_GCM_SHA256),
			dtls.WithConnectionIDGenerator(dtls.RandomCIDGenerator(octets)))...)
	}
	c, err := with(maxClientID)
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, string(make([]byte, l.MTU())))
	a.mu.Lock()
	if longest > o.MTU || longest < o.MTU-1 {
		t.Errorf("the longest datagram had %d octets", longest)
	}
	a.mu.Unlock()
	if _, err := with(maxClientID + 1); err == nil {
		t.Error("a longer connection id was taken")
	}
	if s := l.Stats(); s.Failed != (Failures{NoCipherSuite: 1}) || s.Handshakes != 1 || s.Handshaking != 0 {
		t.Errorf("%+v", s)
	}
}
