//go:build linux || darwin

package serial

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// lock keeps other programs away from a device: those that lock it too, as terminal
// programs do, by flock; ordinary users by the library's TIOCEXCL, which does not stop
// root. It is a descriptor of its own since the library keeps its own to itself.
type lock struct{ fd int }

// lockDevice opens and locks a device, if no one else has it.
func lockDevice(device string) (lock, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return lock{}, ErrInUse
	}
	if err != nil {
		return lock{}, &fs.PathError{Op: "open", Path: device, Err: err}
	}
	l := lock{fd: fd}
	if l.exclusive() {
		l.release()
		return lock{}, ErrInUse
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return l, nil
	}
	l.release()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return lock{}, ErrInUse
	}
	return lock{}, &fs.PathError{Op: "lock", Path: device, Err: err}
}

func (l lock) release() { _ = unix.Close(l.fd) }

func (l lock) unsent() int {
	n, err := unix.IoctlGetInt(l.fd, unix.TIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

func exists(device string) bool {
	_, err := os.Stat(device)
	return err == nil
}

// descriptors are low file descriptors kept for a port: the library waits with select,
// which knows those below 1024 only, and a port that is plugged in again when the gateway
// has a thousand connections would get a larger one.
type descriptors struct {
	mu   sync.Mutex
	held []int
	over bool
}

// portDescriptors is what an open port needs: the library's two pipe ends and one for the
// device, and our lock.
const portDescriptors = 4

// take fills up to portDescriptors with the lowest that are free.
func (d *descriptors) take() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.held) < portDescriptors && !d.over {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return // there are none: the first Read tells, if it comes to that
		}
		d.held = append(d.held, fd)
	}
}

// release gives them back, to be used at once.
func (d *descriptors) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
}

// end gives them back for good.
func (d *descriptors) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.drop()
}

func (d *descriptors) drop() {
	for _, fd := range d.held {
		_ = unix.Close(fd)
	}
	d.held = nil
}
