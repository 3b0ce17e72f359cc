package mqtt

import (
	"net"
	"syscall"
)

// Writer writes to a connection without waiting, as a goroutine must that serves many:
// what the system does not take at once is for somebody else to write, who may wait. A
// Writer is not safe for concurrent use.
type Writer struct {
	raw     syscall.RawConn // nil: the connection cannot be written to without waiting
	attempt func(fd uintptr) bool
	b       []byte
	n       int
	err     error
}

// NewWriter makes the Writer of a connection. For one that is not a socket, as with TLS,
// and on platforms without the means, it takes nothing.
func NewWriter(conn net.Conn) *Writer {
	w := new(Writer)
	if c, ok := conn.(syscall.Conn); ok && writesNow {
		if raw, err := c.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	w.attempt = func(fd uintptr) bool {
		w.n, w.err = writeNow(fd, w.b)
		return true // never wait to try again
	}
	return w
}

// TryWrite writes the octets that the system takes now, which may be none: that is no
// error.
func (w *Writer) TryWrite(b []byte) (n int, err error) {
	if w.raw == nil {
		return 0, nil
	}
	w.b, w.n, w.err = b, 0, nil
	if err = w.raw.Write(w.attempt); err == nil {
		err = w.err
	}
	w.b = nil
	return w.n, err
}
