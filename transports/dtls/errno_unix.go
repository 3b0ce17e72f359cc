//go:build !windows

package dtls

import "syscall"

// errPeerGone is what the system says when nobody listens at the other end.
const errPeerGone = syscall.ECONNREFUSED
