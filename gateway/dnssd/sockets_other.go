//go:build !linux

package dnssd

import "net"

// listenGroup opens a socket at the port of a group, beside those of other programs.
func listenGroup(group *net.UDPAddr) (net.PacketConn, error) {
	network := "udp6"
	if group.IP.To4() != nil {
		network = "udp4"
	}
	return net.ListenUDP(network, group)
}
