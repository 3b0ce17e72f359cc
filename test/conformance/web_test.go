package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// subprotocol is what MQTT is called in WebSocket's handshake.
const subprotocol = "mqtt"

// The parts of the first octet of a frame of WebSocket (RFC 6455, section 5.2).
const (
	frameRest   = 0x0 // of a message that has begun
	frameText   = 0x1
	frameBinary = 0x2
	frameClose  = 0x8
	framePing   = 0x9
	framePong   = 0xA
	framePart   = 0x00 // another one follows
	frameLast   = 0x80
)

// ownWeb gives the test a broker of its own with a listener for WebSocket. Mosquitto 2.0.11
// starts with none that is alone, so it has a plain one besides.
func (t *T) ownWeb() {
	t.own(settings{
		embedded:  func(o *embedded.Options) { o.Listeners[0].Protocol = "websockets" },
		mosquitto: "protocol websockets\nlistener " + freePort(t) + " 127.0.0.1",
	})
}

// web is the client's end of a WebSocket connection, as a stream for packets. What the
// broker sends other than RFC 6455 and MQTT allow ends it with an error.
type web struct {
	net.Conn
	from *bufio.Reader
	// answer is the status of the broker's answer, taken are the subprotocols in it.
	answer int
	taken  []string
	// first is the first octet of the next frame that Write sends, kind that of all others
	// and, if first is 0, of the next one too.
	first, kind byte
	left        int  // of the frame that is being read
	open        bool // more frames of its message follow
}

// dialWeb opens a WebSocket connection, with what the client offers for subprotocols.
func (t *T) dialWeb(offer string) (*client, *web) {
	t.Helper()
	c := t.dial()
	w := t.upgrade(c.conn, offer)
	if w.answer != http.StatusSwitchingProtocols {
		t.Fatalf("the broker answers %d", w.answer)
	}
	c.conn, c.reader = w, mqtt.NewReader(w, 0)
	return c, w
}

// upgrade asks for WebSocket.
func (t *T) upgrade(conn net.Conn, offer string) *web {
	t.Helper()
	if offer != "" {
		offer = "Sec-WebSocket-Protocol: " + offer + "\r\n"
	}
	_ = conn.SetDeadline(time.Now().Add(t.patience))
	defer func() { _ = conn.SetDeadline(time.Time{}) }()
	_, _ = fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", t.addr, offer)
	w := &web{Conn: conn, from: bufio.NewReader(conn), kind: frameLast | frameBinary}
	answer, err := http.ReadResponse(w.from, nil)
	if err != nil {
		t.Fatalf("the request for WebSocket: %v", err)
	}
	_ = answer.Body.Close()
	w.answer, w.taken = answer.StatusCode, answer.Header.Values("Sec-WebSocket-Protocol")
	if accept := answer.Header.Get("Sec-WebSocket-Accept"); w.answer == http.StatusSwitchingProtocols && accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("Sec-WebSocket-Accept: %q", accept)
	}
	return w
}

// greeting is a CONNECT.
func (c *client) greeting(name string) *mqtt.Connect {
	return &mqtt.Connect{CleanStart: true, KeepAlive: 60, ClientID: []byte(c.id(name))}
}

// enter connects, and is accepted.
func (c *client) enter(name string) {
	c.Helper()
	c.send(c.greeting(name))
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.CodeSuccess {
		c.Fatalf("CONNACK %v", a.Code)
	}
}

// frame sends a frame, masked.
func (w *web) frame(first byte, payload []byte) {
	const masked = 0x80
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	mask := []byte{0x5A, 0x00, 0xFF, 0x81}
	b = append(b, mask...)
	for i, octet := range payload {
		b = append(b, octet^mask[i%len(mask)])
	}
	_, _ = w.Conn.Write(b)
}

// Write sends a frame with p.
func (w *web) Write(p []byte) (int, error) {
	first := w.kind
	if w.first != 0 {
		first, w.first = w.first, 0
	}
	w.frame(first, p)
	return len(p), nil
}

// Read reads the payloads of frames; a close frame is the end.
func (w *web) Read(p []byte) (int, error) {
	for w.left == 0 {
		if err := w.head(); err != nil {
			return 0, err
		}
	}
	n, err := w.from.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// head reads the head of the next frame, and control frames as a whole.
func (w *web) head() error {
	first, err := w.from.ReadByte()
	if err != nil {
		return err
	}
	second, err := w.from.ReadByte()
	if err != nil {
		return err
	}
	length, size := uint64(second), 0
	switch second {
	case 126:
		size = 2
	case 127:
		size = 8
	}
	if size > 0 {
		b := make([]byte, 8)
		if _, err := io.ReadFull(w.from, b[8-size:]); err != nil {
			return err
		}
		length = binary.BigEndian.Uint64(b)
	}
	switch kind := first &^ frameLast; {
	case second > 127:
		return errors.New("the broker masks what it sends")
	case kind == frameClose:
		return io.EOF
	case kind == framePong && length < 126:
		_, err := w.from.Discard(int(length))
		return err
	case kind == frameBinary && !w.open, kind == frameRest && w.open:
		w.left, w.open = int(length), first&frameLast == 0
		return nil
	}
	return fmt.Errorf("the broker sent a frame that begins with %02X", first)
}
