package udp

import "net"

func newSocket(conn *net.UDPConn, o Options, dropped *counters) (socket, error) {
	return newBatchSocket(conn, o, dropped)
}
