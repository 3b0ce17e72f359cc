package dtls

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"mqttsn-gateway/transports"
)

// portableSocket moves datagrams through package net. It serves every platform but Linux,
// where only its tests use it. It leaves to the system from which address it answers.
type portableSocket struct {
	*net.UDPConn
	granted int
	mu      sync.Mutex // one send at a time: the write deadline is the socket's
}

// sendPatience bounds how long a write may wait, where it cannot be told not to.
const sendPatience = 5 * time.Millisecond

func newPortableSocket(conn *net.UDPConn, receiveBuffer int) *portableSocket {
	s := &portableSocket{UDPConn: conn}
	for size := receiveBuffer; size > 0; size /= 2 {
		if conn.SetReadBuffer(size) == nil {
			s.granted = size
			break
		}
	}
	return s
}

func (s *portableSocket) receiveBuffer() int { return s.granted }
func (s *portableSocket) overflows() uint64  { return 0 }
func (s *portableSocket) interrupt()         { _ = s.SetReadDeadline(longAgo) }
func (s *portableSocket) close() error       { return s.Close() }

func (s *portableSocket) receive(b []byte) (int, path, error) {
	n, from, err := s.ReadFromUDPAddrPort(b)
	if errors.Is(err, errTooLarge) { // Windows says it with an error
		n, err = len(b), nil
	}
	return n, path{peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, err
}

func (s *portableSocket) send(b []byte, to path) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return err
	}
	_, err := s.WriteToUDPAddrPort(b, to.peer)
	if isBusy(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		return transports.ErrBusy
	}
	return err
}
