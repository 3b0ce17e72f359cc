// Package remote reaches MQTT brokers elsewhere: over TCP, TLS or WebSocket, as a URL says.
//
// The way to a broker and the check whether it can be reached use it alike, so that both see
// the same, and say the same of what is wrong: see [Fault].
package remote
