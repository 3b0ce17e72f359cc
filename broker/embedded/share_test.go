package embedded

import (
	"fmt"
	"math"
	"net"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// The members of a group take turns for ever: the count of turns is too large for an int of
// 32 bits one day, and starts again on another.
func TestShareTurnsWrap(t *testing.T) {
	for _, from := range []uint32{math.MaxInt32 - 2, math.MaxUint32 - 2} {
		b := newBroker(t)
		var members [3]*station
		for i := range members {
			members[i] = connected(t, b, fmt.Sprint(i), true)
			members[i].subscribe("$share/g/t", 0)
		}
		b.topics.exact["t"].shares["g"].turn.Store(from)
		pub := connected(t, b, "pub", true)
		const n = 9
		for range n {
			pub.publish("t", "x", 0, false)
		}
		for i, m := range members {
			if got := len(m.take()); got < n/3-1 || got > n/3+1 {
				t.Errorf("from %d on member %d got %d of %d messages", from, i, got, n)
			}
		}
	}
}

// A member that does not read what it is sent is no reason to drop what another would take.
func TestShareBesideSlowMember(t *testing.T) {
	b := serve(t)
	slow := login(t, b, mqtt.V311, "slow")
	_ = slow.conn.(*net.TCPConn).SetReadBuffer(4096)
	slow.subscribe(0, "flood", "$share/g/t")
	from := connected(t, b, "from", true)
	payload := strings.Repeat("x", 100_000)
	for b.Stats().Dropped["slow_client"] == 0 {
		from.publish("flood", payload, 0, false)
		b.Flush()
	}
	quick := connected(t, b, "quick", true)
	quick.subscribe("$share/g/t", 0)
	before := b.Stats().Dropped["slow_client"]
	const n = 10
	for i := range n {
		from.publish("t", fmt.Sprint(i), 0, false)
	}
	for i := range n {
		quick.delivered(fmt.Sprint(i), 0)
	}
	if dropped := b.Stats().Dropped["slow_client"] - before; dropped != 0 {
		t.Errorf("%d were dropped", dropped)
	}
}
