package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// lineOptions is what a line is like.
type lineOptions struct {
	codec codec
	baud  int
	// paced: octets take their time, as the speed says.
	paced bool
	// flips is the share of octets that noise changes, both ways.
	flips float64
	// flags are further options of the port.
	flags []string
	// tap sees what the gateway sent before noise is added.
	tap func(packet []byte)
}

// line is a serial line with the device's end in the test: the master of a
// pseudo-terminal. The gateway opens the other end by a name that stays when the line is
// plugged in again, as names below /dev/serial/by-id do.
type line struct {
	lineOptions
	t       testing.TB
	device  string
	up      chan []byte
	hear    atomic.Pointer[func(packet []byte)]
	ended   chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	master *os.File // nil while the line is unplugged
}

// upLimit is how many frames may be on their way to the gateway.
const upLimit = 1 << 12

// lineGap is the silence after which a raw frame is no longer waited for.
const lineGap = 100 * time.Millisecond

func newLine(t testing.TB, o lineOptions) *line {
	t.Helper()
	l := &line{lineOptions: o, t: t, device: filepath.Join(t.TempDir(), "usb-line-if00-port0"), up: make(chan []byte, upLimit), ended: make(chan struct{})}
	l.plug()
	l.running.Go(l.carryUp)
	t.Cleanup(func() {
		close(l.ended)
		l.unplug()
		l.running.Wait()
	})
	return l
}

// flag is the value of --serial.
func (l *line) flag(m medium) string {
	text := fmt.Sprintf("%s,baud=%d,framing=%s", l.device, l.baud, m)
	for _, more := range l.flags {
		text += "," + more
	}
	return text
}

// plug gives the line a new pseudo-terminal.
func (l *line) plug() {
	l.t.Helper()
	blocking, slave, err := pty.Open()
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _, _ = slave.Close(), blocking.Close() }()
	master, err := interruptible(blocking)
	if err = errors.Join(err, rawMode(slave)); err != nil {
		l.t.Fatal(err)
	}
	next := l.device + ".next"
	if err := errors.Join(os.Symlink(slave.Name(), next), os.Rename(next, l.device)); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.master = master
	l.mu.Unlock()
	l.running.Go(func() { l.carryDown(master) })
}

// interruptible is the same file with deadlines, and with a Close that ends a Read.
func interruptible(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), file.Name()), err
}

// unplug takes the line away: the gateway sees a hang-up, and its name is gone.
func (l *line) unplug() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.master != nil {
		_ = os.Remove(l.device)
		_ = l.master.Close()
		l.master = nil
	}
}

func (l *line) isPlugged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.master != nil
}

// rawMode has the terminal pass octets as they are, before the gateway does so.
func rawMode(tty *os.File) error {
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err != nil {
		return err
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	return unix.IoctlSetTermios(int(tty.Fd()), setTermios, mode)
}

// write sends one packet up the line.
func (l *line) write(packet []byte) error {
	select {
	case l.up <- l.codec.frame(packet):
		return nil
	default:
		return errors.New("the line is not read")
	}
}

// attach makes the line a device's.
func (l *line) attach(t testing.TB) net.Conn {
	c := newPacketConn(t, l.device, l.write)
	hear := c.deliver
	l.hear.Store(&hear)
	return c
}

// carryUp brings frames to the gateway.
func (l *line) carryUp() {
	p := l.pump(func(octets []byte) {
		l.mu.Lock()
		master := l.master
		l.mu.Unlock()
		if master != nil {
			_, _ = master.Write(octets) // into a line that was unplugged: lost
		}
	})
	for {
		select {
		case frame := <-l.up:
			p.carry(frame)
		case <-l.ended:
			return
		}
	}
}

// carryDown brings what the gateway writes to the device, until the line is unplugged.
func (l *line) carryDown(master *os.File) {
	clean, noisy := l.codec.reader(), l.codec.reader()
	p := l.pump(func(octets []byte) {
		for _, packet := range unframed(noisy, octets) {
			if hear := l.hear.Load(); hear != nil {
				(*hear)(packet)
			}
		}
	})
	buf := make([]byte, 512)
	for {
		if l.noisy() {
			_ = master.SetReadDeadline(time.Now().Add(lineGap))
		}
		n, err := master.Read(buf)
		if l.tap != nil {
			for _, packet := range unframed(clean, buf[:n]) {
				l.tap(packet)
			}
		}
		p.carry(buf[:n])
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			noisy.quiet()
		case errors.Is(err, syscall.EIO) && !l.over(): // nobody has the other end open
			<-time.After(2 * time.Millisecond)
		default:
			return
		}
	}
}

func (l *line) noisy() bool { return l.flips > 0 }

func (l *line) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// pump carries octets as the line does: in chunks of any size, at its speed, with noise.
type pump struct {
	l    *line
	out  func(octets []byte)
	due  time.Time
	dice *rand.Rand
}

func (l *line) pump(out func(octets []byte)) *pump {
	return &pump{l: l, out: out, dice: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

// pumpLag is how much a pump that was late may catch up.
const pumpLag = 50 * time.Millisecond

func (p *pump) carry(octets []byte) {
	if !p.l.paced && !p.l.noisy() {
		if len(octets) > 0 {
			p.out(octets)
		}
		return
	}
	for len(octets) > 0 {
		n := min(1+p.dice.IntN(48), len(octets))
		p.wait(n)
		chunk := append([]byte(nil), octets[:n]...)
		for i := range chunk {
			if p.dice.Float64() < p.l.flips {
				chunk[i] ^= byte(1 + p.dice.IntN(255))
			}
		}
		p.out(chunk)
		octets = octets[n:]
	}
}

// wait lets the time pass that so many octets take.
func (p *pump) wait(n int) {
	if !p.l.paced {
		return
	}
	now := time.Now()
	if p.due.IsZero() {
		p.due = now
	}
	if behind := now.Add(-pumpLag); p.due.Before(behind) {
		p.due = behind
	}
	p.due = p.due.Add(time.Duration(n) * 10 * time.Second / time.Duration(p.l.baud))
	if rest := time.Until(p.due); rest > 0 {
		<-time.After(rest)
	}
}
