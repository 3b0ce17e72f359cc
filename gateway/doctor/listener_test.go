package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

// taken has two loopback addresses of which others have the ports.
func taken(t *testing.T) (udp, tcp string) {
	t.Helper()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close(); l.Close() })
	return u.LocalAddr().String(), l.Addr().String()
}

// table is a machine on which process 480 has a socket with that address.
func table(name, address string, uid int) files {
	return files{
		"/proc/net/" + name: "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
			"   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11111 1 0\n" +
			fmt.Sprintf("   1: %s 00000000:0000 0A 00000000:00000000 00:00000000 00000000  %4d        0 22222 1 0\n", address, uid),
	}
}

var mosquitto = files{
	"/proc/480/comm":   "mosquitto\n",
	"/proc/480/exe":    "-> /usr/sbin/mosquitto",
	"/proc/480/cgroup": "0::/system.slice/mosquitto.service\n",
	"/proc/480/fd/5":   "-> socket:[22222]",
}

func TestPortTaken(t *testing.T) {
	for _, c := range []struct {
		network, table, bound, addr string
		hit                         bool
	}{
		{"udp", "udp", "0100007F:075B", "127.0.0.1:1883", true},
		{"udp", "udp", "0100007F:075B", "localhost:1883", true},
		{"udp", "udp", "0100007F:075B", ":1883", true},
		{"udp", "udp", "00000000:075B", "10.0.0.1:1883", true},
		{"udp", "udp6", "00000000000000000000000000000000:075B", "127.0.0.1:1883", true},
		{"udp", "udp6", "0000000000000000FFFF00000100007F:075B", "127.0.0.1:1883", true},
		{"udp", "udp6", "00000000000000000000000001000000:075B", "[::1]:1883", true},
		{"udp", "udp6", "000080FE000000000000000001000000:075B", "[fe80::1%eth0]:1883", true},
		{"tcp", "tcp", "00000000:075B", ":1883", true},
		{"udp", "udp", "0100007F:075C", "127.0.0.1:1883", false},
		{"udp", "udp", "0200007F:075B", "127.0.0.1:1883", false},
		{"udp", "tcp", "0100007F:075B", "127.0.0.1:1883", false},
		{"udp", "udp", "nonsense", "127.0.0.1:1883", false},
	} {
		m := newMachine(t, mosquitto.plus(table(c.table, c.bound, 1883)))
		f := m.listener(Listener{Network: c.network, Addr: c.addr, Flag: "--udp"}, errInUse)
		text := "another program has this port"
		if c.hit {
			text = "mosquitto (pid 480, mosquitto.service) has this port\nstop it: sudo systemctl disable --now mosquitto.service"
		}
		want(t, f, Fail, c.network+" "+c.addr, text, "choose another port: --udp ", ":1884")
	}
	m := newMachine(t, table("udp", "0100007F:075B", 0)) // whose files cannot be seen
	want(t, m.listener(Listener{Network: "udp", Addr: ":1883"}, errInUse), Fail, "a program of user root has this port", "sudo gateway doctor")
	m = newMachine(t, mosquitto.plus(table("tcp", "0100007F:075B", 0)))
	want(t, m.listener(Listener{Network: "tcp", Addr: ":1883", Broker: true, Flag: "--mqtt"}, errInUse), Fail, "mosquitto", "--broker mqtt://localhost:1883", "--mqtt")
	m = newMachine(t, mosquitto.plus(table("udp", "0100007F:075B", 0)).plus(files{"/proc/480/exe": "-> /usr/bin/gateway"}))
	want(t, m.listener(Listener{Network: "udp", Addr: ":1883"}, errInUse), Warn, "a gateway that is running has this port")
	want(t, newMachine(t, nil).listener(Listener{Network: "tcp", Addr: ":8080", Optional: true}, errInUse), Warn, "another program has this port")
	m = newMachine(t, table("udp", "0100007F:075B", 0).plus(files{"/proc/100/fd/7": "-> socket:[22222]"}))
	want(t, m.listener(Listener{Network: "udp", Addr: ":1883"}, errInUse), Fail, "given twice")
}

func TestPortForbidden(t *testing.T) {
	l := Listener{Network: "udp", Addr: ":80", Flag: "--udp"}
	want(t, newMachine(t, nil).listener(l, errForbidden), Fail, "may not have ports below 1024", "1024 or more: --udp :8080")
	m := newMachine(t, files{
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "81\n",
		"/proc/self/cgroup":                             "0::/system.slice/mqttsn-gateway.service\n",
	})
	want(t, m.listener(l, errForbidden), Fail, "below 81", "systemctl edit mqttsn-gateway.service", "AmbientCapabilities=CAP_NET_BIND_SERVICE")
	l.Addr = ":1883"
	want(t, m.listener(l, errForbidden), Fail, "SELinux")
}

func TestPortOfAnotherMachine(t *testing.T) {
	m := newMachine(t, nil)
	l := Listener{Network: "udp", Addr: "192.0.2.1:1883", Flag: "--udp"}
	_, err := listen(l)
	want(t, m.listener(l, err), Fail, "no interface of this machine has that address", "127.0.0.1", "--udp :1883")
	l.Addr = "nowhere.invalid:1883"
	want(t, m.listener(l, &net.DNSError{Err: "no such host", Name: "nowhere.invalid"}), Fail, "no name that can be resolved", "--udp :1883")
	l.Addr = "nonsense"
	_, err = listen(l)
	want(t, m.listener(l, err), Fail, "udp nonsense")
	want(t, m.listener(l, errInUse), Fail, "another program")
}

