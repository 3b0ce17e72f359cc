//go:build linux || darwin

package serial

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
)

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestUnplugAndPlug: the link outlives its device; whatever is sent or written after the
// link is up again arrives.
func TestUnplugAndPlug(t *testing.T) {
	terminal := newTerminal(t)
	l := openLink(t, optionsFor(terminal.name, framingSLIP))
	got, _ := collect(t, l)
	f := framing.SLIP(false)
	arrived := terminal.packets(f)
	var files int
	const cycles = 20
	for cycle := range uint32(cycles) {
		for i := range uint32(5) {
			up, down := publish(cycle*10+i, 40), publish(cycle*10+i, 50)
			terminal.write(f.Append(nil, up))
			send(t, l, peer, down)
			if d := wait(t, got); !bytes.Equal(d.Data, up) {
				t.Fatalf("cycle %d: received % x, want % x", cycle, d.Data, up)
			}
			if p := wait(t, arrived); !bytes.Equal(p, down) {
				t.Fatalf("cycle %d: written % x, want % x", cycle, p, down)
			}
		}
		if cycle == 0 {
			files = openFiles(t)
		}
		terminal.unplug()
		eventually(t, "the link is down", func() bool { return !l.Stats().Up })
		if _, err := l.Send([]transports.Datagram{{Addr: peer, Data: publish(0, 40)}}); !errors.Is(err, transports.ErrBusy) {
			t.Fatalf("Send while down: %v", err)
		}
		terminal.plug()
		eventually(t, "the link is up", func() bool { return l.Stats().Up })
		arrived = terminal.packets(f)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d files open, %d before", n, files)
	}
	if s := l.Stats(); s.Reopened != cycles || s.Drops["line_down"] != cycles {
		t.Errorf("%+v", s)
	}
}

// TestWaitsForTheDevice: a port that is not required may come later, and what to do is
// said once.
func TestWaitsForTheDevice(t *testing.T) {
	terminal := newTerminal(t)
	terminal.unplug()
	o := optionsFor(terminal.name, framingRaw)
	advice := errors.New("plug it in")
	var asked atomic.Int64
	explain := func(device string, err error) error {
		if device != terminal.name || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("explain %q: %v", device, err)
		}
		asked.Add(1)
		return advice
	}
	if _, err := Open(o, discard, explain); !errors.Is(err, advice) {
		t.Errorf("required: %v", err)
	}
	o.Required = false
	l, err := Open(o, discard, explain)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func([]transports.Datagram) {})
	eventually(t, "it is tried again", func() bool { return asked.Load() >= 3 })
	terminal.plug()
	eventually(t, "the link is up", func() bool { return l.Stats().Up })
	if s := l.Stats(); s.Reopened != 0 {
		t.Errorf("opened for the first time, but %d times again", s.Reopened)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]error{
		dir + "/none": fs.ErrNotExist,
		file:          ErrNotSerial,
	} {
		_, err := Open(optionsFor(device, framingRaw), discard, nil)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), device) || !strings.HasPrefix(err.Error(), "device: ") {
			t.Errorf("%s: %v", device, err)
		}
	}
	if !errors.Is(ErrInUse, unix.EBUSY) || !errors.Is(ErrNotSerial, unix.ENOTTY) {
		t.Error("the system's words for the errors are not in them")
	}
}

// TestSecondOpener: not even root gets a port that a link has, and the link does not get
// one that another program has.
func TestSecondOpener(t *testing.T) {
	terminal := newTerminal(t)
	o := optionsFor(terminal.name, framingRaw)
	l := openLink(t, o)
	if second, err := Open(o, discard, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second link: %v, %v", second, err)
	}
	cmd := exec.Command("flock", "--nonblock", terminal.name, "true")
	if err := cmd.Run(); err == nil {
		t.Error("another program has locked it too")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	for name, lock := range map[string]func(fd int) error{
		"flock":    func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) },
		"TIOCEXCL": func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0) },
	} {
		other, err := os.OpenFile(terminal.name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := lock(int(other.Fd())); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(o, discard, nil); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
		_ = unix.IoctlSetInt(int(other.Fd()), unix.TIOCNXCL, 0)
		_ = other.Close()
	}
	openLink(t, o)
}

// manyFiles opens so many that further ones have descriptors above 1023.
func manyFiles(t *testing.T) {
	t.Helper()
	for range 1100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
	}
}

// TestReplugWithManyFilesOpen: the library panics with a descriptor above 1023, so low
// ones are kept for the port.
func TestReplugWithManyFilesOpen(t *testing.T) {
	terminal := newTerminal(t)
	l := openLink(t, optionsFor(terminal.name, framingRaw))
	got, _ := collect(t, l)
	manyFiles(t)
	for number := range uint32(3) {
		terminal.unplug()
		eventually(t, "the link is down", func() bool { return !l.Stats().Up })
		terminal.plug()
		eventually(t, "the link is up", func() bool { return l.Stats().Up })
		terminal.write(publish(number, 20))
		if d := wait(t, got); numberOf(d.Data) != number {
			t.Errorf("received % x", d.Data)
		}
	}
}

// TestLargeDescriptor: without such a reserve it is an error, and tried again.
func TestLargeDescriptor(t *testing.T) {
	terminal := newTerminal(t)
	manyFiles(t)
	o := optionsFor(terminal.name, framingRaw)
	if _, err := Open(o, discard, nil); !errors.Is(err, ErrDescriptors) {
		t.Fatalf("opened: %v", err)
	}
}

// TestStuckLine: the other end reads nothing. Send says so and never waits, Close neither;
// when it reads again the link comes back.
func TestStuckLine(t *testing.T) {
	terminal := newTerminal(t)
	o := optionsFor(terminal.name, framingSLIP)
	o.Baud = 4_000_000
	o.Queue = 4096
	l := openLink(t, o)
	serve(t, l, func([]transports.Datagram) {})
	eventually(t, "the queue is full", func() bool {
		_, err := l.Send([]transports.Datagram{{Addr: peer, Data: publish(0, 250)}})
		return err != nil
	})
	eventually(t, "the link is down", func() bool {
		s := l.Stats()
		return !s.Up && s.Queued == 0 && s.Drops["line_down"] > 0
	})
	arrived := terminal.packets(framing.SLIP(false))
	eventually(t, "the link is up again", func() bool { return l.Stats().Up })
	last := publish(7, 20)
	send(t, l, peer, last)
	for p := wait(t, arrived); !bytes.Equal(p, last); p = wait(t, arrived) {
	}
}

// TestCloseWhileStuck: the goroutine in the driver ends with the device.
func TestCloseWhileStuck(t *testing.T) {
	terminal := newTerminal(t)
	o := optionsFor(terminal.name, framingRaw)
	o.Baud = 4_000_000
	o.Queue = 4096
	l := openLink(t, o)
	stop := serve(t, l, func([]transports.Datagram) {})
	eventually(t, "the queue is full", func() bool {
		_, err := l.Send([]transports.Datagram{{Addr: peer, Data: publish(0, 250)}})
		return err != nil
	})
	stop()
	if s := l.Stats(); s.Up {
		t.Errorf("%+v", s)
	}
}
