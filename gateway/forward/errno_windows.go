package forward

import (
	"errors"
	"syscall"
)

// What the system says, as far as it matters here, by the numbers of winsock2.h.
const (
	errInUse        = syscall.Errno(10048) // WSAEADDRINUSE
	errForbidden    = syscall.Errno(10013) // WSAEACCES
	errNotAvailable = syscall.Errno(10049) // WSAEADDRNOTAVAIL
	errTooLarge     = syscall.Errno(10040) // WSAEMSGSIZE
)

// isUnreachable reports whether the network said that a datagram found nobody.
func isUnreachable(err error) bool {
	const (
		netDown         = syscall.Errno(10050)
		netUnreachable  = syscall.Errno(10051)
		hostDown        = syscall.Errno(10064)
		hostUnreachable = syscall.Errno(10065)
	)
	// A port where nobody listens is WSAECONNRESET, of all things.
	return errors.Is(err, syscall.WSAECONNRESET) || errors.Is(err, netDown) || errors.Is(err, netUnreachable) ||
		errors.Is(err, hostDown) || errors.Is(err, hostUnreachable)
}

// isBusy reports whether the system was merely out of room.
func isBusy(err error) bool {
	const wouldBlock, noBuffers = syscall.Errno(10035), syscall.Errno(10055)
	return errors.Is(err, wouldBlock) || errors.Is(err, noBuffers)
}
