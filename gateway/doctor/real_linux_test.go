package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports/serial"
)

// openPTY is a pty; its slave is a serial port as far as the system is concerned.
func openPTY(t *testing.T) (slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return slave
}

// hold runs a program that has f open until the test ends, and returns its pid.
func hold(t *testing.T, f *os.File) int {
	t.Helper()
	cmd := exec.Command("cat") // waits for its input
	cmd.ExtraFiles = []*os.File{f}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return cmd.Process.Pid
}

func TestRealSerialPort(t *testing.T) {
	slave := openPTY(t)
	device := slave.Name()
	s := host()
	look := func() Finding { return s.serialPort(port{device: device, stable: device}, Fail) }
	want(t, look(), OK, "opens")

	link := filepath.Join(t.TempDir(), "adapter")
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	o := serial.DefaultOptions()
	o.Device = link
	findings := SerialPorts([]serial.Options{o})
	f := findings[len(findings)-1]
	for _, g := range findings { // after the ports of this machine, before adapters without one
		if g.Subject == (port{device: device, stable: link}).subject() {
			f = g
		}
	}
	want(t, f, OK, link, "opens")

	if err := unix.Flock(int(slave.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	want(t, look(), Fail, "in use by another program")
	if got := SerialPort(device, errors.New("Serial port busy")); !errors.As(got, new(*explained)) {
		t.Errorf("got %v", got)
	}
	pid := hold(t, slave) // and with it the lock
	want(t, look(), Fail, fmt.Sprintf("in use by cat (pid %d", pid))
	if err := unix.Flock(int(slave.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	want(t, look(), OK, "opens") // cat may be what plays the port
}

// A device that speaks and one that does not, at both ends of real ptys.
func TestRealSerialLines(t *testing.T) {
	speaks, speaking, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer speaking.Close()
	silent := openPTY(t)
	stop := make(chan struct{})
	var speaker sync.WaitGroup
	speaker.Go(func() {
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-tick.C:
				speaks.Write([]byte{2, 0x18, 4, 0x16, 'a', 'b'}) // DISCONNECT and PINGREQ
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	defer func() { close(stop); speaker.Wait(); speaks.Close() }()
	lines := []serial.Options{serial.DefaultOptions(), serial.DefaultOptions()}
	lines[0].Device, lines[1].Device = speaking.Name(), silent.Name()
	findings := SerialLines(t.Context(), lines)
	if len(findings) != 2 {
		t.Fatalf("got %+v", findings)
	}
	want(t, findings[0], OK, "serial line "+speaking.Name(), "speed and framing are right")
	want(t, findings[1], OK, "nothing was heard")
}

func TestRealFileIsNoSerialPort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{file, "/dev/null"} {
		if got := SerialPort(device, syscall.ENOTTY); !errors.Is(got, syscall.ENOTTY) || !errors.As(got, new(*explained)) {
			t.Errorf("%s: got %v", device, got)
		}
	}
	want(t, host().serialPort(port{device: "/dev/null", stable: "/dev/null"}, Fail), Fail, "is not a serial port")
}

func TestRealPortHolders(t *testing.T) {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for network, c := range map[string]interface{ File() (*os.File, error) }{"udp": u, "tcp": l.(*net.TCPListener)} {
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		pids[network] = hold(t, f)
		f.Close()
	}
	u.Close()
	l.Close()
	for network, addr := range map[string]string{"udp": u.LocalAddr().String(), "tcp": l.Addr().String()} {
		findings := host().listeners([]Listener{{Network: network, Addr: addr, Flag: "--x"}})
		want(t, one(t, findings), Fail, fmt.Sprintf("cat (pid %d", pids[network]), "has this port", "stop it", "choose another port: --x")
	}
	// What this process has itself is given twice.
	_, tcp := taken(t)
	want(t, one(t, Listeners([]Listener{{Network: "tcp", Addr: tcp}})), Fail, "the gateway itself listens there already")
	free := tcpFree(t)
	twice := Listeners([]Listener{{Network: "tcp", Addr: free}, {Network: "tcp", Addr: free}})
	want(t, twice[0], OK, "free")
	want(t, twice[1], Fail, "given twice")
}

// tcpFree is an address that was free a moment ago.
func tcpFree(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
