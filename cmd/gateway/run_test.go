package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/transports/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a log that a test can read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// messages are the lines of the log.
func (j *journal) messages(t *testing.T) []string {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for line := range strings.Lines(j.text.String()) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, entry.Msg)
	}
	return all
}

// await waits for a message that begins like that.
func (j *journal) await(t *testing.T, prefix string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		for _, m := range j.messages(t) {
			if strings.HasPrefix(m, prefix) {
				return m
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no message begins with %q: %q", prefix, j.messages(t))
		}
	}
}

// load is the configuration that settings give, with free ports where they say nothing.
func load(t *testing.T, settings ...config.Setting) (config.Config, config.Origins) {
	t.Helper()
	free := []config.Setting{
		{Key: "udp.0.listen", Value: "127.0.0.1:0"},
		{Key: "mqtt.listeners", Value: "[{listen: 127.0.0.1:0}]"},
		{Key: "admin.listen", Value: "127.0.0.1:0"},
	}
	c, origins, err := config.Load(config.Input{Flags: append(free, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	return c, origins
}

// start runs a gateway until the test ends, and returns the line that says what listens.
func start(t *testing.T, settings ...config.Setting) (announced string, log *journal) {
	t.Helper()
	c, origins := load(t, settings...)
	log = &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, c, origins, log.logger()) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the gateway still runs 5 s after it was to end")
		}
	})
	return log.await(t, "listening: "), log
}

// adminURL is the address of the admin server in an announcement.
func adminURL(announced string) string {
	_, rest, _ := strings.Cut(announced, "admin ")
	url, _, _ := strings.Cut(rest, ";")
	return url
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
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

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRunWithEmbeddedBroker(t *testing.T) {
	announced, _ := start(t)
	for _, part := range []string{"mqtt-sn udp 127.0.0.1:", "mqtt tcp 127.0.0.1:", "(embedded broker)", "admin http://127.0.0.1:", "only this host can connect", "gateway --udp :1883 --mqtt :1883"} {
		if !strings.Contains(announced, part) {
			t.Errorf("the announcement lacks %q: %s", part, announced)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, body := get(t, adminURL(announced)+path); status != 200 {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
}

// A broker that cannot be reached does not stop the start.
func TestRunWithoutUpstreamBroker(t *testing.T) {
	url := "mqtt://" + closedPort(t)
	announced, _ := start(t, config.Setting{Key: "broker.url", Value: url})
	if !strings.Contains(announced, "broker "+url) || strings.Contains(announced, "embedded") {
		t.Errorf("announced: %s", announced)
	}
	if status, _ := get(t, adminURL(announced)+"/healthz"); status != 200 {
		t.Errorf("/healthz: got %d", status)
	}
	if status, _ := get(t, adminURL(announced)+"/readyz"); status != 503 {
		t.Errorf("/readyz: got %d", status)
	}
	if _, page := get(t, adminURL(announced)+"/metrics"); !strings.Contains(page, "mqttsn_gateway_upstream_up 0\n") {
		t.Errorf("the metrics do not tell that the broker is away")
	}
}

func TestAnnouncesOpenListener(t *testing.T) {
	announced, _ := start(t, config.Setting{Key: "udp.0.listen", Value: ":0"})
	if strings.Contains(announced, "only this host") || !strings.Contains(announced, "the network can connect") {
		t.Errorf("announced: %s", announced)
	}
}

// What anybody in the network can do is warned of, as long as nothing bounds it.
func TestWarnsOfWhatIsOpen(t *testing.T) {
	rights := filepath.Join(t.TempDir(), "rights")
	put(t, rights, "topic read news\n")
	udp := config.Setting{Key: "udp.0.listen", Value: ":0"}
	mqtt := config.Setting{Key: "mqtt.listeners", Value: "[{listen: ':0'}]"}
	for _, c := range []struct {
		settings []config.Setting
		want     []string
	}{
		{nil, nil},
		{[]config.Setting{udp}, []string{"UDP"}},
		{[]config.Setting{mqtt}, []string{"MQTT"}},
		{[]config.Setting{udp, mqtt}, []string{"UDP", "MQTT"}},
		{[]config.Setting{udp, mqtt, {Key: "auth.allow_anonymous", Value: "false"}}, []string{"UDP"}},
		{[]config.Setting{udp, mqtt, {Key: "auth.acl_file", Value: rights}}, nil},
	} {
		_, log := start(t, c.settings...)
		log.await(t, "sessions and messages")
		var got []string
		for _, m := range log.messages(t) {
			if rest, ok := strings.CutPrefix(m, "whoever can reach the "); ok {
				kind, _, _ := strings.Cut(rest, " ")
				got = append(got, kind)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: warned of %q, want %q", c.settings, got, c.want)
		}
	}
}

func TestNoAdmin(t *testing.T) {
	announced, log := start(t, config.Setting{Key: "admin.listen", Value: ""})
	if all := log.messages(t); strings.Contains(announced, "admin") || slices.ContainsFunc(all, func(m string) bool { return strings.Contains(m, "health") }) {
		t.Errorf("logged: %q", all)
	}
}

// The program says whether what it has will survive it.
func TestState(t *testing.T) {
	_, log := start(t)
	log.await(t, "sessions and messages are kept in memory and end with this process; to keep them: --state DIR")
	dir := t.TempDir() + "/state"
	_, log = start(t, config.Setting{Key: "state.dir", Value: dir})
	log.await(t, "sessions and messages are kept in "+dir)
	if _, err := openState(disk.Options{Dir: "run_test.go", SegmentSize: 1 << 20, MaxBytes: 1 << 20, MaxRecords: 1000}, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a file for a directory: %v", err)
	}
}

// Nobody asked for the default admin address, so a start does not fail for it.
func TestBusyAdminAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, _ := load(t)
	c.Admin.Listen = l.Addr().String()
	var log journal
	server, addr, err := newAdmin(c, config.Origins{}, nil, log.logger())
	if server != nil || addr != "" || err != nil {
		t.Errorf("default address: got %v, %q, %v", server, addr, err)
	}
	if m := log.messages(t); len(m) != 1 || !strings.Contains(m[0], "no health checks and metrics: admin.listen: ") || !strings.Contains(m[0], l.Addr().String()) {
		t.Errorf("logged %q", m)
	}
	if _, _, err = newAdmin(c, config.Origins{"admin.listen": "--admin"}, nil, log.logger()); err == nil {
		t.Error("an address that was asked for is busy: no error")
	}
}

// What cannot be had stops the start, by name, and leaves nothing open.
func TestBusyAddresses(t *testing.T) {
	taken, err := udp.Listen(udp.Options{Listen: "127.0.0.1:0", MTU: 1400, Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for want, setting := range map[string]config.Setting{
		"udp.1: cannot listen at udp ": {Key: "udp.1.listen", Value: taken.Addr().String()},
		"admin.listen: ":               {Key: "admin.listen", Value: listener.Addr().String()},
		"mqtt.listeners.0.listen: ":    {Key: "mqtt.listeners.0.listen", Value: listener.Addr().String()},
	} {
		c, origins := load(t, setting)
		var log journal
		err := run(t.Context(), c, origins, log.logger())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
