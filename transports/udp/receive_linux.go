package udp

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// receiver is what recvmmsg fills. Slot i of a batch is element i of each slice.
type receiver struct {
	headers  []unix.Mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet6 // also holds the shorter RawSockaddrInet4
	controls []control
	data     [][]byte
	batch    []transports.Datagram

	read  func(fd uintptr) bool // for RawConn.Read: false means wait
	used  int                   // slots filled by the last call
	errno syscall.Errno
}

func newReceiver(slots, mtu int) *receiver {
	r := &receiver{
		headers:  make([]unix.Mmsghdr, slots),
		vectors:  make([]unix.Iovec, slots),
		names:    make([]unix.RawSockaddrInet6, slots),
		controls: make([]control, slots),
		data:     make([][]byte, slots),
		batch:    make([]transports.Datagram, 0, slots),
		used:     slots,
	}
	memory := make([]byte, slots*mtu)
	for i := range r.headers {
		r.data[i] = memory[i*mtu : (i+1)*mtu : (i+1)*mtu]
		r.vectors[i].Base = &r.data[i][0]
		r.vectors[i].SetLen(mtu)
		h := &r.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
	}
	r.read = r.recvmmsg
	return r
}

func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
			uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		r.errno, r.used = errno, 0
		if errno == 0 {
			r.used = int(n)
		}
		return true
	}
}

func (s *batchSocket) receive() ([]transports.Datagram, error) {
	r := s.in
	for i := range r.used { // the kernel has overwritten these lengths
		r.headers[i].Hdr.Namelen = unix.SizeofSockaddrInet6
		r.headers[i].Hdr.SetControllen(controlSize)
	}
	r.used = 0
	if err := s.raw.Read(r.read); err != nil {
		return nil, err
	}
	if r.errno != 0 {
		return nil, r.errno
	}
	r.batch = r.batch[:0]
	for i := range r.used {
		h := &r.headers[i]
		if h.Hdr.Flags&unix.MSG_TRUNC != 0 {
			s.dropped.truncated.Add(1)
			continue
		}
		local, group := s.local, false
		if s.wildcard {
			local, group = s.arrivedAt(r.controls[i].bytes(int(h.Hdr.Controllen)))
		}
		r.batch = append(r.batch, transports.Datagram{
			Addr:      senderOf(&r.names[i]),
			Local:     local,
			Data:      r.data[i][:h.Len],
			Multicast: group,
		})
	}
	return r.batch, nil
}

// senderOf turns a kernel address into ours.
func senderOf(name *unix.RawSockaddrInet6) transports.Addr {
	// The port is in network order, and at the same place in both forms.
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port), 0)
	}
	return transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom16(name.Addr), port), name.Scope_id)
}

// arrivedAt reads from the ancillary data where a datagram was sent to, and whether that is
// a group or a broadcast address.
func (s *batchSocket) arrivedAt(oob []byte) (local transports.Addr, group bool) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return local, group
		}
		oob = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// This one comes after IPV6_PKTINFO and knows more: of a broadcast, the
			// address of the interface differs from the destination.
			index, own, dst := binary.NativeEndian.Uint32(data), [4]byte(data[4:8]), [4]byte(data[8:12])
			if own != dst {
				return groupLocal(true, s.port, index), true
			}
			return localOf(netip.AddrFrom4(dst), s.port, index)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			local, group = localOf(netip.AddrFrom16([16]byte(data[:16])), s.port, binary.NativeEndian.Uint32(data[16:]))
		}
	}
	return local, group
}
