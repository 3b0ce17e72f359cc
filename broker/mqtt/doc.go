// Package mqtt is the wire format of MQTT 3.1, 3.1.1 and 5: every packet and every
// property, to read and to write, for clients and for servers.
//
// # Writing
//
// Each packet is a plain struct with an Append method in the style of strconv: it adds
// the whole packet, fixed header included, to a slice and returns it. Append needs the
// version that the connection speaks; what that version does not have (properties,
// reason codes, subscription options) is left out. Append never fails and, where the
// slice has room, never allocates.
//
// # Reading
//
// A [Reader] turns a byte stream into frames; [Frame] does the same for a slice of
// received octets. A frame is a [Header] and a body, which [Decode] turns into a packet.
// A [Decoder] does so without allocating, for the packets that come often. Fields of
// type []byte alias the body: to keep a packet, copy the body and decode the copy.
// A CONNECT says its version itself; for all other packets it is an argument.
//
// Reading is strict. Whatever the specification calls malformed or a protocol error,
// and can be seen in one packet alone, gives an [*Error] that names packet and field and
// carries the reason code to answer with. What needs more than one packet to see is left
// to the caller:
//
//   - the first packet is a CONNECT, and there is only one [MQTT-3.1.0-1] [MQTT-3.1.0-2];
//   - receive maximum, topic aliases, maximum QoS and other agreed limits;
//   - which packet identifiers are in use;
//   - whether topics, filters and shared subscriptions are allowed to this client;
//   - whether a payload is the UTF-8 text that its format indicator promises;
//   - the length of client identifiers, which MQTT 3.1 limits to 23 characters;
//   - that AUTH packets name the method of the CONNECT [MQTT-4.12.0-5].
//
// # Reason codes
//
// A [Code] always has its MQTT 5 meaning. In CONNACK and SUBACK for earlier versions it
// is translated on the wire: a refusal is built and read the same way for all versions.
// PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK and DISCONNECT of earlier versions carry no
// code; a failure cannot be told with them.
//
// # Absent and empty
//
// A []byte field for something optional is absent when nil and present, if empty, when
// not nil. Optional numbers are [Optional] values, or plain ones where zero is not
// allowed on the wire and so means absent; the comment at the field says which.
// An optional list is absent when it has no elements.
//
// # To add a property
//
//  1. its identifier and name in properties.go,
//  2. a field in the properties struct of each packet that may carry it,
//  3. a case in that struct's decode and a line in its append,
//  4. its row in testdata/properties.csv.
package mqtt
