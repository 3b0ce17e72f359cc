package dtls

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// keyServer answers as bisquitt's does: GET /clients/{id}, HTTP Basic.
type keyServer struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex
	keys  map[string][]byte
	then  func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

func newKeyServer(t testing.TB, start func(http.Handler) *httptest.Server) *keyServer {
	s := &keyServer{keys: map[string][]byte{"sensor-1": testKey, "Fühler 2/a": newKey}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clients/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		key, then := s.keys[r.PathValue("id")], s.then
		s.mu.Unlock()
		if then != nil && then(w, r) {
			return
		}
		user, password, _ := r.BasicAuth()
		switch {
		case user != "gw" || password != "secret-word":
			w.WriteHeader(http.StatusUnauthorized)
		case key == nil:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"Client not found"}`))
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"client": r.PathValue("id"), "psk": key})
		}
	})
	s.Server = start(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) set(then func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.then = then
}

func (s *keyServer) options(t testing.TB) Options {
	o := pskOptions(t)
	o.PSKFile, o.KeyServer, o.KeyServerUser = "", s.URL+"/clients", "gw"
	o.KeyServerPasswordFile = writeFile(t, "password", "secret-word\n", 0o600)
	return o
}

// TestKeysFromServer: who is in no file is asked for, once, and gets in with its key.
func TestKeysFromServer(t *testing.T) {
	s := newKeyServer(t, httptest.NewServer)
	o := s.options(t)
	o.PSKFile = writeFile(t, "psk", "local:"+newHex+"\n", 0o600)
	l := echo(t, o, quiet())
	for range 3 {
		say(t, mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...), "hello")
	}
	say(t, mustConnect(t, l.Addr(), withKey("Fühler 2/a", newKey)...), "hello")
	say(t, mustConnect(t, l.Addr(), withKey("local", newKey)...), "hello")
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	for range 2 {
		if _, err := connect(t, l.Addr(), withKey("nobody", testKey)...); err == nil {
			t.Error("somebody who has no key is let in")
		}
	}
	until(t, "the refusals", func() bool { return l.Stats().Failed == Failures{UnknownIdentity: 2} })
	if n := s.asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	c := mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...)
	if err := l.trust.Reload(); err != nil {
		t.Fatal(err)
	}
	say(t, c, "still here")
	say(t, mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...), "hello")
	if n := s.asked.Load(); n != 4 {
		t.Errorf("asked %d times after a reload, want 4", n)
	}
}

// TestSessionsOfServer: who has a key from there takes up its session.
func TestSessionsOfServer(t *testing.T) {
	l := echo(t, newKeyServer(t, httptest.NewServer).options(t), quiet())
	w := &wallet{}
	for range 2 {
		say(t, mustConnect(t, l.Addr(), again(w, withKey("sensor-1", testKey))...), "hello")
		if err := l.trust.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Stats().Resumed; n != 1 {
		t.Errorf("%d resumed", n)
	}
}

// TestServerFails: a handshake whose key cannot be asked for is refused, which is counted and
// logged once, without anything secret; a server that hangs delays nobody else.
func TestServerFails(t *testing.T) {
	other := newKeyServer(t, httptest.NewServer)
	for want, then := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"status 500": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true },
		"status 302": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL+"/clients/sensor-1", http.StatusFound)
			return true
		},
		"status 401": func(_ http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("Authorization")
			r.SetBasicAuth("x", "y")
			return false
		},
		"another client": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(`{"client":"sensor-2","psk":"` + base64.StdEncoding.EncodeToString(testKey) + `"}`))
			return true
		},
		"in base64":         func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte(`{"psk":"!!"}`)); return true },
		"longer than":       func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write(make([]byte, 5000)); return true },
		"within key_server": func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
	} {
		t.Run(want, func(t *testing.T) {
			s := newKeyServer(t, httptest.NewServer)
			s.set(then)
			o, log := s.options(t), &logBuffer{}
			if o.KeyServerTimeout = time.Minute; want == "within key_server" {
				o.KeyServerTimeout = time.Second
			}
			o.PSKFile = writeFile(t, "psk", "local:"+newHex+"\n", 0o600)
			l := echo(t, o, log.logger())
			failed := make(chan error, 1)
			go func() {
				_, err := connect(t, l.Addr(), withKey("sensor-1", testKey)...)
				failed <- err
			}()
			until(t, "the question", func() bool { return s.asked.Load() > 0 })
			say(t, mustConnect(t, l.Addr(), withKey("local", newKey)...), "not delayed")
			if wait(t, failed) == nil {
				t.Error("it is let in")
			}
			until(t, "the line", func() bool { return strings.Contains(log.String(), want) })
			if l.Stats().Failed != (Failures{Lookup: 1}) || !strings.Contains(log.String(), "identity=sensor-1") {
				t.Errorf("%+v, logged %s", l.Stats().Failed, log)
			}
			for _, secret := range []string{"secret-word", base64.StdEncoding.EncodeToString(testKey), s.URL} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log shows %q: %s", secret, log)
				}
			}
		})
	}
	if other.asked.Load() != 0 {
		t.Error("a redirection was followed")
	}
}

// TestServerOverTLS: its certificate is checked; a token is a password without a user.
func TestServerOverTLS(t *testing.T) {
	s := newKeyServer(t, httptest.NewTLSServer)
	s.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer secret-word" {
			r.SetBasicAuth("gw", "secret-word")
		}
		return false
	})
	o := s.options(t)
	o.KeyServerUser = ""
	l := echo(t, o, quiet())
	if _, err := connect(t, l.Addr(), withKey("sensor-1", testKey)...); err == nil {
		t.Error("a server that nobody vouches for is believed")
	}
	until(t, "the refusal", func() bool { return l.Stats().Failed == Failures{Lookup: 1} })
	o.KeyServerCAFile = writeFile(t, "ca.pem", pemText("CERTIFICATE", s.Certificate().Raw), 0o644)
	l = echo(t, o, quiet())
	say(t, mustConnect(t, l.Addr(), withKey("sensor-1", testKey)...), "hello")
}

// TestLookupRemembers: for its lifetime, unless it is in doubt; and no more than its bounds.
func TestLookupRemembers(t *testing.T) {
	s := newKeyServer(t, httptest.NewServer)
	o := s.options(t)
	l, err := newLookup(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	ask := func(identity string, want []byte, asked int64) {
		t.Helper()
		if key, err := l.find(t.Context(), identity); err != nil || !bytes.Equal(key, want) || s.asked.Load() != asked {
			t.Errorf("%s: %x, %v, asked %d times, want %d", identity, key, err, s.asked.Load(), asked)
		}
	}
	age := func(by time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for identity, f := range l.found {
			f.at = f.at.Add(-by)
			l.found[identity] = f
		}
		for identity := range l.absent {
			l.absent[identity] = l.absent[identity].Add(-by)
		}
	}
	ask("sensor-1", testKey, 1)
	ask("sensor-1", testKey, 1)
	age(o.KeyServerLifetime)
	ask("sensor-1", testKey, 2)
	l.doubt("sensor-1")
	ask("sensor-1", testKey, 2)
	age(doubtAfter)
	s.keys["sensor-1"] = newKey
	ask("sensor-1", newKey, 3)
	ask("later", nil, 4)
	ask("later", nil, 4)
	age(absentFor)
	s.keys["later"] = newKey
	ask("later", newKey, 5)
	for _, never := range []string{"", ".", "..", "\xff", strings.Repeat("x", 129)} {
		ask(never, nil, 5)
	}
	for i := range maxAbsent + 10 {
		l.absent[string(rune(i))] = time.Now()
	}
	ask("nobody", nil, 6)
	if len(l.absent) != maxAbsent {
		t.Errorf("%d absent ones are remembered", len(l.absent))
	}
}

func TestKeyServerOptions(t *testing.T) {
	password := writeFile(t, "password", "x", 0o600)
	for text, good := range map[string]bool{
		"https://keys.example/clients": true, "http://127.0.0.1:8000": true, "http://[::1]/x": true, "http://localhost/x": true,
		"http://keys.example/": false, "http://10.0.0.1": false, "ftp://x": false, "keys": false, "https://": false, "https://u:p@x/": false,
		"https://x/?a=b": false, "https://x/#y": false, "http://localhost.example/": false, "https://%zz": false,
	} {
		o := DefaultOptions()
		o.KeyServer, o.KeyServerPasswordFile = text, password
		if err := o.Validate(); (err == nil) != good || err != nil && (!strings.HasPrefix(err.Error(), "key_server: ") || strings.Contains(err.Error(), "u:p")) {
			t.Errorf("%s: %v", text, err)
		}
	}
	o := DefaultOptions()
	o.KeyServerUser = "x"
	if o.Validate() == nil {
		t.Error("a user without key_server is accepted")
	}
	if o.KeyServer = "https://x"; o.Validate() == nil {
		t.Error("a user without a password is accepted")
	}
}

// FuzzReadKeyAnswer: what is taken is a key, and errors do not show what has come.
func FuzzReadKeyAnswer(f *testing.F) {
	f.Add([]byte(`{"client":"a","psk":"MDEyMw=="}`))
	f.Add([]byte(`{"client":"b","psk":"MDEyMw=="}`))
	f.Add([]byte(`{"psk":null}`))
	f.Add([]byte(`{"psk":[1,2]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := readKeyAnswer(b, "a")
		if err == nil && (len(key) == 0 || len(key) > maxKey) || err != nil && key != nil {
			t.Fatalf("%d octets, %v", len(key), err)
		}
	})
}
