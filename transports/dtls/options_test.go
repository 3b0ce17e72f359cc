package dtls

import (
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		`listeners: number 2: "x" is not allowed`:                func(o *Options) { o.Listeners = []string{":8883", "x"} },
		`listeners: number 1: "224.0.0.1:8883" is not allowed`:   func(o *Options) { o.Listeners = []string{"224.0.0.1:8883"} },
		"mtu: 255 is not allowed: 256 to 8192":                   func(o *Options) { o.MTU = 255 },
		"max_connections: 0 is not allowed":                      func(o *Options) { o.MaxConnections = 0 },
		"max_handshakes: 0 is not allowed":                       func(o *Options) { o.MaxHandshakes = 0 },
		"max_handshakes_per_prefix: 0 is not allowed":            func(o *Options) { o.MaxHandshakesPerPrefix = 0 },
		"max_hellos_per_prefix: 0 is not allowed":                func(o *Options) { o.MaxHellosPerPrefix = 0 },
		`user: "a\x00" is not`:                                   func(o *Options) { o.User = "a\x00" },
		"queue: 1 is not allowed":                                func(o *Options) { o.Queue = 1 },
		"receive_buffer: -1 is not allowed":                      func(o *Options) { o.ReceiveBuffer = -1 },
		"retransmit_interval: 1ms is not allowed: 100ms to 1m0s": func(o *Options) { o.RetransmitInterval = time.Millisecond },
		"handshake_timeout: 0s is not allowed":                   func(o *Options) { o.HandshakeTimeout = 0 },
		"idle_timeout: 1s is not allowed":                        func(o *Options) { o.IdleTimeout = time.Second },
		`client_certificates: "yes" is not allowed`:              func(o *Options) { o.ClientCertificates = "yes" },
		`client_ca_file: "" is not allowed`:                      func(o *Options) { o.ClientCertificates = certificatesRequired },
		`client_ca_file: "ca" is of no use`:                      func(o *Options) { o.ClientCAFile = "ca" },
		`client_certificates: "optional" is not allowed without certificate_file`: func(o *Options) {
			o.ClientCertificates, o.ClientCAFile, o.PSKFile = certificatesOptional, "ca", "psk"
		},
		`certificate_file: "c" is not allowed without key_file`: func(o *Options) { o.CertificateFile = "c" },
		`key_file: "k" is not allowed without certificate_file`: func(o *Options) { o.KeyFile = "k" },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestCredentialErrors: what is wrong with a file is said with its option's key.
func TestCredentialErrors(t *testing.T) {
	ca := newAuthority(t, "test CA")
	server, other := ca.issue(t, "ecdsa", nil), ca.issue(t, "rsa", nil)
	for want, change := range map[string]func(*Options){
		"psk_file: ":                   func(o *Options) { o.PSKFile = writeFile(t, "psk", "nonsense", 0o600) },
		"certificate_file: open /none": func(o *Options) { o.CertificateFile, o.KeyFile = "/none", server.keyFile },
		"key_file: open /none":         func(o *Options) { o.CertificateFile, o.KeyFile = server.certFile, "/none" },
		"key_file: ":                   func(o *Options) { o.CertificateFile, o.KeyFile = server.certFile, writeFile(t, "k", "x", 0o644) },
		"certificate_file: /":          func(o *Options) { o.CertificateFile, o.KeyFile = server.certFile, other.keyFile },
		"client_ca_file: open /none":   func(o *Options) { o.ClientCertificates, o.ClientCAFile = certificatesRequired, "/none" },
		"client_ca_file: /":            func(o *Options) { o.ClientCertificates, o.ClientCAFile = certificatesRequired, server.keyFile },
	} {
		o := DefaultOptions()
		change(&o)
		_, err := LoadCredentials(o, quiet())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestLines: one line in ten seconds for each cause, with the number of those left out.
func TestLines(t *testing.T) {
	l := newLines(quiet())
	now := time.Now()
	written := 0
	for range 100 {
		if _, ok := l.take("one", now); ok {
			written++
		}
		now = now.Add(lineEvery/100 - 1)
	}
	if _, ok := l.take("another", now); written != 1 || !ok {
		t.Errorf("%d lines, and of another cause %t", written, ok)
	}
	if dropped, ok := l.take("one", now.Add(100)); dropped != 99 || !ok {
		t.Errorf("after ten seconds: %d left out, %t", dropped, ok)
	}
	log := &logBuffer{}
	l = newLines(log.logger())
	for range 10000 {
		l.warn("one", "DTLS handshake ignored")
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// TestPrintable: a stranger's name does no harm to a log.
func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"sensor-1": "sensor-1", "a\xffb": "a?b", strings.Repeat("x", 65): strings.Repeat("x", 64) + "...",
	} {
		if got := printable([]byte(name)); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}
