package upstream

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	valid := DefaultOptions()
	valid.URL = "mqtt://broker"
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string // has to stand in the error, the key first
		change func(*Options)
	}{
		{"url: \"\"", func(o *Options) { o.URL = "" }},
		{"url: \"http://b\"", func(o *Options) { o.URL = "http://b" }},
		{"url: \"b:1883\"", func(o *Options) { o.URL = "b:1883" }},
		{"the host is missing", func(o *Options) { o.URL = "mqtt://:1883" }},
		{"the port", func(o *Options) { o.URL = "mqtt://b:0" }},
		{"nothing may follow", func(o *Options) { o.URL = "mqtt://b/x" }},
		{"mqtt://...@b\" is not allowed: a user name", func(o *Options) { o.URL = "mqtt://me:secret@b" }},
		{"password_file: \"x\"", func(o *Options) { o.PasswordFile = "x" }},
		{"client_id_prefix: 129", func(o *Options) { o.ClientIDPrefix = strings.Repeat("x", 129) }},
		{"receive_maximum: 0 is not allowed: 1 to", func(o *Options) { o.ReceiveMaximum = 0 }},
		{"max_packet_size: 100", func(o *Options) { o.MaxPacketSize = 100 }},
		{"dial_concurrency: 0", func(o *Options) { o.DialConcurrency = 0 }},
		{"reconnect_rate: -1", func(o *Options) { o.ReconnectRate = -1 }},
		{"max_pending: 0", func(o *Options) { o.MaxPending = 0 }},
		{"write_buffer: 1 ", func(o *Options) { o.WriteBuffer = 1 }},
		{"session_expiry: 0s", func(o *Options) { o.SessionExpiry = 0 }},
		{"clean_session_expiry: 1.5s is not allowed: MQTT counts", func(o *Options) { o.CleanSessionExpiry = 1500 * time.Millisecond }},
		{"keep_alive: 24h0m0s", func(o *Options) { o.KeepAlive = 24 * time.Hour }},
		{"connect_timeout: 0s", func(o *Options) { o.ConnectTimeout = 0 }},
		{"reconnect_min: 0s", func(o *Options) { o.ReconnectMin = 0 }},
		{"reconnect_max: 500ms is not allowed: 1s to", func(o *Options) { o.ReconnectMax = 500 * time.Millisecond }},
		{"outage_grace: -1s", func(o *Options) { o.OutageGrace = -time.Second }},
		{"will_timeout: 0s", func(o *Options) { o.WillTimeout = 0 }},
		{"health_interval: 0s", func(o *Options) { o.HealthInterval = 0 }},
	} {
		o := valid
		c.change(&o)
		err := o.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, c.want)
		}
		if _, err := New(o, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("New accepts what Validate refuses: %q", c.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for url, want := range map[string]string{
		"mqtt://broker": "broker:1883", "mqtt://broker:1": "broker:1", "mqtt://10.0.0.1/": "10.0.0.1:1883",
		"mqtt://[::1]": "[::1]:1883", "mqtt://[fe80::1%25eth0]:7": "[fe80::1%eth0]:7",
	} {
		o := Options{URL: url}
		if got, err := o.endpoints(); err != nil || len(got) != 1 || address(got[0]) != want {
			t.Errorf("%s: %q %v, want %q", url, got, err, want)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	o := DefaultOptions()
	o.URL, o.Username, o.PasswordFile = "mqtt://broker", "me", path
	try := func(content string, mode os.FileMode) ([]byte, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		b, err := New(o, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells the password: %v", err)
			}
			return nil, err
		}
		return b.papers.Load().password, nil
	}
	if _, err := New(o, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "password_file: ") {
		t.Errorf("no file: %v", err)
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o440, 0o640} {
		if got, err := try("s3cret \r\n", mode); err != nil || string(got) != "s3cret " {
			t.Errorf("mode %o: %q %v", mode, got, err)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o604, 0o660, 0o602} {
		if _, err := try("s3cret", mode); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, content := range []string{"", "\n", "s3cret" + strings.Repeat("x", 65535)} {
		if _, err := try(content, 0o600); err == nil {
			t.Errorf("%d octets are accepted", len(content))
		}
	}
}

// The password goes to the broker and nowhere else.
func TestPasswordIsPresented(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _, _, p := exchange(t, func(o *Options) { o.Username, o.PasswordFile = "me", path }, true)
	if c := p.connect; c.Username != "me" || !c.PasswordFlag || string(c.Password) != "s3cret" {
		t.Fatalf("%v", c)
	}
	p.disconnect(0x87)
	await(t, "reconnect", func() bool { return b.Stats().LastError != "" })
	if b.logs.count("s3cret") > 0 {
		t.Fatalf("log:\n%s", b.logs)
	}
}

func TestModeOptions(t *testing.T) {
	for key, change := range map[string]func(*Options){
		"mode":            func(o *Options) { o.Mode = "bridge" },
		"connections":     func(o *Options) { o.Connections = 0 },
		"client_id":       func(o *Options) { o.ClientID = "a\x00" },
		"durability":      func(o *Options) { o.Mode, o.Durability = Aggregating, "through" },
		"connect_offline": func(o *Options) { o.Mode, o.ConnectOffline = Aggregating, "refuse" },
	} {
		o := quick("localhost:1883")
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
