package dtls

import (
	"errors"

	"golang.org/x/sys/windows"
)

// What the system says, as far as it matters here.
const (
	errInUse        = windows.WSAEADDRINUSE
	errForbidden    = windows.WSAEACCES
	errNotAvailable = windows.WSAEADDRNOTAVAIL
	errTooLarge     = windows.WSAEMSGSIZE
	errPeerGone     = windows.WSAECONNRESET
)

// isBusy reports whether the system was merely out of room.
func isBusy(err error) bool {
	return errors.Is(err, windows.WSAEWOULDBLOCK) || errors.Is(err, windows.WSAENOBUFS)
}
