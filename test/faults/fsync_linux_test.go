package faults

import (
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
	g := underStrace(t, form("10..13", "10..30"))
	g.start()
	r := newTraffic(t, 5, g.udp, g.mqtt, 20*time.Millisecond)
	r.publish(form(300, 3000), func() {})
	r.judge(g)
	if log := g.log.String(); !strings.Contains(log, "store: cannot write") {
		t.Errorf("no sync has failed: did strace get hold of the gateway? Its log:\n%s", log)
	}
	if g.lives != 1 {
		t.Errorf("the gateway had %d lives, want 1", g.lives)
	}
}
