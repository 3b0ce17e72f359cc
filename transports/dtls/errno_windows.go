package dtls

import "golang.org/x/sys/windows"

// errPeerGone is what the system says when nobody listens at the other end.
const errPeerGone = windows.WSAECONNRESET
