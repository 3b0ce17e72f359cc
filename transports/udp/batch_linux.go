package udp

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// batchSocket receives with recvmmsg (receive_linux.go) and sends with sendmmsg
// (send_linux.go). The socket stays in the runtime's poller; both calls work on
// addresses in the kernel's own form, so that no datagram costs an allocation.
type batchSocket struct {
	raw      syscall.RawConn
	ip6      bool            // an AF_INET6 socket: IPv4 addresses take their mapped form
	wildcard bool            // listens at every address: see the package comment on Local
	local    transports.Addr // where it listens, unless wildcard
	port     uint16
	mtu      int
	dropped  *counters

	in        *receiver
	newSender func() *sender

	granted struct{ receive, send int }

	mu    sync.Mutex // guards what follows
	idle  []*sender  // as many as there were ever Sends at the same time
	drops struct {
		last  uint32 // the kernel's counter, which wraps around
		total uint64
	}
}

func newBatchSocket(conn *net.UDPConn, o Options, dropped *counters) (*batchSocket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &batchSocket{raw: raw, mtu: o.MTU, dropped: dropped}
	s.local, s.wildcard = localAddr(conn)
	s.port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	var setup error
	if err := raw.Control(func(fd uintptr) { setup = s.setup(int(fd), o) }); err != nil {
		return nil, err
	}
	if setup != nil {
		return nil, setup
	}
	s.in = newReceiver(o.Batch, o.MTU)
	s.newSender = func() *sender { return newSender(o.Batch, s.ip6) }
	return s, nil
}

func (s *batchSocket) setup(fd int, o Options) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("SO_DOMAIN: %w", err)
	}
	s.ip6 = family == unix.AF_INET6
	if s.wildcard {
		// An AF_INET6 socket needs both: of an IPv4 datagram only IP_PKTINFO tells
		// whether it was broadcast.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
			return fmt.Errorf("IP_PKTINFO: %w", err)
		}
		if s.ip6 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
				return fmt.Errorf("IPV6_RECVPKTINFO: %w", err)
			}
		}
	}
	if s.wildcard {
		shareWithGroups(fd)
		// Only what this link has joined: else every group that any program on this
		// machine listens to would do. Kernels before 4.20 lack the second.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	s.granted.receive = setBuffer(fd, o.ReceiveBuffer, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	s.granted.send = setBuffer(fd, o.SendBuffer, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	return nil
}

// setBuffer asks for a buffer of size octets and returns what was granted. The kernel
// keeps and reports the double, to account for its own overhead.
func setBuffer(fd, size, force, polite int) int {
	if size > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, polite, size) // capped at net.core.?mem_max
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, polite)
	if err != nil {
		return 0
	}
	return got / 2
}

func (s *batchSocket) receiveBuffer() int { return s.granted.receive }
func (s *batchSocket) sendBuffer() int    { return s.granted.send }

// overflows asks the kernel for the drops of this socket. SO_MEMINFO (Linux 4.12) costs
// nothing per datagram, and unlike SO_RXQ_OVFL needs no further datagram to tell.
func (s *batchSocket) overflows() uint64 {
	const drops = 8 // SK_MEMINFO_DROPS of linux/sock_diag.h
	s.mu.Lock()
	defer s.mu.Unlock()
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	var errno syscall.Errno
	err := s.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno == 0 {
		s.drops.total += uint64(info[drops] - s.drops.last)
		s.drops.last = info[drops]
	}
	return s.drops.total
}

// control is room for the ancillary data of one datagram, aligned as its header wants.
type control [controlSize / 8]uint64

// controlSize holds IP_PKTINFO and IPV6_PKTINFO, headers included, on every architecture.
const controlSize = 96

func (c *control) bytes(n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), controlSize)[:n]
}
