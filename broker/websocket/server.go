package websocket

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// Server does the server's part of the handshake, for a request that an http.Server was sent,
// and takes the connection over. What does not ask for MQTT over WebSocket is answered with
// an error. Browsers say from which site a request comes (Origin): it has to be the server's
// own host or one that origins has, as host, scheme://host or a pattern of path.Match; all
// others are let in, which no browser sends. "*" lets all sites in.
func Server(w http.ResponseWriter, r *http.Request, origins []string) (net.Conn, error) {
	if !offers(r) {
		err := errors.New("only MQTT is spoken here: the subprotocol mqtt is not asked for")
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, err
	}
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		OriginPatterns:     origins,
		InsecureSkipVerify: slices.Contains(origins, "*"),
	})
	if err != nil {
		return nil, err
	}
	return newConn(h.conn, ws), nil
}

// offers reports whether the client can speak MQTT [MQTT-6.0.0-3].
func offers(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), Subprotocol) {
				return true
			}
		}
	}
	return false
}

// hijacker notes the connection that is taken over.
type hijacker struct {
	http.ResponseWriter
	conn *gather
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := buffers.Flush(); err != nil { // the header
		_ = conn.Close()
		return nil, nil, err
	}
	h.conn = &gather{Conn: conn}
	return h.conn, bufio.NewReadWriter(buffers.Reader, bufio.NewWriterSize(h.conn, pieces)), nil
}
