package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/broker/remote"
)

const (
	// readBuffer is what each connection has for incoming packets; longer ones are read
	// into a buffer of their own. It is most of what an idle connection costs.
	readBuffer = 1 << 10
	// keptBuffer is the largest write buffer that is kept for others.
	keptBuffer = 64 << 10
	// pongTimeout is how long the broker may take to answer a PINGREQ.
	pongTimeout = 10 * time.Second
	// goodbyeTime is how long a DISCONNECT in passing may take.
	goodbyeTime = 100 * time.Millisecond
	// shortLife is how long a connection has to live not to count as a failure: a broker
	// that accepts and drops connections is not to be asked again at once.
	shortLife = 5 * time.Second
)

// line is one TCP connection to the broker. What it has to write is guarded by the mutex
// of its session, and only the session's reader reads from it.
type line struct {
	conn    net.Conn
	address string       // of the broker
	direct  *mqtt.Writer // writes to conn without waiting
	in      frames
	born    time.Time
	again   bool // it follows a line that was lost

	out     *buffer // what waits to be written, nil if nothing does
	qos0    int     // QoS 0 messages in out
	writing int     // QoS 0 messages in the buffer that is being written
	writer  bool    // somebody is writing
	closing bool    // DISCONNECT is in out, or has been written
	wrote   time.Time
	pinged  time.Time // PINGREQ without an answer; zero if there is none
}

func newLine(conn net.Conn, maxPacket int) *line {
	now := time.Now()
	in := frames{r: bufio.NewReaderSize(conn, readBuffer), max: maxPacket}
	return &line{conn: conn, direct: mqtt.NewWriter(conn), in: in, born: now, wrote: now}
}

// buffer is a write buffer on loan from buffers: idle connections have none.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 2<<10)} }}

// room is the slice to append to; the result goes to took.
func (l *line) room() []byte {
	if l.out == nil {
		l.out = buffers.Get().(*buffer)
	}
	return l.out.b
}

func (l *line) took(b []byte) { l.out.b = b }

func (l *line) waiting() int {
	if l.out == nil {
		return 0
	}
	return len(l.out.b)
}

// drop gives up what waits to be written, and says how many QoS 0 messages are lost.
func (l *line) drop() (lost int) {
	if l.out != nil {
		l.out.release()
		l.out = nil
	}
	lost, l.qos0, l.writing = l.qos0+l.writing, 0, 0
	return lost
}

func (b *buffer) release() {
	if cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// halfClose tells the broker that nothing follows, and leaves it to the broker to close:
// a full close while something unread has arrived would destroy what was just written.
func (l *line) halfClose() {
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	} else {
		_ = l.conn.Close()
	}
}

// goodbye ends a connection that nobody wants, in passing.
func (l *line) goodbye(forget bool) {
	_ = l.conn.SetDeadline(time.Now().Add(goodbyeTime))
	_, _ = l.conn.Write(appendDisconnect(nil, forget))
	_ = l.conn.Close()
}

// write writes what waits, and what comes meanwhile, for as long as the system takes it
// at once; it waits for nothing. What the system does not take is left to a goroutine.
func (s *session) write(l *line) {
	for out := s.nextOut(l); out != nil; out = s.nextOut(l) {
		n, err := l.direct.TryWrite(out.b)
		if err == nil && n < len(out.b) {
			s.leaveRest(l, out, n)
			return
		}
		if !s.written(l, out, err) {
			return
		}
	}
}

// leaveRest leaves out, from octet n on, and all that follows to a goroutine that waits.
func (s *session) leaveRest(l *line, out *buffer, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != l {
		l.writer = false
		out.release()
		return
	}
	s.broker.dialer.parts.Go(func() { // the line's reader is a part that is not done
		for ; out != nil; out = s.nextOut(l) {
			_, err := l.conn.Write(out.b[n:])
			n = 0
			if !s.written(l, out, err) {
				return
			}
		}
	})
}

// nextOut takes what is to be written next; nil if nothing is: then nobody writes any
// more.
func (s *session) nextOut(l *line) *buffer {
	s.mu.Lock()
	s.pump()
	if l.out == nil || s.line != l {
		l.writer = false
		done := l.closing && s.line == l
		s.mu.Unlock()
		if done {
			l.halfClose()
		}
		return nil
	}
	out := l.out
	l.out = nil
	l.writing, l.qos0 = l.qos0, 0
	l.wrote = time.Now()
	s.mu.Unlock()
	return out
}

// written gives back a buffer, and reports whether the line takes more. A write that
// failed ends the connection: the reader notices.
func (s *session) written(l *line, out *buffer, err error) bool {
	out.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		_ = l.conn.Close()
		l.writer = false
		return false
	}
	l.writing = 0
	return true
}

// read takes what the broker sends until the connection ends, and says why it did.
func (s *session) read(l *line) error {
	var in incoming
	told := false
	for {
		if err := l.in.next(&in); err != nil {
			return err
		}
		s.mu.Lock()
		if s.line != l {
			s.mu.Unlock()
			return net.ErrClosed
		}
		err := s.take(l, &in)
		told = told || s.told
		s.told = false
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if !l.in.more() {
			s.broker.settle(told)
			told = false
		}
	}
}

// frames cuts a stream into packets.
type frames struct {
	r   *bufio.Reader
	max int // octets of the largest packet
}

// errTooLarge says that the broker sent a packet larger than we allow.
var errTooLarge = errors.New("the broker sent a packet larger than max_packet_size")

// next reads one packet. The length is checked before anything is allocated for it,
// which packets.ReadPacket does not do.
func (f *frames) next(in *incoming) error {
	head, err := f.r.ReadByte()
	if err != nil {
		return err
	}
	length := 0
	for shift := 0; ; shift += 7 {
		b, err := f.r.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		length |= int(b&0x7F) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return malformed("remaining length of more than 4 octets")
		}
	}
	if length > f.max {
		return fmt.Errorf("%w: %d octets", errTooLarge, length)
	}
	if length <= f.r.Size() {
		body, err := f.r.Peek(length)
		if err != nil {
			return noEOF(err)
		}
		err = decode(in, head, body)
		_, _ = f.r.Discard(length)
		return err
	}
	var body bytes.Buffer // grows as octets come, not as they are promised
	if _, err := io.CopyN(&body, f.r, int64(length)); err != nil {
		return noEOF(err)
	}
	return decode(in, head, body.Bytes())
}

// foreign says what the other side speaks if its first octets are not MQTT's.
func (f *frames) foreign() error {
	head, err := f.r.Peek(2)
	if err != nil {
		return err
	}
	return remote.Foreign(head)
}

// more reports whether a whole packet has been received and not yet read.
func (f *frames) more() bool {
	n := f.r.Buffered()
	if n < 2 {
		return false
	}
	b, _ := f.r.Peek(min(n, 5))
	length := 0
	for i, c := range b[1:] {
		length |= int(c&0x7F) << (7 * i)
		if c < 0x80 {
			return n >= 2+i+length
		}
	}
	return n >= 5 // either not whole, or malformed: next will tell without waiting
}

// noEOF makes the end of the stream within a packet an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
