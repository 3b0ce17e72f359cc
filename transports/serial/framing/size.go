package framing

// The MsgTypes [SN-5.2.2].
const (
	typeAdvertise     = 0x00
	typeSearchGW      = 0x01
	typeGWInfo        = 0x02
	typeConnect       = 0x04
	typeConnack       = 0x05
	typeWillTopicReq  = 0x06
	typeWillTopic     = 0x07
	typeWillMsgReq    = 0x08
	typeWillMsg       = 0x09
	typeRegister      = 0x0A
	typeRegack        = 0x0B
	typePublish       = 0x0C
	typePuback        = 0x0D
	typePubcomp       = 0x0E
	typePubrec        = 0x0F
	typePubrel        = 0x10
	typeSubscribe     = 0x12
	typeSuback        = 0x13
	typeUnsubscribe   = 0x14
	typeUnsuback      = 0x15
	typePingreq       = 0x16
	typePingresp      = 0x17
	typeDisconnect    = 0x18
	typeWillTopicUpd  = 0x1A
	typeWillTopicResp = 0x1B
	typeWillMsgUpd    = 0x1C
	typeWillMsgResp   = 0x1D
	typeEncapsulated  = 0xFE
)

// span is the fewest and the most octets of a message from its MsgType on.
type span struct{ least, most int }

// open is the most of a message that only its topic, text or data limits.
const open = MaxFrame

// spans are the sizes that a message can have [SN-5.4], none for a reserved MsgType. They
// include those whose content a gateway refuses with an answer, such as a CONNECT without
// ClientId.
var spans = [256]span{
	typeAdvertise:     {4, 4},
	typeSearchGW:      {2, 2},
	typeGWInfo:        {2, open},
	typeConnect:       {5, open},
	typeConnack:       {2, 2},
	typeWillTopicReq:  {1, 1},
	typeWillTopic:     {1, open},
	typeWillMsgReq:    {1, 1},
	typeWillMsg:       {1, open},
	typeRegister:      {5, open},
	typeRegack:        {6, 6},
	typePublish:       {6, open},
	typePuback:        {6, 6},
	typePubcomp:       {3, 3},
	typePubrec:        {3, 3},
	typePubrel:        {3, 3},
	typeSubscribe:     {5, open},
	typeSuback:        {7, 7},
	typeUnsubscribe:   {5, open},
	typeUnsuback:      {3, 3},
	typePingreq:       {1, open},
	typePingresp:      {1, 1},
	typeDisconnect:    {1, 3}, // and not 2: the Duration is there or is not
	typeWillTopicUpd:  {1, open},
	typeWillTopicResp: {2, 2},
	typeWillMsgUpd:    {1, open},
	typeWillMsgResp:   {2, 2},
}

const (
	// longForm is the first octet of a Length of 3 octets [SN-5.2.1].
	longForm = 0x01
	// encapsulatedMin is the least Length of a forwarder's header: Length, MsgType, Ctrl
	// and a Wireless Node Id of one octet [SN-5.5].
	encapsulatedMin = 4
)

// verdict is what octets are as the beginning of a frame.
type verdict int

const (
	none       verdict = iota // no beginning
	impossible                // of a frame that no sender makes
	tooLong                   // of one longer than MaxFrame
	spoilt                    // of one with a wrong checksum
	more                      // of one whose end is not there
	whole
)

// header reads the Length and the MsgType at the beginning of b. typeAt is where the
// MsgType stands. Both are 0 unless v is whole.
func header(b []byte) (length, typeAt int, v verdict) {
	switch {
	case len(b) == 0:
		return 0, 0, more
	case b[0] == 0:
		return 0, 0, impossible
	case b[0] != longForm && len(b) < 2, b[0] == longForm && len(b) < 4:
		return 0, 0, more
	case b[0] != longForm:
		return int(b[0]), 1, whole
	}
	length = int(b[1])<<8 | int(b[2])
	if length > MaxFrame {
		return 0, 0, tooLong
	}
	return length, 3, whole // even if it could have been short [SN-5.2.1]
}

// measure tells how many octets the packet at the beginning of b has. All it goes by is
// the Length, and whether the MsgType can have it. size is 0 where it is not known.
func measure(b []byte) (size int, v verdict) {
	length, typeAt, v := header(b)
	switch {
	case v != whole:
		return 0, v
	case b[typeAt] == typeEncapsulated:
		return measureEncapsulated(b, length, typeAt)
	default:
		return measureMessage(b, length, typeAt)
	}
}

func measureMessage(b []byte, length, typeAt int) (size int, v verdict) {
	n, s := length-typeAt, spans[b[typeAt]]
	switch {
	case n < s.least || n > s.most:
		return 0, impossible
	case b[typeAt] == typeDisconnect && n == 2:
		return 0, impossible
	case length > len(b):
		return length, more
	default:
		return length, whole
	}
}

// measureEncapsulated is measure for the forwarder encapsulation. Its Length covers the
// forwarder's header alone; the packet that it carries follows, and is not another one
// [SN-5.5].
func measureEncapsulated(b []byte, length, typeAt int) (size int, v verdict) {
	if typeAt != 1 || length < encapsulatedMin {
		return 0, impossible
	}
	if len(b) <= length {
		return 0, more
	}
	inner := b[length:]
	size, typeAt, v = header(inner)
	if v != whole {
		return 0, v
	}
	if inner[typeAt] == typeEncapsulated {
		return 0, impossible
	}
	size, v = measureMessage(inner, size, typeAt)
	if v == impossible {
		return 0, v
	}
	if length+size > MaxFrame {
		return 0, tooLong
	}
	return length + size, v
}
