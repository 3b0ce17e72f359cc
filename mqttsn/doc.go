// Package mqttsn is the wire format of MQTT-SN 1.2: every message of section 5 of the
// specification as a plain struct, [Decode] and [Decoder] to read a datagram, and an
// Append method on each struct to write one.
//
// The package knows octets and nothing else: no time, no network, no topic rules
// beyond the predicates in topic.go. It imports the standard library only.
//
// Reading is strict about lengths and tolerant about bits: the declared length is the
// length of the datagram, fixed-size messages carry no surplus octet, and flag bits
// that a message does not use are ignored. Values that the specification reserves but
// whose layout is clear (a QoS of 3, topic id type 3, a return code above 3) are
// decoded as they stand; what they lead to is the session's decision.
//
// Writing uses the 1-octet Length up to 255 octets and the 3-octet form above, since
// some clients cannot read the long form of a short message [SN-5.2.1]. It never fails;
// see [MaxPacket] for what cannot be expressed.
//
// References such as [SN-5.4.12] are sections of the specification "MQTT For Sensor
// Networks (MQTT-SN) Protocol Specification, Version 1.2".
//
// To add a packet:
//  1. a Type constant and its name in packet.go,
//  2. the struct with Type, Append and decode in the file of its chapter; decode uses
//     the methods of reader only, and ends with r.end or r.rest,
//  3. a case in newPacket and a field and case in Decoder (decode.go),
//  4. a row in testdata/types.csv, accepted and refused examples in testdata/*.hex, and
//     its usual forms in samples (packet_test.go), which every other test goes through.
package mqttsn