func TestRealPorts(t *testing.T) {
	udp, tcp := taken(t)
	findings := Listeners([]Listener{
		{Network: "udp", Addr: "127.0.0.1:0"},
		{Network: "tcp", Addr: "127.0.0.1:0"},
		{Network: "udp", Addr: udp, Flag: "--udp"},
		{Network: "tcp", Addr: tcp, Flag: "--mqtt"},
	})
	for i, f := range findings[:2] {
		if f.Status != OK {
			t.Errorf("%d: %+v", i, f)
		}
	}
	// It is this very process that has them; only on Linux that can be seen.
	want(t, findings[2], Fail, "udp "+udp)
	want(t, findings[3], Fail, "tcp "+tcp)
}

func TestPortErrors(t *testing.T) {
	udp, tcp := taken(t)
	for _, c := range []struct {
		network, addr string
		explain       func(string, error) error
	}{{"udp", udp, UDPPort}, {"tcp", tcp, TCPPort}} {
		_, err := listen(Listener{Network: c.network, Addr: c.addr})
		wrapped := fmt.Errorf("listen: %w", err)
		got := c.explain(c.addr, wrapped)
		if !errors.Is(got, errInUse) || !strings.HasPrefix(got.Error(), "cannot listen at "+c.network+" "+c.addr+": ") || !strings.Contains(got.Error(), ", such as 127.0.0.1:") {
			t.Errorf("got %v", got)
		}
		if other := errors.New("it rains"); c.explain(c.addr, other) != other || c.explain(c.addr, nil) != nil {
			t.Error("what is not known must stay what it is")
		}
	}
}

type closed struct{ bool }

func (c *closed) Close() error { c.bool = true; return nil }

// What the gateway itself opens is judged by its own errors, and closed again.
func TestListenersOpenThemselves(t *testing.T) {
	var c closed
	findings := newMachine(t, nil).listeners([]Listener{
		{Network: "udp", Addr: ":1", Open: func() (io.Closer, error) { return &c, nil }},
		{Network: "udp", Addr: ":2", Flag: "--udp", Open: func() (io.Closer, error) { return nil, fmt.Errorf("listen: %w", errInUse) }},
	})
	want(t, findings[0], OK, "udp :1: free")
	want(t, findings[1], Fail, "udp :2: another program has this port", "--udp :3")
	if !c.bool {
		t.Error("not closed")
	}
}

func TestShiftedPorts(t *testing.T) {
	for addr, want := range map[string]string{":1883": ":1884", "[::1]:65535": "[::1]:65534", "localhost:0": "localhost:1", "x": "HOST:PORT", "x:http": "HOST:PORT"} {
		if got := (Listener{Addr: addr}).shifted(1); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func TestSocketAddr(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:075B":                         "127.0.0.1:1883",
		"B80D01200000000067452301EFCDAB89:0016": "[2001:db8::123:4567:89ab:cdef]:22",
	} {
		if got, ok := socketAddr(text); !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", ":", "0100007F", "0100007F:", "0100007F:12345", "01007F:1", "xx:1"} {
		if got, ok := socketAddr(text); ok {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestBuffers(t *testing.T) {
	small := files{"/proc/sys/net/core/rmem_max": "212992\n", "/proc/sys/net/core/wmem_max": "212992\n"}
	ls := []Listener{{Network: "udp", ReceiveBuffer: 4 << 20, SendBuffer: 100}, {Network: "udp", ReceiveBuffer: 1}}
	f := one(t, newMachine(t, small).buffers(ls))
	want(t, f, Warn, "only 212992 octets to receive (net.core.rmem_max), 4194304 are asked for", `printf '%s\n' net.core.rmem_max=4194304 | sudo tee`)
	not(t, f, "wmem_max")
	ls[1].SendBuffer = 1 << 20
	want(t, one(t, newMachine(t, small).buffers(ls)), Warn, "to receive", "to send (net.core.wmem_max), 1048576", "net.core.rmem_max=4194304 net.core.wmem_max=1048576 |")
	for _, tree := range []files{
		{},
		{"/proc/sys/net/core/rmem_max": "4194304\n", "/proc/sys/net/core/wmem_max": "4194304\n"},
		small.plus(files{"/proc/self/status": "Name:\tx\nCapEff:\t0000000000001000\n"}),
	} {
		if f := newMachine(t, tree).buffers(ls); len(f) > 0 {
			t.Errorf("got %+v", f)
		}
	}
	if f := newMachine(t, small.plus(files{"/proc/self/status": "CapEff:\t0000000000000400\n"})).buffers(ls); len(f) != 1 {
		t.Errorf("got %+v", f)
	}
}

// Files that cannot be read, and are not what they should be, end in fewer words.
func TestOddMachines(t *testing.T) {
	m := newMachine(t, files{"/etc/passwd": "::\npi:x:1000\n", "/etc/group": "x\n", "/proc/net/udp/x": ""})
	m.refuse("/dev/ttyUSB0", node{mode: 0o660, gid: 20})
	if m.userName(1000) != "1000" {
		t.Errorf("got %q", m.userName(1000))
	}
	if _, err := os.ReadFile(m.path("/proc/net/udp")); err == nil {
		t.Fatal("a directory was read")
	}
	want(t, m.listener(Listener{Network: "udp", Addr: ":1"}, errInUse), Fail, "another program has this port")
	want(t, m.forbidden("/dev/x", node{mode: fs.ModeDevice, gid: -1}, syscall.EACCES).finding(Fail, "x"), Fail, "no permission")
}

// An error about a file is none of the port's, though it may say the same.
func TestUDPPortLeavesFilesAlone(t *testing.T) {
	err := fmt.Errorf("psk_file: %w", &fs.PathError{Op: "open", Path: "/etc/psk", Err: fs.ErrPermission})
	if got := UDPPort("127.0.0.1:0", err); got != err {
		t.Errorf("got %v", got)
	}
}
