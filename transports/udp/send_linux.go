package udp

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// sender is what one Send hands to sendmmsg. Slot i is element i of each slice.
type sender struct {
	ip6      bool
	headers  []unix.Mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet6 // also holds the shorter RawSockaddrInet4
	controls []control

	write func(fd uintptr) // for RawConn.Control, which never waits
	call  func(fd uintptr, headers []unix.Mmsghdr) (sent int, errno syscall.Errno)
	used  int // slots filled
	sent  int // of them, taken by the system
	busy  bool
	// failed counts the slots that the system refused, oversize those of them that were
	// too long for it; first is the first reason.
	failed, oversize int
	first            syscall.Errno
}

func newSender(slots int, ip6 bool) *sender {
	o := &sender{
		ip6:      ip6,
		headers:  make([]unix.Mmsghdr, slots),
		vectors:  make([]unix.Iovec, slots),
		names:    make([]unix.RawSockaddrInet6, slots),
		controls: make([]control, slots),
	}
	for i := range o.headers {
		h := &o.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&o.names[i]))
		h.Iov = &o.vectors[i]
		h.SetIovlen(1)
	}
	o.write = o.flush
	o.call = sendmmsg
	return o
}

// send is Link.Send: in chunks of one system call each, none of which waits.
func (s *batchSocket) send(batch []transports.Datagram) (sent int, err error) {
	o := s.take()
	defer s.give(o)
	for len(batch) > 0 {
		chunk := batch[:min(len(batch), len(o.headers))]
		batch = batch[len(chunk):]
		refused := s.fill(o, chunk)
		closed := s.raw.Control(o.write)
		o.release()
		sent += o.sent
		s.dropped.unsendable.Add(uint64(o.failed - o.oversize))
		s.dropped.oversize.Add(uint64(o.oversize))
		switch {
		case closed != nil:
			return sent, closed
		case o.busy:
			return sent, transports.ErrBusy
		case err == nil && refused != 0:
			err = refused
		case err == nil && o.failed > 0:
			err = o.first
		}
	}
	return sent, err
}

// take and give lend out the senders. They stay for good: a sync.Pool would let the
// garbage collector have them, to be made anew in the middle of the traffic.
func (s *batchSocket) take() *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle) - 1; n >= 0 {
		o := s.idle[n]
		s.idle = s.idle[:n]
		return o
	}
	return s.newSender()
}

func (s *batchSocket) give(o *sender) {
	s.mu.Lock()
	s.idle = append(s.idle, o)
	s.mu.Unlock()
}

// fill puts the datagrams that can be sent into slots and counts the others, of which
// it returns the last reason.
func (s *batchSocket) fill(o *sender, chunk []transports.Datagram) (refused syscall.Errno) {
	o.used, o.sent, o.busy, o.failed, o.oversize, o.first = 0, 0, false, 0, 0, 0
	for i := range chunk {
		d := &chunk[i]
		if len(d.Data) > s.mtu {
			s.dropped.oversize.Add(1)
			refused = errTooLarge
			continue
		}
		to, zone, ok := d.Addr.AddrPort()
		if !ok || (to.Addr().Is6() && !o.ip6) {
			s.dropped.unsendable.Add(1)
			refused = errNoRoute
			continue
		}
		o.sendTo(to, zone)
		o.headers[o.used].Hdr.Control = nil
		o.headers[o.used].Hdr.SetControllen(0)
		if from, index, ok := d.Local.AddrPort(); ok && s.wildcard && from.Addr().Is4() == to.Addr().Is4() {
			o.leaveFrom(from.Addr(), index)
		}
		o.vectors[o.used].Base = unsafe.SliceData(d.Data)
		o.vectors[o.used].SetLen(len(d.Data))
		o.used++
	}
	return refused
}

// sendTo writes the receiver's address into the next slot.
func (o *sender) sendTo(to netip.AddrPort, zone uint32) {
	h, name := &o.headers[o.used].Hdr, &o.names[o.used]
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
	if o.ip6 {
		name.Family = unix.AF_INET6
		name.Addr = to.Addr().As16()
		name.Scope_id = zone
		h.Namelen = unix.SizeofSockaddrInet6
		return
	}
	in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	in4.Family = unix.AF_INET
	in4.Addr = to.Addr().As4()
	h.Namelen = unix.SizeofSockaddrInet4
}

// leaveFrom makes the datagram of the next slot leave from our address from, or through
// the interface with that index, or both.
func (o *sender) leaveFrom(from netip.Addr, index uint32) {
	c := &o.controls[o.used]
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	info := c.bytes(controlSize)[unix.CmsgLen(0):]
	size := unix.SizeofInet4Pktinfo
	if o.ip6 { // for IPv4 too, with the mapped address
		size = unix.SizeofInet6Pktinfo
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		ip := from.As16()
		copy(info, ip[:])
		binary.NativeEndian.PutUint32(info[16:], index)
	} else {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		ip := from.As4()
		binary.NativeEndian.PutUint32(info, index)
		copy(info[4:], ip[:]) // ipi_spec_dst, the source to use
		clear(info[8:12])     // ipi_addr, of no meaning here
	}
	h.SetLen(unix.CmsgLen(size))
	m := &o.headers[o.used].Hdr
	m.Control = (*byte)(unsafe.Pointer(c))
	m.SetControllen(unix.CmsgSpace(size))
}

// flush sends the filled slots. The system stops at the first datagram that fails and
// says why only when that one comes first: hence the loop.
func (o *sender) flush(fd uintptr) {
	for next := 0; next < o.used; {
		n, errno := o.call(fd, o.headers[next:o.used])
		h := &o.headers[next].Hdr
		switch {
		case errno == 0:
			next += n
			o.sent += n
		case errno == unix.EINTR:
		case isBusy(errno):
			o.busy = true
			return
		case h.Control != nil && (errno == unix.EINVAL || errno == unix.ENETUNREACH):
			// The address to leave from is ours no more: better from another one than
			// not at all.
			h.Control = nil
			h.SetControllen(0)
		default:
			next++
			o.refuse(errno)
		}
	}
}

func (o *sender) refuse(errno syscall.Errno) {
	if o.failed++; o.failed == 1 {
		o.first = errno
	}
	if errno == errTooLarge {
		o.oversize++
	}
}

func sendmmsg(fd uintptr, headers []unix.Mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&headers[0])),
		uintptr(len(headers)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// release forgets the caller's memory.
func (o *sender) release() {
	for i := range o.used {
		o.vectors[i].Base = nil
	}
}
