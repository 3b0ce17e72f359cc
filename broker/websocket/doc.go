// Package websocket carries MQTT over WebSocket [MQTT-6]: it makes a net.Conn of either end
// of a WebSocket connection, over a TCP or TLS connection that the caller has.
//
// The framing is that of github.com/coder/websocket, which masks on the client's side and
// requires it on the server's, and bounds control frames. Messages are read as a stream, so
// their length need not be bounded; compression is not offered. A server writes frames itself,
// as it does not mask, so that a connection that does nothing costs it no buffer for that.
package websocket
