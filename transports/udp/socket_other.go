//go:build !linux

package udp

import "net"

func newSocket(conn *net.UDPConn, o Options, dropped *counters) (socket, error) {
	return newPortableSocket(conn, o, dropped), nil
}
