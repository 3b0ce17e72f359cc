//go:build linux

package generator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mqttConn is as much of an MQTT 3.1.1 client as a load generator needs. It is written
// apart from the codec under test, and gathers what it sends until flush.
type mqttConn struct {
	file *os.File // keeps fd open
	fd   int
	in   []byte
	out  []byte
	id   uint16
	// onPublish is given the payload of each message that arrives.
	onPublish func(payload []byte)
}

// MQTT control packets as they stand in the first octet, flags included.
const (
	mqttConnect   = 0x10
	mqttConnack   = 0x20
	mqttPublish   = 0x30
	mqttPuback    = 0x40
	mqttSubscribe = 0x82
	mqttSuback    = 0x90
)

// dialMQTT connects and, if filter is not empty, subscribes.
func dialMQTT(address, clientID string, lasting bool, filter string, qos byte) (*mqttConn, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close() // the descriptor lives on in file
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	const cleanSession = 2
	flags := byte(cleanSession)
	if lasting {
		flags = 0
	}
	hello := appendString([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 0}, clientID) // no keep alive
	if err := handshake(c, mqttConnect, hello, mqttConnack); err != nil {
		return nil, fmt.Errorf("MQTT CONNECT to %s: %w", address, err)
	}
	if filter != "" {
		if err := handshake(c, mqttSubscribe, append(appendString([]byte{0, 1}, filter), qos), mqttSuback); err != nil {
			return nil, fmt.Errorf("MQTT SUBSCRIBE to %s: %w", filter, err)
		}
	}
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	m := &mqttConn{file: file, fd: int(file.Fd()), in: make([]byte, 0, 1<<18)}
	if err := unix.SetNonblock(m.fd, true); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// handshake sends one short packet and waits for its answer, whose last octet says
// whether it failed.
func handshake(c net.Conn, kind byte, body []byte, want byte) error {
	if _, err := c.Write(append([]byte{kind, byte(len(body))}, body...)); err != nil {
		return err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	answer := make([]byte, head[1])
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if head[0] != want || len(answer) == 0 || answer[len(answer)-1] > 2 || (want == mqttConnack && answer[1] != 0) {
		return fmt.Errorf("refused: %x%x", head, answer)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// publish queues a message.
func (m *mqttConn) publish(topic string, payload []byte, qos byte) {
	size := 2 + len(topic) + len(payload)
	if qos > 0 {
		size += 2
	}
	m.out = append(m.out, mqttPublish|qos<<1)
	for ; size >= 0x80; size >>= 7 {
		m.out = append(m.out, byte(size)|0x80)
	}
	m.out = append(m.out, byte(size))
	m.out = appendString(m.out, topic)
	if qos > 0 {
		if m.id++; m.id == 0 {
			m.id = 1
		}
		m.out = binary.BigEndian.AppendUint16(m.out, m.id)
	}
	m.out = append(m.out, payload...)
}

// flush sends what was queued, as far as the socket takes it.
func (m *mqttConn) flush() error {
	if len(m.out) == 0 {
		return nil
	}
	n, errno := write(m.fd, m.out)
	if errno == unix.EAGAIN {
		return nil
	}
	if errno != 0 {
		return errno
	}
	m.out = append(m.out[:0], m.out[n:]...)
	return nil
}

// receive reads what has arrived and handles every whole packet.
func (m *mqttConn) receive() error {
	n, errno := read(m.fd, m.in[len(m.in):cap(m.in)])
	if errno == unix.EAGAIN {
		return nil
	}
	if errno != 0 {
		return errno
	}
	if n == 0 {
		return errors.New("the broker closed the MQTT connection")
	}
	m.in = m.in[:len(m.in)+n]
	rest := m.in
	for {
		kind, body, tail, ok := cutPacket(rest)
		if !ok {
			break
		}
		m.handle(kind, body)
		rest = tail
	}
	if len(rest) == cap(m.in) {
		return errors.New("MQTT packet too large")
	}
	m.in = append(m.in[:0], rest...)
	return nil
}

// cutPacket cuts the first packet off; ok is false if it is not whole yet.
func cutPacket(b []byte) (kind byte, body, rest []byte, ok bool) {
	size := 0
	for i := 1; i < len(b) && i <= 4; i++ {
		size |= int(b[i]&0x7F) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			if len(b)-i-1 < size {
				return 0, nil, nil, false
			}
			return b[0], b[i+1 : i+1+size], b[i+1+size:], true
		}
	}
	return 0, nil, nil, false
}

func (m *mqttConn) handle(kind byte, body []byte) {
	if kind&0xF0 != mqttPublish || len(body) < 2 {
		return // PUBACK and the like: the window is closed end to end
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if kind&0x06 != 0 && at+2 <= len(body) {
		m.out = append(m.out, mqttPuback, 2, body[at], body[at+1])
		at += 2
	}
	if at <= len(body) && m.onPublish != nil {
		m.onPublish(body[at:])
	}
}

func (m *mqttConn) close() { _ = m.file.Close() }
