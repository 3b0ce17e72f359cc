// Package framing marks on a serial line where packets begin and end: [Raw] not at all,
// [SLIP] and [COBS] by delimiters, [XBee] by the envelope of Digi's API frames. It knows
// octets and the sizes of MQTT-SN messages; ports, time and what packets mean are the
// caller's.
//
// # After noise
//
// SLIP, COBS and XBee's mode 2 have delimiters that are nowhere within a frame. A frame whose
// own octets are right is never lost there, whatever came before it. (Senders that put a
// delimiter only behind their frames, as RFC 1055 is printed, lose the frame after one
// whose end was damaged.) With their CRC, SLIP and COBS take none of the damaged frames for a
// good one; XBee's sum of 8 bits fails to tell about one in 256 of those with several
// octets changed.
//
// XBee's mode 1 has its delimiter within frames too, and Raw has none. Their decoders keep
// what they have read until it has proved right, and search it again octet by octet: an
// impossible beginning costs one octet, a false length does not lose what it has
// swallowed, and silence ends all waiting. In mode 1 that loses a good frame only if the
// checksum of a false one happens to be right.
//
// Raw has no checksum at all. A damaged packet is handed out unless its Length and MsgType
// contradict each other, and the data of a damaged PUBLISH may be searched for packets: do
// not use Raw on a noisy line, nor where those who choose the data are not to be trusted.
// In return it loses little else. Its decoder follows the packets, believing every Length
// that the MsgType can have, until the next cannot begin where it should. Then it searches,
// also within the packet handed out last, whose Length may have been the damaged one, and
// believes only what is credible in all fields and followed by a credible packet or by
// silence, so that the first packet after noise may wait for a Gap. After silence it always
// follows again. Measured by TestRawLosses, for one octet
// of a packet changed to any other value, these packets are lost that were not damaged:
//
//	packets back to back                on average   at most   none at
//	PUBLISH of 60 octets, text              0.0003        3    99.98 %
//	PUBLISH of 60 octets, random data       0.0015        5    99.93 %
//	PUBLISH of 7 to 255, random data        0.0008        2    99.95 %
//	all kinds of messages, 2 to 40 octets   0.006        10    99.9 %
//	the same behind a forwarder             0.03         10    99.5 %
//	with silence between packets            0             0   100 %
//
// What is lost was swallowed by a false Length that happens to end where another packet
// does. Without the search within the packet handed out last, 0.03 packets of 60 octets are
// lost and 0.13 of all kinds. Without asking what is found to be credible as well, 0.15 of
// 60 octets of random data and 0.26 of all kinds.
//
// On a line that changes one octet in 100 (TestNoise, frames of 60 octets back to back, of
// which half are damaged) Raw loses 0.1 % of the other half, XBee's mode 1 0.02 %, the rest
// none.
package framing
