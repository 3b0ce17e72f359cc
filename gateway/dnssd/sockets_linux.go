package dnssd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listenGroup opens a socket that hears what is sent to the IPv4 group and nothing else:
// package net would listen at every address, take what is sent to other programs at that
// port, and let the library answer questions from far away.
func listenGroup(group *net.UDPAddr) (net.PacketConn, error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: group.Port})
	if ip4 := group.IP.To4(); ip4 != nil {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: group.Port, Addr: [4]byte(ip4)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), group.String())
	defer file.Close()
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} { // as others at that port do
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return nil, err
		}
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return nil, err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, err
	}
	return net.FilePacketConn(file)
}
