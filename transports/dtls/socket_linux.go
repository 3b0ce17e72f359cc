package dtls

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// linuxSocket answers from the address that was asked, never waits to send, and knows how
// many datagrams the kernel has dropped.
type linuxSocket struct {
	*net.UDPConn
	raw     syscall.RawConn
	ip6     bool // an AF_INET6 socket: IPv4 addresses take their mapped form
	granted int
	oob     []byte

	lost     atomic.Uint64
	lastLost uint32 // the kernel's counter, which wraps around
}

func newSocket(conn *net.UDPConn, receiveBuffer int) (socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &linuxSocket{UDPConn: conn, raw: raw, oob: make([]byte, 256)}
	var setup error
	if err := raw.Control(func(fd uintptr) { setup = s.setup(int(fd), receiveBuffer) }); err != nil {
		return nil, err
	}
	return s, setup
}

func (s *linuxSocket) setup(fd, receiveBuffer int) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	s.ip6 = family == unix.AF_INET6
	if s.ip6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) // without it losses are not counted
	if receiveBuffer > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // capped at net.core.rmem_max
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	s.granted = got / 2 // the kernel reports the double, for its own overhead
	return err
}

func (s *linuxSocket) receiveBuffer() int { return s.granted }
func (s *linuxSocket) overflows() uint64  { return s.lost.Load() }
func (s *linuxSocket) interrupt()         { _ = s.SetReadDeadline(longAgo) }
func (s *linuxSocket) close() error       { return s.Close() }

func (s *linuxSocket) receive(b []byte) (int, path, error) {
	n, oobn, _, from, err := s.ReadMsgUDPAddrPort(b, s.oob)
	if err != nil {
		return 0, path{}, err
	}
	p := path{peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
	s.control(s.oob[:oobn], &p)
	return n, p, nil
}

// control reads from the ancillary data where a datagram was sent to.
func (s *linuxSocket) control(oob []byte, p *path) {
	for len(oob) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		index := 0
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			p.local = netip.AddrFrom4([4]byte(data[8:12]))
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			p.local = netip.AddrFrom16([16]byte(data[:16])).Unmap()
			index = int(binary.NativeEndian.Uint32(data[16:]))
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			lost := binary.NativeEndian.Uint32(data)
			s.lost.Add(uint64(lost - s.lastLost))
			s.lastLost = lost
		}
		if p.peer.Addr().IsLinkLocalUnicast() && p.peer.Addr().Is6() && index != 0 {
			p.zone = index
		}
	}
	if p.local.IsMulticast() || p.local == broadcast {
		p.local = netip.Addr{}
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (s *linuxSocket) send(b []byte, to path) error {
	err := s.sendFrom(b, to, s.leaveFrom(to))
	if err != nil && !isBusy(err) && to.local.IsValid() {
		err = s.sendFrom(b, to, nil) // that address may be ours no more
	}
	if isBusy(err) {
		return transports.ErrBusy
	}
	return err
}

func (s *linuxSocket) sendFrom(b []byte, to path, oob []byte) error {
	var addr unix.Sockaddr
	if s.ip6 {
		addr = &unix.SockaddrInet6{Addr: to.peer.Addr().As16(), Port: int(to.peer.Port()), ZoneId: uint32(to.zone)}
	} else {
		if !to.peer.Addr().Is4() {
			return errTooLarge
		}
		addr = &unix.SockaddrInet4{Addr: to.peer.Addr().As4(), Port: int(to.peer.Port())}
	}
	var failure error
	if err := s.raw.Write(func(fd uintptr) bool {
		_, failure = unix.SendmsgN(int(fd), b, oob, addr, unix.MSG_DONTWAIT)
		return true // done, even if there was no room
	}); err != nil {
		return err
	}
	return failure
}

// leaveFrom is the ancillary data that makes a datagram leave from our address to.local.
func (s *linuxSocket) leaveFrom(to path) []byte {
	switch {
	case !to.local.IsValid() || to.local.Is4() != to.peer.Addr().Is4():
		return nil
	case to.local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: to.local.As4()})
	default:
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: to.local.As16(), Ifindex: uint32(to.zone)})
	}
}
