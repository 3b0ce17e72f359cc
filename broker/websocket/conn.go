package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coder/websocket"
)

// Subprotocol is what MQTT is called in WebSocket's handshake [MQTT-6.0.0-3].
const Subprotocol = "mqtt"

// oldSubprotocol is what older clients call it.
const oldSubprotocol = "mqttv3.1"

// conn is a WebSocket connection as a stream. Deadlines, addresses and the end are those of
// the connection below, so that none of them waits for the other side or costs a timer. After
// a deadline has passed within a frame the connection is of no use any more.
type conn struct {
	*gather
	ws      *websocket.Conn
	message io.Reader // that is being read, nil if none is
}

func newConn(below *gather, ws *websocket.Conn) *conn {
	ws.SetReadLimit(-1) // it is read in pieces
	return &conn{gather: below, ws: ws}
}

// ErrText is what reading ends with when the peer has sent text [MQTT-6.0.0-1]. The
// connection is closed.
var ErrText = errors.New("websocket: the peer sent a text message: MQTT is binary")

// Read reads from the messages as if they were one: packets need not be aligned with them
// [MQTT-6.0.0-2].
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if c.message == nil {
			kind, message, err := c.ws.Reader(context.Background())
			switch {
			case err != nil:
				return 0, ended(err)
			case kind != websocket.MessageBinary:
				_ = c.Close()
				return 0, ErrText
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		switch {
		case errors.Is(err, io.EOF):
			c.message = nil
		case err != nil:
			return n, ended(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// ended is the end of the stream if the peer has closed it as it should.
func ended(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	case -1:
		return err
	}
	return fmt.Errorf("the peer closed the WebSocket connection: %w", err)
}

// Write sends p as one message.
func (c *conn) Write(p []byte) (int, error) {
	long := len(p) > pieces/2
	if long {
		c.hold()
	}
	err := c.ws.Write(context.Background(), websocket.MessageBinary, p)
	if long {
		err = errors.Join(err, c.release())
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite does nothing: after DISCONNECT it is the broker that closes, and WebSocket knows
// no closing of one direction.
func (c *conn) CloseWrite() error { return nil }
