package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"
)

// stubborn is a device that gives up nothing: it asks until it is answered, connects again
// when it is told that it is a stranger, and publishes all that it has with QoS 1, while
// it takes what comes. It is for media that lose and change octets.
type stubborn struct {
	conn net.Conn
	id   string
	// retry is its T_retry.
	retry time.Duration
	// size is how long the payloads are that it sends.
	size int
	// up has what it sends: arrived is filled in by who watches the broker.
	up, down ledger
	// sure: what is acknowledged has arrived. It has not where noise can change the
	// acknowledgement or the message unnoticed, so that only its arrival tells.
	sure bool

	// naps: once it has sent all it sleeps, and wakes up for what waits. listens is told
	// when it switches its receiver.
	naps    bool
	listens func(on bool)
	// subscribed is closed when it is.
	subscribed     chan struct{}
	tellSubscribed sync.Once

	stage      int
	upID       uint16
	msgID      uint16
	number     int
	acked      []bool
	repeated   bool
	reconnects int
	renewed    time.Time
}

// ledger is which of a number of messages have arrived.
type ledger struct {
	mu      sync.Mutex
	arrived []bool
	rest    int
	// damaged came with a check that does not fit, copies once more.
	damaged, copies int
}

func newLedger(n int) ledger { return ledger{arrived: make([]bool, n), rest: n} }

// message is message i, of so many octets at least: its number, filling and a check.
func (l *ledger) message(i, size int) string {
	text := fmt.Sprintf("%05d", i)
	for len(text) < size-8 {
		text += string(rune('a' + len(text)%26))
	}
	return text + fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text)))
}

// take notes a message that came; false for a damaged one.
func (l *ledger) take(payload string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var i int
	if _, err := fmt.Sscanf(payload, "%05d", &i); err != nil || i < 0 || i >= len(l.arrived) || payload != l.message(i, len(payload)) {
		l.damaged++
		return false
	}
	if l.arrived[i] {
		l.copies++
		return true
	}
	l.arrived[i] = true
	l.rest--
	return true
}

func (l *ledger) has(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrived[i]
}

// missing is how many messages have not arrived yet.
func (l *ledger) missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rest
}

// The stages of a stubborn device.
const (
	toConnect = iota
	toSubscribe
	toRegister
	toPublish
	toSleep
	dozing
	toCollect
)

// nap is how long a device sleeps that naps.
const nap = 500 * time.Millisecond

func newStubborn(conn net.Conn, id string, messages int) *stubborn {
	return &stubborn{conn: conn, id: id, retry: 300 * time.Millisecond, size: 24, sure: true,
		up: newLedger(messages), down: newLedger(messages), acked: make([]bool, messages), number: -1, subscribed: make(chan struct{})}
}

func (s *stubborn) downTopic() string { return "down/" + s.id }
func (s *stubborn) upTopic() string   { return "up/" + s.id }

// request is what the device wants now; nil if it wants nothing.
func (s *stubborn) request() []byte {
	switch s.stage {
	case toConnect:
		return frame(append([]byte{0x04, keepSession, 1, 0, minute}, s.id...))
	case toSubscribe:
		return frame(append([]byte{0x12, 0x20, 0, 1}, s.downTopic()...))
	case toRegister:
		return frame(append([]byte{0x0A, 0, 0, 0, 2}, s.upTopic()...))
	case toSleep:
		return []byte{4, 0x18, 0, minute}
	case toCollect:
		return frame(append([]byte{0x16}, s.id...))
	}
	if !s.choose() {
		return nil
	}
	flags := byte(0x20)
	if s.repeated {
		flags |= 0x80
	}
	b := binary.BigEndian.AppendUint16([]byte{0x0C, flags}, s.upID)
	b = binary.BigEndian.AppendUint16(b, s.msgID)
	return frame(append(b, s.up.message(s.number, s.size)...))
}

