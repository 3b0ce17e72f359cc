package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a gateway whose answers a test decides.
type fake struct {
	stuck, down atomic.Bool
	stats       gateway.Stats
}

func (f *fake) Alive(ctx context.Context) error {
	if f.stuck.Load() {
		return errors.New("gateway: a shard does not answer")
	}
	return ctx.Err()
}

func (f *fake) Ready() bool { return !f.down.Load() }

func (f *fake) Stats() gateway.Stats { return f.stats }

// start serves a fake gateway until the test ends, and returns the server's URL.
func start(t *testing.T, f *fake, sources ...Source) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(listener, f, slog.New(slog.DiscardHandler), sources...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// get is the answer to a request: status and body.
func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealth(t *testing.T) {
	var f fake
	url := start(t, &f)
	expect := func(path string, status int, text string) {
		t.Helper()
		if got, body := get(t, "GET", url+path); got != status || !strings.Contains(body, text) {
			t.Errorf("%s: got %d %q, want %d %q", path, got, body, status, text)
		}
	}
	expect("/healthz", 200, "ok")
	expect("/readyz", 200, "ok")
	f.stuck.Store(true)
	expect("/healthz", 503, "a shard does not answer")
	f.stuck.Store(false)
	f.down.Store(true)
	expect("/healthz", 200, "ok")
	expect("/readyz", 503, "not ready")
}

// There is nothing but what the package promises, and nothing to write to.
func TestNothingElse(t *testing.T) {
	url := start(t, &fake{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/debug/pprof/", 404}, {"GET", "/healthz/x", 404},
		{"POST", "/healthz", 405}, {"PUT", "/metrics", 405}, {"DELETE", "/readyz", 405},
		{"HEAD", "/healthz", 200},
	} {
		if got, _ := get(t, c.method, url+c.path); got != c.want {
			t.Errorf("%s %s: got %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	url := start(t, &fake{})
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", resp.StatusCode)
	}
}

// Shutdown does not wait for clients that do not go.
func TestShutdownCutsIdleClients(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(listener, &fake{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the server does not end")
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for _, listen := range []string{"", ":0", "[::1]:8080", "localhost:80"} {
		if err := (Options{Listen: listen}).Validate(); err != nil {
			t.Errorf("%q: %v", listen, err)
		}
	}
	for _, listen := range []string{"8080", "localhost", "1.2.3.4:http", ":65536", "a:b:1"} {
		if err := (Options{Listen: listen}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "listen: ") {
			t.Errorf("%q: got %v", listen, err)
		}
	}
}
