//go:build unix

package mqtt

import "syscall"

// writesNow says that the platform can write to a socket without waiting.
const writesNow = true

// writeNow writes to a socket in non-blocking mode, as all of Go's are. What the system
// does not take now is not an error.
func writeNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}
