package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"mqttsn-gateway/transports"
)

// portableSocket moves one datagram per call through package net. It serves every
// platform but Linux, where only its tests use it. Answers leave from the address that
// was asked where the platform lets golang.org/x/net tell it: not on Windows.
type portableSocket struct {
	conn     *net.UDPConn
	wildcard bool // listens at every address
	local    transports.Addr
	port     uint16
	mtu      int
	dropped  *counters
	granted  struct{ receive, send int }

	data, oob []byte
	batch     [1]transports.Datagram
	zones     map[string]uint32 // interface indexes by name

	mu sync.Mutex // one Send at a time: the write deadline is the socket's
}

// sendPatience bounds how long a write may wait, where it cannot be told not to.
const sendPatience = 5 * time.Millisecond

func newPortableSocket(conn *net.UDPConn, o Options, dropped *counters) *portableSocket {
	s := &portableSocket{
		conn:    conn,
		port:    uint16(conn.LocalAddr().(*net.UDPAddr).Port),
		mtu:     o.MTU,
		dropped: dropped,
		data:    make([]byte, o.MTU+1), // one octet more tells of a longer datagram
		zones:   map[string]uint32{},
	}
	s.local, s.wildcard = localAddr(conn)
	if s.wildcard {
		// Either may be refused, by an IPv4 socket or by the platform: then Local stays empty.
		_ = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
		_ = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
		s.oob = make([]byte, 256)
	}
	s.granted.receive = growBuffer(o.ReceiveBuffer, conn.SetReadBuffer)
	s.granted.send = growBuffer(o.SendBuffer, conn.SetWriteBuffer)
	return s
}

// growBuffer asks for size octets, then for less until the system agrees.
func growBuffer(size int, set func(int) error) int {
	for ; size > 0; size /= 2 {
		if set(size) == nil {
			return size
		}
	}
	return 0
}

func (s *portableSocket) receiveBuffer() int { return s.granted.receive }
func (s *portableSocket) sendBuffer() int    { return s.granted.send }
func (s *portableSocket) overflows() uint64  { return 0 }

func (s *portableSocket) receive() ([]transports.Datagram, error) {
	n, oobn, _, from, err := s.conn.ReadMsgUDPAddrPort(s.data, s.oob)
	if n > s.mtu || errors.Is(err, errTooLarge) { // Windows says it with an error
		s.dropped.truncated.Add(1)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	local, group := s.local, false
	if s.wildcard {
		local, group = s.arrivedAt(s.oob[:oobn], from.Addr().Unmap().Is4())
	}
	s.batch[0] = transports.Datagram{
		Addr:      transports.IPAddr(from, s.zone(from.Addr().Zone())),
		Local:     local,
		Data:      s.data[:n],
		Multicast: group,
	}
	return s.batch[:], nil
}

// arrivedAt reads from the ancillary data where a datagram was sent to, and whether that is
// a group or a broadcast address.
func (s *portableSocket) arrivedAt(oob []byte, ip4 bool) (local transports.Addr, group bool) {
	var dst net.IP
	var index int
	if ip4 {
		var m ipv4.ControlMessage
		if m.Parse(oob) == nil {
			dst, index = m.Dst, m.IfIndex
		}
	}
	if dst == nil {
		var m ipv6.ControlMessage
		if m.Parse(oob) == nil {
			dst, index = m.Dst, m.IfIndex
		}
	}
	ip, ok := netip.AddrFromSlice(dst)
	if !ok {
		return transports.Addr{}, false
	}
	return localOf(ip, s.port, uint32(index))
}

func (s *portableSocket) zone(name string) uint32 {
	if name == "" {
		return 0
	}
	index, ok := s.zones[name]
	if !ok {
		if index = zoneIndex(name); index == 0 {
			n, _ := strconv.ParseUint(name, 10, 32) // package net knew no name for it
			return uint32(n)
		}
		s.zones[name] = index
	}
	return index
}

func (s *portableSocket) send(batch []transports.Datagram) (sent int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.arm(); err != nil {
		return 0, err
	}
	for i := range batch {
		failure := s.insist(func() error { return s.sendOne(&batch[i]) })
		switch {
		case failure == nil:
			sent++
		case errors.Is(failure, net.ErrClosed):
			return sent, failure
		case isBusy(failure), errors.Is(failure, os.ErrDeadlineExceeded):
			return sent, transports.ErrBusy
		default:
			if errors.Is(failure, errTooLarge) {
				s.dropped.oversize.Add(1)
			} else {
				s.dropped.unsendable.Add(1)
			}
			if err == nil {
				err = cause(failure)
			}
		}
	}
	return sent, err
}

// insist writes once more when the time is over: it may have gone by elsewhere, on a busy
// machine.
func (s *portableSocket) insist(write func() error) error {
	err := write()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err := s.arm(); err != nil {
			return err
		}
		err = write()
	}
	return err
}

func (s *portableSocket) arm() error {
	if s.conn.SetWriteDeadline(time.Now().Add(sendPatience)) != nil {
		return net.ErrClosed
	}
	return nil
}

func (s *portableSocket) sendOne(d *transports.Datagram) error {
	if len(d.Data) > s.mtu {
		return errTooLarge
	}
	to, zone, ok := d.Addr.AddrPort()
	if !ok {
		return errNoRoute
	}
	if zone != 0 {
		to = netip.AddrPortFrom(to.Addr().WithZone(strconv.FormatUint(uint64(zone), 10)), to.Port())
	}
	if from, index, ok := d.Local.AddrPort(); ok && s.wildcard && from.Addr().Is4() == to.Addr().Is4() {
		_, _, err := s.conn.WriteMsgUDPAddrPort(d.Data, leaveFrom(from.Addr(), index), to)
		if err == nil || isBusy(err) || errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// Not every platform takes the address: better from another one than not at all.
	}
	_, err := s.conn.WriteToUDPAddrPort(d.Data, to)
	return err
}

// leaveFrom is the ancillary data that makes a datagram leave from our address from, or
// through the interface with that index, or both.
func leaveFrom(from netip.Addr, index uint32) []byte {
	var src net.IP
	if !from.IsUnspecified() {
		src = from.AsSlice()
	}
	if from.Is4() {
		return (&ipv4.ControlMessage{Src: src, IfIndex: int(index)}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: src, IfIndex: int(index)}).Marshal()
}

// sendGroup sets interface and hops on the socket, which concern nothing but groups: not
// every platform takes them along with a datagram.
func (s *portableSocket) sendGroup(t target, hops int, data []byte) error {
	group, ifi := t.group, &t.nic.Interface
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.arm(); err != nil {
		return err
	}
	var err error
	if group.Addr().Is4() {
		c := ipv4.NewPacketConn(s.conn)
		err = errors.Join(c.SetMulticastInterface(ifi), c.SetMulticastTTL(hops))
		_ = c.SetMulticastLoopback(true)
	} else {
		c := ipv6.NewPacketConn(s.conn)
		err = errors.Join(c.SetMulticastInterface(ifi), c.SetMulticastHopLimit(hops))
		_ = c.SetMulticastLoopback(true)
		group = netip.AddrPortFrom(group.Addr().WithZone(ifi.Name), group.Port())
	}
	if err != nil {
		return err
	}
	err = s.insist(func() error {
		_, err := s.conn.WriteToUDPAddrPort(data, group)
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return transports.ErrBusy
	}
	return err
}
