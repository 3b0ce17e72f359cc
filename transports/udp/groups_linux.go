package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// listenGroup opens a socket that hears what is sent to a group, and nothing else: package
// net would listen at every address. Any number of programs may do so for one group.
func listenGroup(group netip.AddrPort) (*net.UDPConn, error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(group.Port()), Addr: group.Addr().As16()})
	if group.Addr().Is4() {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(group.Port()), Addr: group.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), group.String())
	defer file.Close()
	// The first lets in others that listen to the group alone, the second a program of
	// the same user that listens at every address: see shareWithGroups.
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return nil, err
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, err
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// shareWithGroups lets programs of the same user listen to groups at the port of a socket
// that listens at every address. It is called when the socket has its port, so that the
// port was free, and nobody else can have it for himself: who asks for it without this
// option is told that it is taken.
func shareWithGroups(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// listenAmidGroups opens a socket for every address at a port that is taken, if only
// sockets which listen to groups have it. Whether any other has, an attempt at each
// address of this machine tells.
func listenAmidGroups(at *net.UDPAddr, taken error) (*net.UDPConn, error) {
	nics, err := interfaces()
	if err != nil {
		return nil, taken
	}
	for _, n := range nics {
		for _, ip := range n.addrs {
			probe := &net.UDPAddr{IP: ip.AsSlice(), Port: at.Port}
			if ip.Is6() && ip.IsLinkLocalUnicast() {
				probe.Zone = strconv.Itoa(n.Index)
			}
			conn, err := net.ListenUDP("udp", probe)
			if errors.Is(err, errInUse) {
				return nil, taken
			} else if err == nil {
				_ = conn.Close()
			}
		}
	}
	reuse := func(conn syscall.RawConn, value int) (err error) {
		if failed := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, value)
		}); failed != nil {
			return failed
		}
		return err
	}
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error { return reuse(conn, 1) }}
	conn, err := config.ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err == nil {
		err = reuse(raw, 0)
	}
	if err != nil {
		_ = udp.Close()
		return nil, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	return udp, nil
}

// sendGroup sends one datagram to a group. Interface and hops travel with it, since other
// datagrams are sent at the same time.
func (s *batchSocket) sendGroup(t target, hops int, data []byte) error {
	port, ip, index := int(t.group.Port()), t.group.Addr(), uint32(t.nic.Index)
	var to unix.Sockaddr
	switch {
	case ip.Is6() && !s.ip6:
		return errNoRoute
	case s.ip6: // for IPv4 too, with the mapped address
		to = &unix.SockaddrInet6{Port: port, Addr: ip.As16(), ZoneId: index}
	default:
		to = &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	var oob []byte
	number := binary.NativeEndian.AppendUint32
	if ip.Is4() {
		info := append(number(nil, index), t.source()...)
		oob = appendControl(oob, unix.IPPROTO_IP, unix.IP_PKTINFO, append(info, 0, 0, 0, 0))
		oob = appendControl(oob, unix.IPPROTO_IP, unix.IP_TTL, number(nil, uint32(hops)))
	} else {
		oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, number(make([]byte, 16), index))
		oob = appendControl(oob, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(nil, uint32(hops)))
	}
	var err error
	closed := s.raw.Control(func(fd uintptr) {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Sendmsg(int(fd), data, oob, to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
	})
	if closed != nil {
		return closed
	}
	return err
}

// source is the IPv4 address to send from, none for the system's choice. That does not
// choose a loopback address for a group.
func (t *target) source() []byte {
	for _, a := range t.nic.addrs {
		if a.Is4() && a.IsLoopback() {
			return a.AsSlice()
		}
	}
	return make([]byte, 4)
}

// appendControl appends one item of ancillary data.
func appendControl(b []byte, level, kind int32, data []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(len(data)))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[at+unix.CmsgLen(0):], data)
	return b
}
