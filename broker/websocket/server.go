package websocket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// The sizes of a server's buffers, in octets.
const (
	maxRequest  = 8 << 10         // the longest request of a client
	readBuffer  = 512             // of each connection, for the heads of frames and small ones
	writeBuffer = 256             // of each connection, for control frames
	maxFrame    = 16<<10 - 4      // the longest one that is sent: with its head it fits a record of TLS
	maxPing     = 125             // what a control frame carries at most
	pongTime    = 5 * time.Second // for the answer to a ping
)

// Conn is the server's end of a WebSocket connection as a stream. Deadlines, addresses and
// the end are those of the connection below, which may be closed at any time; so no method
// waits for the other side longer than that connection does.
type Conn struct {
	net.Conn // below
	origins  Origins
	secure   bool

	stream atomic.Pointer[conn] // for reading; nil before the handshake
	closed atomic.Bool          // nothing is sent any more

	writing sync.Mutex
	pong    atomic.Pointer[[]byte] // to be sent, for the last ping; nil for none
}

// Server is the server's end over a connection with a client; secure says that it is one with
// TLS. Nothing is read or written before Handshake.
func Server(below net.Conn, origins Origins, secure bool) *Conn {
	return &Conn{Conn: below, origins: origins, secure: secure}
}

// The reasons for which a Handshake fails besides errors of the connection.
var (
	// ErrNoWebSocket says that the client does not ask for WebSocket, or not well.
	ErrNoWebSocket = errors.New("this is no request for WebSocket")
	// ErrNoMQTT says that the client does not ask for MQTT [MQTT-6.0.0-3].
	ErrNoMQTT = errors.New("the subprotocol mqtt is not asked for")
	// ErrOrigin says that the page of the client may not connect.
	ErrOrigin = errors.New("the page may not connect")
)

// errEarly is what comes of reading and writing before the handshake.
var errEarly = errors.New("websocket: the handshake is not done")

// Handshake reads the client's request, of 8 KiB at most, and answers it. It is called once,
// before the connection is read. The path of the request does not matter.
func (c *Conn) Handshake() error {
	source := &source{Reader: c.Conn, left: maxRequest}
	from := bufio.NewReaderSize(source, readBuffer)
	r, err := http.ReadRequest(from)
	switch {
	case source.err != nil && r == nil:
		return source.err
	case source.left == 0 && r == nil:
		_, _ = io.WriteString(c.Conn, "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return fmt.Errorf("%w: it is longer than %d octets", ErrNoWebSocket, maxRequest)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoWebSocket, err)
	}
	w := &answer{conn: c, from: from, header: make(http.Header)}
	if err := c.judge(r); err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, ErrOrigin) {
			status = http.StatusForbidden
		}
		http.Error(w, err.Error(), status)
		return errors.Join(err, w.send())
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol, oldSubprotocol},
		InsecureSkipVerify: true, // judge has done that
		OnPingReceived:     func(_ context.Context, payload []byte) bool { c.pinged(payload); return false },
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrNoWebSocket, err), w.send())
	}
	c.stream.Store(newConn(&gather{Conn: c.Conn}, ws))
	return nil
}

// source is where a request is read from, as long as it is not too long.
type source struct {
	io.Reader
	left int
	err  error // of the connection
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Reader.Read(p[:min(len(p), s.left)])
	s.left -= n
	s.err = err
	return n, err
}

// judge says whether the client asks for what there is, and may have it.
func (c *Conn) judge(r *http.Request) error {
	if !headerHas(r.Header, "Upgrade", "websocket") {
		return ErrNoWebSocket
	}
	if !headerHas(r.Header, "Sec-WebSocket-Protocol", Subprotocol) && !headerHas(r.Header, "Sec-WebSocket-Protocol", oldSubprotocol) {
		return ErrNoMQTT
	}
	return c.origins.check(r.Header.Get("Origin"), r.Host, c.secure)
}

