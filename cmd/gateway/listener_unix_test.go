//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/doctor"
)

func TestRunWithUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	announced, _ := start(t, config.Setting{Key: "mqtt.listeners", Value: "[{listen: 'unix:" + path + "'}, {listen: '127.0.0.1:0'}]"})
	for _, part := range []string{"mqtt unix " + path + ", mqtt tcp 127.0.0.1:", "only this host can connect"} {
		if !strings.Contains(announced, part) {
			t.Errorf("the announcement lacks %q: %s", part, announced)
		}
	}
	c, origins := load(t, config.Setting{Key: "mqtt.listeners.0.listen", Value: "unix:" + path})
	var log journal
	err := run(t.Context(), c, origins, log.logger())
	if err == nil || !strings.HasPrefix(err.Error(), "mqtt.listeners.0.listen: cannot listen at unix "+path+": ") {
		t.Errorf("a second gateway: %v", err)
	}
}

func TestDoctorLooksAtUnixSockets(t *testing.T) {
	dir := t.TempDir()
	free, live, file := filepath.Join(dir, "free"), filepath.Join(dir, "live"), filepath.Join(dir, "file")
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		status doctor.Status
		text   string
	}{
		free:                         {doctor.OK, "free"},
		live:                         {doctor.Fail, "this socket"},
		file:                         {doctor.Fail, "no socket"},
		filepath.Join(dir, "no/dir"): {doctor.Fail, "there is no directory"},
	} {
		got, _ := examined(t, "unix "+path, append(anywhere, "--mqtt", "unix:"+path)...)
		if len(got) != 1 || got[0].Status != want.status || !strings.Contains(got[0].Text, want.text) && path != live {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	if _, err := os.Lstat(free); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
