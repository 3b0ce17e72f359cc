package dtls

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
)

// TestConnectionsPerIdentity: one identity has so many connections and no more; the longest
// silent goes, and others keep theirs.
func TestConnectionsPerIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.MaxConnectionsPerIdentity = 3
		l := airEcho(t, a, o)
		enter := func(host int, identity string) *dtls.Conn {
			c, err := connectOver(t, a.open(fmt.Sprintf("198.51.100.%d:1", host)), l.Addr(), withKey(identity, testKey)...)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Time{})
			say(t, c, "hello")
			time.Sleep(time.Second)
			return c
		}
		other := enter(100, "sensor-2")
		var own []*dtls.Conn
		for i := range 3 {
			own = append(own, enter(i, "sensor-1"))
		}
		time.Sleep(time.Second)
		say(t, own[0], "not silent")
		for i := range 20 {
			enter(10+i, "sensor-1")
		}
		if _, err := own[1].Read(make([]byte, 10)); err == nil {
			t.Error("the longest silent is there still")
		}
		say(t, other, "still here")
		s := l.Stats()
		if s.Connections != 4 || s.Closed != (Closings{Crowded: 20}) {
			t.Errorf("%+v", s)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		number := 0
		for c := l.byName["sensor-1"]; c != nil; c = c.after {
			number++
			if c.after != nil && c.after.before != c {
				t.Error("the list is broken")
			}
		}
		if number != 3 || len(l.byName) != 2 {
			t.Errorf("%d in the list of %d", number, len(l.byName))
		}
	})
}

// TestIdentityLists: whoever leaves, in whatever order, the lists are those of who is there.
func TestIdentityLists(t *testing.T) {
	l := openLink(t, pskOptions(t), quiet())
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}} {
		var all []*conn
		for i := range order {
			c := &conn{name: "x", id: newConnectionID()}
			all = append(all, c)
			if l.enlist(c) != nil {
				t.Fatal(i)
			}
		}
		for left, i := range order {
			l.delist(all[i])
			l.delist(all[i])
			number := 0
			for c := l.byName["x"]; c != nil; c = c.after {
				number++
			}
			if number != 2-left {
				t.Errorf("%v: %d after %d", order, number, left+1)
			}
		}
	}
	if len(l.byName) != 0 {
		t.Error("something is left")
	}
}

// TestConnectsPerIdentity: an identity that is proven too often per second is turned away,
// and soon let in again. Who does not prove it does not use it up.
func TestConnectsPerIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		o.MaxConnectsPerIdentity = 2
		l := airEcho(t, a, o)
		host := 0
		enter := func(key []byte) error {
			host++
			c, err := connectOver(t, a.open(fmt.Sprintf("198.51.%d.1:1", host)), l.Addr(), withKey("sensor-1", key)...)
			if err != nil {
				return err
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _ = c.Write([]byte("x"))
			_, err = c.Read(make([]byte, 10))
			return err
		}
		for range 10 {
			if enter(newKey) == nil {
				t.Error("a wrong key is accepted")
			}
		}
		start := time.Now()
		for range 6 {
			_ = enter(testKey)
		}
		if s := l.Stats(); time.Since(start) > 500*time.Millisecond || s.Failed != (Failures{WrongKey: 10, IdentityRate: 2}) || s.Handshakes != 4 {
			t.Errorf("%v, %+v", time.Since(start), s)
		}
		time.Sleep(time.Second)
		if err := enter(testKey); err != nil {
			t.Error(err)
		}
	})
}

// TestFailuresPerPrefix: a network from which handshakes fail all the time is not listened to
// for a while; others are.
func TestFailuresPerPrefix(t *testing.T) {
	log := &logBuffer{}
	o := pskOptions(t)
	o.MaxFailuresPerPrefix = 1
	l := echo(t, o, log.logger())
	each(8, func(i int) {
		if _, err := connect(t, l.Addr(), withKey(fmt.Sprintf("stranger-%d", i), newKey)...); err == nil {
			t.Error("a stranger is let in")
		}
	})
	until(t, "the failures", func() bool { return l.Stats().Failed.UnknownIdentity == 8 })
	say(t, mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...), "patient") // it asks again
	if l.Stats().Drops.FailureRate == 0 || !strings.Contains(log.String(), "max_failures_per_prefix") {
		t.Errorf("%+v, logged %s", l.Stats().Drops, log)
	}
}