// Read reads from the messages as if they were one stream.
func (c *Conn) Read(p []byte) (int, error) {
	if s := c.stream.Load(); s != nil {
		return s.Read(p)
	}
	return 0, errEarly
}

// framings are lent for the time of a write.
var framings = sync.Pool{New: func() any { return new([maxHead + maxFrame]byte) }}

// maxHead is the longest head of a frame that is sent.
const maxHead = 4

// The first octets of the frames that are sent: the last of their message each.
const (
	binaryFrame = 0x82
	closeFrame  = 0x88
	pongFrame   = 0x8A
)

// Write sends p as one message or, if it is long, as several.
func (c *Conn) Write(p []byte) (n int, err error) {
	if c.stream.Load() == nil {
		return 0, errEarly
	}
	c.writing.Lock()
	b := framings.Get().(*[maxHead + maxFrame]byte)
	for err == nil && n < len(p) {
		part := p[n:min(n+maxFrame, len(p))]
		if _, err = c.Conn.Write(append(appendHead(b[:0], binaryFrame, len(part)), part...)); err == nil {
			n += len(part)
			err = c.answerPing()
		}
	}
	framings.Put(b)
	c.writing.Unlock()
	c.answerLater()
	return n, err
}

// appendHead appends the head of a frame of up to 65535 octets.
func appendHead(b []byte, first byte, n int) []byte {
	if n <= maxPing {
		return append(b, first, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, first, 126), uint16(n))
}

// pinged takes note of a ping. It is answered at once, or by who is writing: a client that is
// slow to read what it is sent must not hold up that it is read from.
func (c *Conn) pinged(payload []byte) {
	p := bytes.Clone(payload)
	c.pong.Store(&p)
	c.answerLater()
}

// answerLater sends the answer to a ping if there is one to be sent and nobody is writing.
func (c *Conn) answerLater() {
	for c.pong.Load() != nil && c.writing.TryLock() {
		_ = c.SetWriteDeadline(time.Now().Add(pongTime))
		err := c.answerPing()
		_ = c.SetWriteDeadline(time.Time{})
		c.writing.Unlock()
		if err != nil {
			_ = c.Close()
		}
	}
}

// answerPing sends the answer to the last ping, if there is one to be sent. The caller holds
// writing.
func (c *Conn) answerPing() error {
	p := c.pong.Swap(nil)
	if p == nil || c.closed.Load() {
		return nil
	}
	_, err := c.Conn.Write(append(appendHead(nil, pongFrame, len(*p)), *p...))
	return err
}

// CloseWrite says that nothing more is going to be sent. The client answers, and reading ends.
func (c *Conn) CloseWrite() error {
	if c.stream.Load() == nil {
		return errEarly
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closed.Swap(true) {
		return nil
	}
	b := binary.BigEndian.AppendUint16(appendHead(nil, closeFrame, 2), uint16(websocket.StatusNormalClosure))
	_, err := c.Conn.Write(b)
	return err
}

// answer is the answer to a request: it is gathered, to be sent in one go.
type answer struct {
	conn   *Conn
	from   *bufio.Reader
	header http.Header
	text   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *answer) Header() http.Header { return w.header }

// Write implements http.ResponseWriter.
func (w *answer) Write(p []byte) (int, error) { return w.text.Write(p) }

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols && w.header.Get("Connection") == "" {
		w.header.Set("Connection", "close")
	}
	fmt.Fprintf(&w.text, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = w.header.Write(&w.text)
	w.text.WriteString("\r\n")
}

func (w *answer) send() error {
	_, err := w.conn.Conn.Write(w.text.Bytes())
	w.text.Reset()
	return err
}

// Hijack implements http.Hijacker: it sends the answer.
func (w *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	below := &control{w.conn.Conn, &w.conn.closed}
	return below, bufio.NewReadWriter(w.from, bufio.NewWriterSize(below, writeBuffer)), w.send()
}

// control is the connection below for control frames, of which none follows a close frame.
type control struct {
	net.Conn
	closed *atomic.Bool
}

// Write implements net.Conn.
func (c *control) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}
