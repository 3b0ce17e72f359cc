//go:build !windows

package forward

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
)

// isUnreachable reports whether the network said that a datagram found nobody.
func isUnreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTDOWN) || errors.Is(err, syscall.ENETDOWN)
}

// isBusy reports whether the system was merely out of room.
func isBusy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