// choose makes a message that is still to be sent the current one; false if there is none.
func (s *stubborn) choose() bool {
	if s.number >= 0 {
		return true
	}
	for i := range s.acked {
		if !s.acked[i] {
			s.number, s.repeated = i, false
			s.msgID = max(3, s.msgID+1)
			return true
		}
	}
	if s.sure {
		return false
	}
	for i := range s.acked { // acknowledged, but not seen to arrive
		s.acked[i] = s.up.has(i)
	}
	return false
}

// renewal is how often a device that cannot be sure subscribes and registers again: what
// was confirmed may be another name.
const renewal = 2 * time.Second

// run goes on until the device is told to stop by closing its connection.
func (s *stubborn) run() error {
	for {
		if s.stage == dozing {
			s.listens(false)
			<-time.After(nap)
			s.listens(true)
			s.stage = toCollect
		}
		if !s.sure && s.stage == toPublish && time.Since(s.renewed) > renewal {
			s.stage, s.renewed = toSubscribe, time.Now()
		}
		request := s.request()
		if request == nil && s.naps {
			s.stage = toSleep
			continue
		}
		wait := s.retry
		if request == nil {
			request, wait = []byte{2, 0x16}, time.Second
		}
		if _, err := s.conn.Write(request); err != nil {
			return stopped(err)
		}
		if err := s.listen(time.Now().Add(wait)); err != nil {
			return stopped(err)
		}
	}
}

func stopped(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listen takes what comes until the request is answered or the time is over.
func (s *stubborn) listen(deadline time.Time) error {
	buf := make([]byte, 2048)
	_ = s.conn.SetReadDeadline(deadline)
	for {
		n, err := s.conn.Read(buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			s.repeated = true
			return nil
		case err != nil:
			return err
		}
		m, err := body(buf[:n])
		if err == nil && s.hear(bytes.Clone(m)) {
			return nil
		}
	}
}

// hear takes one packet and reports whether it answers the request.
func (s *stubborn) hear(m []byte) bool {
	short := map[byte]int{0x05: 2, 0x13: 7, 0x0B: 6, 0x0D: 6, 0x0A: 6, 0x0C: 7}[m[0]]
	if len(m) < short {
		return false
	}
	switch m[0] {
	case 0x05:
		return s.advance(toConnect, toSubscribe, m[1] == 0)
	case 0x13:
		good := m[6] == 0 && m[4] == 0 && m[5] == 1
		if good && s.stage == toSubscribe {
			s.tellSubscribed.Do(func() { close(s.subscribed) })
		}
		return s.advance(toSubscribe, toRegister, good)
	case 0x0B:
		good := m[5] == 0 && m[3] == 0 && m[4] == 2
		if good && s.stage == toRegister {
			s.upID = binary.BigEndian.Uint16(m[1:])
		}
		return s.advance(toRegister, toPublish, good)
	case 0x0D:
		return s.puback(binary.BigEndian.Uint16(m[3:]), m[5])
	case 0x0A:
		s.tell(append(append([]byte{0x0B}, m[1:5]...), 0))
	case 0x0C:
		if s.down.take(string(m[6:])) {
			s.tell(append(append([]byte{0x0D}, m[2:6]...), 0))
		}
	case 0x16:
		s.tell([]byte{0x17})
	case 0x17:
		return s.advance(toCollect, dozing, true)
	case 0x18:
		if s.advance(toSleep, dozing, true) {
			return true
		}
		s.reconnects++
		s.stage = toConnect
		return true
	}
	return false
}

// advance goes to the next stage if this is the answer for it.
func (s *stubborn) advance(from, to int, good bool) bool {
	if !good || s.stage != from {
		return false
	}
	s.stage = to
	return true
}

func (s *stubborn) puback(msgID uint16, code byte) bool {
	if s.stage != toPublish || s.number < 0 || msgID != s.msgID {
		return false
	}
	switch code {
	case 0:
		s.acked[s.number], s.number = true, -1
		return true
	case 2:
		s.stage = toRegister
		return true
	}
	return false
}

func (s *stubborn) tell(body []byte) { _, _ = s.conn.Write(frame(body)) }
