//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// unixSocket is a listener on a socket in the file system.
type unixSocket struct {
	*net.UnixListener
	path string
	made fs.FileInfo // the file that is ours
}

// listenUnix listens on a new socket in the file system. One that nobody listens on any
// more is removed first, and nothing else is.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// On Linux the file gets no rights that the socket has not, so that there is no
		// instant at which it lets too many in. Elsewhere this does nothing.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode)) })
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	s := &unixSocket{UnixListener: l.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // it would remove whatever is there by then
	if s.made, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, mode) // what the umask has taken away
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the socket, and removes its file if that is still its own.
func (s *unixSocket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(s.made, now) {
		_ = os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

// removeStale removes the socket that a process has left which was killed. It is an error
// if anything else is there.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // or the directory is missing: listening will say so
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("what is there is no socket, and is not removed: %w", syscall.ENOTSOCK)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another program listens there: %w", syscall.EADDRINUSE)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil // its owner has just removed it
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("there is a socket that this user may not connect to: %w", err)
	}
	// A queue of connections that is full, or a socket of another type: somebody has it.
	return fmt.Errorf("another program has a socket there: %w", syscall.EADDRINUSE)
}
