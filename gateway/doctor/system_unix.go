//go:build !windows

package doctor

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the system says about addresses that cannot be had.
const (
	errInUse        = syscall.EADDRINUSE
	errForbidden    = syscall.EACCES
	errNotAvailable = syscall.EADDRNOTAVAIL
	errRefused      = syscall.ECONNREFUSED
)

// portNode looks at a serial port's device file.
func portNode(path string) (node, error) {
	info, err := os.Stat(path)
	if err != nil {
		return node{}, err
	}
	uid, gid := owner(info)
	return node{mode: info.Mode(), uid: uid, gid: gid}, nil
}

// openPort opens a serial port for a moment, and the lock on it that the gateway takes.
// It is syscall.EBUSY that another program has it, syscall.ENOTTY that it is no serial
// port.
func openPort(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.IoctlGetTermios(fd, getTermios); err != nil {
		return err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return syscall.EBUSY
	}
	return nil
}

// owner is who a file belongs to.
func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return -1, -1
}
