//go:build !linux

package dtls

import (
	"net"
)

func newSocket(conn *net.UDPConn, receiveBuffer int) (socket, error) {
	return newPortableSocket(conn, receiveBuffer), nil
}
