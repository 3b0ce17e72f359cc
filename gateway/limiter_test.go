package gateway

import (
	"net/netip"
	"testing"
	"time"

	"mqttsn-gateway/transports"
)

func addr(n int) transports.Addr {
	return transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000), 0)
}

func TestLimiterBoundsOnePeer(t *testing.T) {
	l := newLimiter(1_000_000, peerRate, peerBurst)
	allowed := 0
	for i := range 1000 { // 1000 packets within one second
		if l.allow(time.Duration(i)*time.Millisecond, addr(1)) {
			allowed++
		}
	}
	if allowed > peerBurst+peerRate {
		t.Errorf("one peer got %d answers within a second, want at most %d", allowed, peerBurst+peerRate)
	}
	if !l.allow(5*time.Second, addr(1)) {
		t.Error("the peer gets no answer after it has been quiet")
	}
}

func TestLimiterBoundsAllPeers(t *testing.T) {
	const rate = 100
	l := newLimiter(rate, peerRate, peerBurst)
	allowed := 0
	for i := range 100_000 {
		if l.allow(time.Duration(i)*10*time.Microsecond, addr(i)) { // one second
			allowed++
		}
	}
	if allowed > 2*rate {
		t.Errorf("%d answers within the first second, want at most burst and rate, %d", allowed, 2*rate)
	}
	if len(l.slots) != peerSlots {
		t.Errorf("the table has grown to %d slots", len(l.slots))
	}
}

func TestLimiterOff(t *testing.T) {
	l := newLimiter(0, peerRate, peerBurst)
	if l.allow(time.Hour, addr(1)) {
		t.Error("an answer, though the rate is 0")
	}
}
