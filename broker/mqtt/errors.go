package mqtt

// Error says why octets are not a valid packet.
type Error struct {
	Packet Type   // the packet that was being read
	Field  string // the part of it that is wrong
	Reason string // what is wrong with it
	// Code is the MQTT 5 reason code to answer with, in a CONNACK or a DISCONNECT
	// [MQTT 5, 4.13].
	Code Code
	// Version is that of the connection; for a CONNECT, the one it asked for. It is 0
	// where that is not known: in a CONNECT that is wrong before its version, in an
	// error of Frame or a Reader.
	Version Version
	// Refuse says that a CONNECT of an earlier version is to be answered with a
	// CONNACK with Code [MQTT-3.1.2-2] [MQTT-3.1.3-8]. In all other cases those
	// versions just close the connection [MQTT-4.8.0-1].
	Refuse bool
}

// Error is such as "mqtt: PUBLISH packet identifier: is zero".
func (e *Error) Error() string {
	return "mqtt: " + e.Packet.String() + " " + e.Field + ": " + e.Reason
}

const reasonTruncated = "packet ends too early"
