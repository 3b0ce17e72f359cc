package main

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/config"
)

// The gateway does not start with files that it cannot obey, and says where the mistake is.
func TestRunRefusesAuthFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("# a comment\ngarbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"auth.password_file", "auth.acl_file"} {
		c, origins := load(t, config.Setting{Key: key, Value: file})
		err := run(t.Context(), c, origins, slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), key+": "+file+":2: ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// The guard is that of the broker inside.
func TestRunKeepsAnonymousOut(t *testing.T) {
	for _, c := range []struct {
		allow string
		code  byte
	}{{"auto", 0}, {"false", 5}} {
		announced, _ := start(t, config.Setting{Key: "auth.allow_anonymous", Value: c.allow})
		_, addr, _ := strings.Cut(announced, "mqtt tcp ")
		addr, _, _ = strings.Cut(addr, " ")
		conn, err := net.Dial("tcp", strings.TrimSuffix(addr, ","))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c")
		answer := make([]byte, 4)
		if _, err := io.ReadFull(bufio.NewReader(conn), answer); err != nil || answer[0] != 0x20 || answer[3] != c.code {
			t.Errorf("%s: % x %v", c.allow, answer, err)
		}
		conn.Close()
	}
}
