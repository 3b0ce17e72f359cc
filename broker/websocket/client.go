package websocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// maxHeader bounds the header of a server's answer, in octets.
const maxHeader = 16 << 10

// errNoProtocol says that the server speaks WebSocket, but not MQTT over it.
var errNoProtocol = errors.New("the server does not offer MQTT over WebSocket: it has not taken the subprotocol mqtt")

// Client does the client's part of the handshake over below, which it closes if that fails.
// The host, with its port unless that is the scheme's own, and the path say what is asked
// for. The result is read and written as any other connection, by one goroutine each.
func Client(ctx context.Context, below net.Conn, host, path string) (net.Conn, error) {
	through := &gather{Conn: below}
	once := make(chan net.Conn, 1)
	once <- through
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the handshake needs more than one connection")
			}
		},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	//nolint:bodyclose // the library has read and closed it
	ws, answer, err := websocket.Dial(ctx, "ws://"+host+path, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Subprotocols: []string{Subprotocol},
	})
	switch {
	case err == nil && ws.Subprotocol() == Subprotocol:
		return newConn(through, ws), nil
	case err == nil:
		err = errNoProtocol
	case ctx.Err() != nil:
		err = ctx.Err()
	case answer != nil && answer.StatusCode != http.StatusSwitchingProtocols:
		err = fmt.Errorf("the server answers %q to the request for WebSocket at %s", answer.Status, path)
	}
	_ = below.Close()
	return nil, err
}
