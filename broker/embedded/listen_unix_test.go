//go:build unix

package embedded

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// socket is a path for a unix socket in a directory of its own.
func socket(t testing.TB) string { return filepath.Join(t.TempDir(), "s") }

// stale is a socket that nobody listens on any more.
func stale(t *testing.T) string {
	path := socket(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	return path
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestUnixSocket(t *testing.T) {
	for name, path := range map[string]string{"new": socket(t), "stale": stale(t)} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, func(o *Options) {
				o.Listeners = append(listeners("unix:"+path), listenAt("unix:"+path+"2", func(o *ListenerOptions) { o.SocketMode = "666" }))
			})
			stop := run(t, b)
			if a := b.Addrs()[0]; a.Network() != "unix" || a.String() != path {
				t.Errorf("address %s %s", a.Network(), a)
			}
			for path, want := range map[string]fs.FileMode{path: 0o660, path + "2": 0o666} {
				if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|want {
					t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
				}
			}
			sub := subscribed(t, b, "-V", "mqttv5", "-q", "1", "-t", "a")
			mosquitto(t, b, "pub", "-q", "2", "-t", "a", "-m", "over a socket")
			sub.gets("a 1 0 over a socket")
			five := login(t, b, mqtt.V5, "five")
			stop()
			if code := expect[*mqtt.Disconnect](five).Code; code != mqtt.CodeShuttingDown {
				t.Errorf("DISCONNECT %v", code)
			}
			five.closed()
			if isThere(path) || isThere(path+"2") {
				t.Error("the socket is still there after the end")
			}
		})
	}
}

// Clients of a unix socket have no address: the log has the socket's.
func TestUnixSocketInLog(t *testing.T) {
	path := socket(t)
	b, text := logged(t, slog.LevelInfo, func(o *Options) { o.Listeners = listeners("unix:" + path) })
	login(t, b, mqtt.V5, "c")
	want := " remote=" + path + " "
	until(t, "the log says"+want, func() bool { return strings.Contains(text.String(), want) })
}

// What somebody else has is left alone, and the error says what it is.
func TestUnixSocketTaken(t *testing.T) {
	live, file, link := socket(t), socket(t), socket(t)
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	datagrams := socket(t)
	d, err := net.ListenPacket("unixgram", datagrams)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for path, want := range map[string]struct {
		kind error
		text string
	}{
		live:                     {syscall.EADDRINUSE, "another program listens there"},
		datagrams:                {syscall.EADDRINUSE, "another program has a socket there"},
		file:                     {syscall.ENOTSOCK, "is no socket, and is not removed"},
		link:                     {syscall.ENOTSOCK, "is no socket, and is not removed"},
		filepath.Dir(file):       {syscall.ENOTSOCK, "is no socket"},
		"/nowhere/at/all":        {fs.ErrNotExist, "make the directory"},
		filepath.Join(file, "x"): {syscall.ENOTDIR, "make the directory"},
	} {
		c, err := Listen(listenAt("unix:" + path))
		if err == nil {
			c.Close()
			t.Errorf("%s: it listens", path)
			continue
		}
		if !errors.Is(err, want.kind) || !strings.Contains(err.Error(), want.text) || !strings.Contains(err.Error(), "--mqtt unix:PATH") {
			t.Errorf("%s: %v", path, err)
		}
		if e := (*ListenError)(nil); !errors.As(err, &e) || e.Addr != "unix:"+path {
			t.Errorf("%s: %#v", path, err)
		}
	}
	if b, err := os.ReadFile(link); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if !isThere(live) || !isThere(datagrams) {
		t.Error("a socket of another program was removed")
	}
}

// The file is removed at the end only if it is still ours.
func TestUnixSocketReplaced(t *testing.T) {
	path := socket(t)
	c, err := Listen(listenAt("unix:" + path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !isThere(path) {
		t.Error("the socket of another program was removed")
	}
}

// A start that fails leaves no socket behind.
func TestUnixSocketAfterFailedStart(t *testing.T) {
	path := socket(t)
	o := DefaultOptions()
	o.Listeners = listeners("unix:"+path, "192.0.2.1:0")
	var e *ListenError
	if _, err := New(o, nil, silent()); !errors.As(err, &e) || e.Index != 1 {
		t.Errorf("New: %v", err)
	}
	if isThere(path) {
		t.Error("the socket is still there")
	}
}
