package framing

import "time"

// MaxFrame is the size in octets of the longest packet that a frame carries. Append appends
// nothing for a longer one, and a decoder refuses it, so that no length on the line makes
// a decoder hold more.
const MaxFrame = 1024

// Gap is the silence on a line after which its reader calls Decoder.Idle: longer than
// senders pause within a frame, shorter than anybody waits for an answer.
const Gap = 100 * time.Millisecond

// Framing is one way to mark packets.
type Framing interface {
	// Append appends the frame that carries packet to b and returns the extended slice.
	// It allocates only to grow b. It appends nothing if packet is empty or longer than
	// MaxFrame.
	Append(b, packet []byte) []byte

	// NewDecoder returns a decoder for one line. It is all that decoding allocates.
	NewDecoder() Decoder
}

// Decoder finds packets in what comes in on one line, however it is cut into pieces. It
// may be used by one goroutine at a time.
type Decoder interface {
	// Decode takes the next octets of the line and calls frame for each whole good
	// packet, in order. A packet is valid during that call only; frame must not call the
	// decoder.
	Decode(octets []byte, frame func(packet []byte))

	// Idle says that the line has been silent for Gap, so that what is incomplete stays
	// so. Whole packets may stand behind an incomplete frame that had a false length; the
	// next Decode hands them out first. So a reader that calls Idle calls
	// Decode(nil, frame) after it, or waits for them until there is more to decode.
	Idle()

	// Errors returns what has been refused so far.
	Errors() Errors
}

// Errors counts what a decoder has refused.
type Errors struct {
	// Checksum counts frames whose checksum is not that of their octets.
	Checksum uint64
	// Malformed counts frames that no sender makes: escapes and lengths that do not
	// exist, and frames cut short by silence or by the next one.
	Malformed uint64
	// TooLong counts frames of packets longer than MaxFrame, or that claim to be.
	TooLong uint64
	// Noise counts the octets outside any frame: those that were skipped in search of a
	// beginning. What SLIP and COBS refuse is frames, never octets: with them everything
	// between two delimiters is a frame.
	Noise uint64
}

// carries reports whether a frame carries that packet.
func carries(packet []byte) bool { return len(packet) > 0 && len(packet) <= MaxFrame }
