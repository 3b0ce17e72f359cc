package faults

import (
	"math"
	"strings"
	"testing"
	"time"
)

// underStrace runs the gateway under strace, which makes some syncs of each thread fail,
// counted from 1. With -D strace is not the gateway's parent, so that kills hit the gateway.
func underStrace(t *testing.T, when string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.before = []string{"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
		"-e", "inject=fdatasync,fsync:error=EIO:when=" + when}
	return g
}

// TestSyncFails: syncs fail for a while. Nothing is acknowledged that is not durable, and
// when they work again the gateway goes on by itself.
func TestSyncFails(t *testing.T) {
	beside(t)
	g := underStrace(t, form("10..13", "10..30"))
	g.start()
	r := newTraffic(t, 5, g.udp, g.mqtt, 20*time.Millisecond)
	r.tolerate(math.Inf(1)) // who waits for the disk is sent messages with QoS 1 again
	r.publish(form(300, 3000), func() {})
	r.judge(g)
	if log := g.log.String(); !strings.Contains(log, "store: cannot write") {
		t.Errorf("no sync has failed: did strace get hold of the gateway? Its log:\n%s", log)
	}
	if g.lives != 1 {
		t.Errorf("the gateway had %d lives, want 1", g.lives)
	}
}

// TestSyncFailsForGood: from some point on nothing can be made durable, and so nothing is
// acknowledged; a later gateway with a disk that works has all that was.
func TestSyncFailsForGood(t *testing.T) {
	beside(t)
	g := underStrace(t, "10+")
	g.start()
	r := newTraffic(t, 5, g.udp, g.mqtt, 20*time.Millisecond)
	r.tolerate(math.Inf(1)) // who waits for the disk is sent messages with QoS 1 again
	r.publish(500, func() {
		eventually(t, "nothing is acknowledged any more", func() bool {
			before := r.ledger.Acknowledged()
			pass(2 * time.Second) // ten times T_retry
			return before == r.ledger.Acknowledged()
		})
		if before := r.ledger.Acknowledged(); before[1]+before[2] == 0 {
			t.Error("nothing was acknowledged before the disk failed: did strace count the syncs?")
		}
		g.kill()
		g.before = nil
		g.start()
	})
	r.judge(g)
}
