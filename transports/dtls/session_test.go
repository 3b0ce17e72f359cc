package dtls

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
)

// wallet is where a client keeps its session.
type wallet struct {
	mu   sync.Mutex
	kept dtls.Session
}

func (w *wallet) Set(_ []byte, s dtls.Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = s
	return nil
}

func (w *wallet) Get([]byte) (dtls.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept, nil
}

func (w *wallet) Del([]byte) error { return w.Set(nil, dtls.Session{}) }

// again are a client's options to take up the session in w.
func again(w *wallet, options []dtls.ClientOption) []dtls.ClientOption {
	return append(options, dtls.WithSessionStore(w))
}

// TestOpenSSLResumes: OpenSSL takes up its session, with each kind of key and with a
// certificate, and is who it was; another listener takes it, too.
func TestOpenSSLResumes(t *testing.T) {
	ca := newAuthority(t, "test CA")
	for name, c := range map[string]struct {
		o    Options
		args []string
	}{
		"key":         {pskOptions(t), []string{"-psk_identity", "sensor-3", "-psk", hex.EncodeToString(testKey), "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0"}},
		"ecdhe key":   {pskOptions(t), []string{"-psk_identity", "sensor-3", "-psk", hex.EncodeToString(testKey), "-cipher", "ECDHE-PSK-CHACHA20-POLY1305"}},
		"two keys":    {twoKeys(t), []string{"-psk_identity", "sensor-1", "-psk", newHex, "-cipher", "PSK-AES128-GCM-SHA256"}},
		"certificate": {certOptions(t, ca, "ecdsa"), []string{"-CAfile", ca.file, "-verify_return_error"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := echo(t, c.o, quiet())
			file := filepath.Join(t.TempDir(), "session")
			first := openssl(t, l, append(c.args, "-sess_out", file)...)
			first.say(t, "hello")
			if !strings.Contains(first.output(), "New, ") || l.Stats().Resumed != 0 {
				t.Errorf("the first time it is said to be another:\n%s", first.output())
			}
			_ = first.in.Close()
			until(t, "the goodbye", func() bool { return l.Stats().Connections == 0 })
			second := openssl(t, l, append(c.args, "-sess_in", file)...)
			second.say(t, "hello again")
			if !strings.Contains(second.output(), "Reused, ") || l.Stats().Resumed != 1 {
				t.Errorf("the session was not taken up:\n%s", second.output())
			}
			name := ""
			l.mu.Lock()
			for _, c := range l.byNumber {
				name = c.name
			}
			l.mu.Unlock()
			if len(c.args) > 3 && name != c.args[1] {
				t.Errorf("the identity is %q", name)
			}
		})
	}
}

// TestResumptionEnds: a session is worth nothing without its identity, with another key, after
// its time, or where none are kept; a key that is new beside it does not matter.
func TestResumptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		o := pskOptions(t)
		l := airEcho(t, a, o)
		host := 0
		enter := func(w *wallet, key []byte) (resumed bool, err error) {
			host++
			before := l.Stats().Resumed
			c, err := connectOver(t, a.open(fmt.Sprintf("198.51.100.%d:1", host)), l.Addr(), again(w, withKey("sensor-1", key))...)
			if err == nil {
				say(t, c, "hello")
			}
			return l.Stats().Resumed > before, err
		}
		expect := func(what string, w *wallet, key []byte, want bool) {
			t.Helper()
			if resumed, err := enter(w, key); err != nil || resumed != want {
				t.Errorf("%s: resumed is %t, %v", what, resumed, err)
			}
		}
		reload := func(text string) {
			t.Helper()
			rewrite(t, o.PSKFile, text)
			if err := l.trust.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		w := &wallet{}
		old := hex.EncodeToString(testKey)
		expect("the first time", w, testKey, false)
		expect("the second time", w, testKey, true)
		expect("and again", w, testKey, true)
		time.Sleep(o.SessionLifetime)
		expect("after its time", w, testKey, false)
		reload("sensor-1:" + old + "\nsensor-1:" + newHex + "\n")
		expect("with another key beside it", w, testKey, true)
		reload("sensor-1:" + newHex + "\n")
		if n := l.trust.Sessions(); n == 0 {
			t.Error("the sessions are gone before somebody asks for them")
		}
		expect("with another key", w, newKey, false)
		expect("with that key", w, newKey, true)
		reload("sensor-2:" + newHex + "\n")
		if n := l.trust.Sessions(); n != 0 {
			t.Errorf("%d sessions of a removed identity", n)
		}
		if _, err := enter(w, newKey); err == nil {
			t.Error("a removed identity is let in")
		}
	})
}

// TestNoResumption: where none are kept, and for those who take a connection id, which an
// abbreviated handshake would take from them.
func TestNoResumption(t *testing.T) {
	o := pskOptions(t)
	with := echo(t, o, quiet())
	o.MaxSessions = 0
	without := echo(t, o, quiet())
	options := withKey("sensor-1", testKey)
	for _, c := range []struct {
		l       *Link
		options []dtls.ClientOption
	}{{without, options}, {with, withID(options)}} {
		w := &wallet{}
		for range 2 {
			say(t, mustConnect(t, c.l.Addr(), again(w, c.options)...), "hello")
		}
		if s := c.l.Stats(); s.Resumed != 0 || s.Handshakes != 2 || c.l.trust.Sessions() != 0 || len(w.kept.ID) != 0 {
			t.Errorf("%+v, %d sessions", s, c.l.trust.Sessions())
		}
	}
}

// TestStolenSessionID: who has seen the id of a session, which is not encrypted, gains
// nothing by it and takes nothing from its owner.
func TestStolenSessionID(t *testing.T) {
	l := echo(t, pskOptions(t), quiet())
	w := &wallet{}
	options := withKey("sensor-1", testKey)
	say(t, mustConnect(t, l.Addr(), again(w, options)...), "hello")
	stolen := &wallet{kept: w.kept}
	stolen.kept.Secret = make([]byte, 48)
	thief, stop := contextFor(2 * time.Second)
	defer stop()
	c, err := dtls.DialWithOptions("udp", netAddr(l), again(stolen, options)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.HandshakeContext(thief); err == nil {
		t.Error("the thief is let in")
	}
	_ = c.Close()
	say(t, mustConnect(t, l.Addr(), again(w, options)...), "hello again")
	if s := l.Stats(); s.Resumed != 1 {
		t.Errorf("%+v", s)
	}
}

// TestSessionsBound: the oldest make room, and what has had its time goes.
func TestSessionsBound(t *testing.T) {
	s := newSessions(3, time.Hour)
	now := time.Now()
	for i := range 5 {
		id := fmt.Sprint(i)
		s.put(id, dtls.Session{ID: []byte(id)}, now.Add(time.Duration(i)*time.Minute))
	}
	for id, want := range map[string]bool{"0": false, "1": false, "2": true, "4": true, "x": false} {
		if _, ok := s.get(id, now.Add(5*time.Minute)); ok != want {
			t.Errorf("%s: %t", id, ok)
		}
	}
	s.remove("3")
	s.remove("x")
	s.put("9", dtls.Session{ID: []byte("9")}, now.Add(63*time.Minute))
	if s.len() != 2 { // 4 and 9
		t.Errorf("%d are there", s.len())
	}
	if _, ok := s.get("4", now.Add(64*time.Minute)); ok {
		t.Error("one is there after its time")
	}
}
