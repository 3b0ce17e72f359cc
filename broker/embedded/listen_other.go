//go:build !unix

package embedded

import (
	"errors"
	"io/fs"
	"net"
)

// listenUnix fails: here the rights of a socket's file would mean nothing.
func listenUnix(string, fs.FileMode) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}
