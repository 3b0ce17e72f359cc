package doctor

import (
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestUnixSocketTroubles(t *testing.T) {
	l := Listener{Network: "unix", Addr: "/run/gateway/mqtt.sock", Flag: "--mqtt"}
	table := files{"/proc/net/unix": "Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 11111 /run/gateway/mqtt.sock2\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 22222 /run/gateway/mqtt.sock\n" +
		"0000000000000000: 00000003 00000000 00000000 0001 03 33333\n"}
	other := "choose another path: --mqtt unix:PATH"
	for _, c := range []struct {
		machine files
		err     error
		status  Status
		parts   []string
	}{
		{nil, nil, OK, []string{"unix /run/gateway/mqtt.sock: free"}},
		{nil, errInUse, Fail, []string{"another program has this socket", "sudo lsof /run/gateway/mqtt.sock", other}},
		{mosquitto.plus(table), errInUse, Fail, []string{"mosquitto (pid 480, mosquitto.service) has this socket\nstop it: ", other}},
		{mosquitto.plus(table).plus(files{"/proc/480/exe": "-> /usr/bin/gateway"}), errInUse, Warn, []string{"a gateway that is running has this socket", other}},
		{table.plus(files{"/proc/100/fd/7": "-> socket:[22222]"}), errInUse, Fail, []string{"given twice"}},
		{nil, syscall.ENOTSOCK, Fail, []string{"no socket", "ls -l /run/gateway/mqtt.sock", other}},
		{nil, syscall.ENOTDIR, Fail, []string{"no directory", other}},
		{nil, syscall.ENOENT, Fail, []string{"there is no directory /run/gateway", "sudo install -d -o pi /run/gateway", other}},
		{files{"/proc/self/cgroup": "0::/system.slice/mqttsn-gateway.service\n"}, syscall.ENOENT, Fail, []string{"RuntimeDirectory=gateway,", other}},
		{nil, &fs.PathError{Err: syscall.EACCES}, Fail, []string{"may not make a socket in /run/gateway", "sudo chown pi /run/gateway", other}},
		{nil, syscall.EINVAL, Fail, []string{"invalid argument"}},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("listen: %w", err)
		}
		want(t, newMachine(t, c.machine).listener(l, err), c.status, c.parts...)
	}
	if err := UnixSocket("/x", nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
