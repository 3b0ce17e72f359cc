//go:build linux || darwin

package serial

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports/serial/framing"
)

// terminal is a real line: the link opens one end by a name that stays the same when
// another pseudo terminal takes the place of an earlier one.
type terminal struct {
	t      testing.TB
	name   string
	mu     sync.Mutex
	master *os.File
	slave  *os.File // kept open so that the master can be read at any time
}

// newTerminal makes a line that is plugged in.
func newTerminal(t testing.TB) *terminal {
	t.Helper()
	p := &terminal{t: t, name: filepath.Join(t.TempDir(), "port0")}
	p.plug()
	t.Cleanup(p.unplug)
	return p
}

func (p *terminal) plug() {
	p.t.Helper()
	blocking, slave, err := pty.Open()
	if err != nil {
		p.t.Fatal(err)
	}
	master := nonblocking(p.t, blocking)
	if err := os.Symlink(slave.Name(), p.name); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.master, p.slave = master, slave
}

func (p *terminal) unplug() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = os.Remove(p.name)
	_ = p.master.Close()
	_ = p.slave.Close()
}

// write writes to the line.
func (p *terminal) write(b []byte) {
	p.t.Helper()
	if _, err := p.master.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// packets reads the line until it is unplugged and passes on the packets that come.
func (p *terminal) packets(f framing.Framing) <-chan []byte {
	master := p.master
	out := make(chan []byte, 1<<16)
	go func() {
		defer close(out)
		decoder := f.NewDecoder()
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			decoder.Decode(b[:n], func(packet []byte) { out <- bytes.Clone(packet) })
		}
	}()
	return out
}

// nonblocking takes the place of f, so that Close ends a Read that waits.
func nonblocking(t testing.TB, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name)
}
