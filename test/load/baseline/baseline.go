//go:build linux

// Package baseline is the bare data path that the gateway is measured against: one
// thread, one recvmmsg and one sendmmsg per batch, no session, no allocation, no poller.
// Whatever a gateway does for a datagram comes on top of this.
package baseline

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	slots    = 64
	slotSize = 2048
	buffer   = 4 << 20 // socket buffers, as the gateway asks for
)

// Echo answers every datagram that arrives at an IPv4 address and port until ctx is
// done: a PUBLISH with its PUBACK, anything else with a PINGRESP.
func Echo(ctx context.Context, listen netip.AddrPort) error {
	fd, err := open(listen)
	if err != nil {
		return fmt.Errorf("baseline: %v: %w", listen, err)
	}
	defer func() { _ = unix.Close(fd) }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := newBatch()
	for ctx.Err() == nil {
		if err := b.echo(fd); err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
	}
	return nil
}

func open(listen netip.AddrPort) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, buffer) // needs a right; less will do
	}
	// Time to look at ctx when nothing comes.
	timeout := unix.Timeval{Usec: 100_000}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(listen.Port()), Addr: listen.Addr().As4()})
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// batch is what the kernel fills and empties. Addresses stay in its own form.
type batch struct {
	in, out   [slots]unix.Mmsghdr
	vectorIn  [slots]unix.Iovec
	vectorOut [slots]unix.Iovec
	names     [slots]unix.RawSockaddrInet4
	data      [slots][slotSize]byte
	answers   [slots][7]byte
}

func newBatch() *batch {
	b := new(batch)
	for i := range slots {
		b.vectorIn[i].Base = &b.data[i][0]
		b.vectorIn[i].SetLen(slotSize)
		b.vectorOut[i].Base = &b.answers[i][0]
		for _, h := range []*unix.Msghdr{&b.in[i].Hdr, &b.out[i].Hdr} {
			h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
			h.Namelen = unix.SizeofSockaddrInet4
			h.SetIovlen(1)
		}
		b.in[i].Hdr.Iov = &b.vectorIn[i]
		b.out[i].Hdr.Iov = &b.vectorOut[i]
	}
	return b
}

// echo receives what is there, waiting for one datagram, and answers it.
func (b *batch) echo(fd int) error {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.in[0])), slots, unix.MSG_WAITFORONE, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return nil
	default:
		return errno
	}
	for i := range n {
		b.vectorOut[i].SetLen(answer(&b.answers[i], b.data[i][:b.in[i].Len]))
	}
	// An answer that cannot be sent is lost: the generator counts it.
	_, _, _ = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.out[0])), n, 0, 0, 0)
	return nil
}

// answer writes the answer to a datagram and returns its length.
func answer(a *[7]byte, data []byte) int {
	if len(data) >= 7 && data[1] == 0x0C { // PUBLISH: TopicId and MsgId go back in the PUBACK
		a[0], a[1] = 7, 0x0D
		binary.BigEndian.PutUint32(a[2:6], binary.BigEndian.Uint32(data[3:7]))
		a[6] = 0
		return 7
	}
	a[0], a[1] = 2, 0x17 // PINGRESP
	return 2
}
