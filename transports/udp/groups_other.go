//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

// listenGroup opens a socket that hears what is sent to a group. It listens at every
// address, which is all that package net does portably; Serve sorts out the rest.
func listenGroup(group netip.AddrPort) (*net.UDPConn, error) {
	network := "udp6"
	if group.Addr().Is4() {
		network = "udp4"
	}
	return net.ListenUDP(network, net.UDPAddrFromAddrPort(group))
}

// listenAmidGroups is for Linux alone.
func listenAmidGroups(_ *net.UDPAddr, taken error) (*net.UDPConn, error) { return nil, taken }
