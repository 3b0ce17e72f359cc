package mqtt

// Frame looks for one whole packet at the start of b, octets received from a stream.
// n is how many octets it takes and body what follows its fixed header, aliasing b;
// n is 0 if b does not hold all of it yet. h is filled as soon as b holds the fixed
// header, whose h.Length says how much to expect.
//
// limit is the largest packet to accept, in octets and fixed header included, which is how
// MQTT 5 counts a maximum packet size; 0 accepts any. A larger one is refused when its
// fixed header is there, before its body is.
func Frame(b []byte, limit int) (h Header, body []byte, n int, err error) {
	if len(b) == 0 {
		return Header{}, nil, 0, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 0x0F}
	if h.Type == 0 {
		return h, nil, 0, frameError(h, "packet type", "is reserved", CodeMalformed)
	}
	length, used, ok := varint(b[1:])
	switch {
	case !ok:
		return h, nil, 0, frameError(h, "remaining length", "is not a variable byte integer in its shortest form", CodeMalformed)
	case used == 0:
		return Header{}, nil, 0, nil
	}
	h.Length = length
	n = 1 + used + length
	if limit > 0 && n > limit {
		return h, nil, 0, frameError(h, "remaining length", "is above the maximum packet size", CodePacketTooLarge)
	}
	if n > len(b) {
		return h, nil, 0, nil
	}
	return h, b[1+used : n : n], n, nil
}

func frameError(h Header, field, reason string, code Code) error {
	return &Error{Packet: h.Type, Field: field, Reason: reason, Code: code}
}
