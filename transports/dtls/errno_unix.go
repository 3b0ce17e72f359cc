//go:build !windows

package dtls

import (
	"errors"
	"syscall"
)

// What the system says, as far as it matters here.
const (
	errInUse        = syscall.EADDRINUSE
	errForbidden    = syscall.EACCES
	errNotAvailable = syscall.EADDRNOTAVAIL
	errTooLarge     = syscall.EMSGSIZE
	errPeerGone     = syscall.ECONNREFUSED
)

// isBusy reports whether the system was merely out of room.
func isBusy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
