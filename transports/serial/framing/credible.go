package framing

// enough is how many octets show whether a packet is credible: more than the fields before
// its topic, text or data.
const enough = 8

// credible is measure for a decoder that does not know where a packet begins: it looks at
// all fields, and refuses what senders do not send even if a gateway has an answer for it.
// Of random octets, measure finds a packet at 1 place in 23, and 1 in 600 is credible.
func credible(b []byte) (size int, v verdict) {
	size, v = measure(b)
	if v != more && v != whole {
		return size, v
	}
	if size > 0 {
		b = b[:min(size, len(b))]
	}
	length, typeAt, hv := header(b)
	if hv == whole && b[typeAt] == typeEncapsulated {
		if len(b) > 2 && b[2]&^0x03 != 0 { // Ctrl is a radius of two bits [SN-5.5]
			return 0, impossible
		}
		b = b[min(length, len(b)):]
		length, typeAt, hv = header(b)
	}
	if hv == whole && !sensible(b[typeAt], length-typeAt-1, b[typeAt+1:]) {
		return 0, impossible
	}
	return size, v
}

// sensible reports whether n octets of which body are the first can follow that MsgType
// [SN-5.4]. What is not there yet contradicts nothing.
func sensible(msgType byte, n int, body []byte) bool {
	switch msgType {
	case typeAdvertise:
		return false // 05 00 is more often a TopicId of 5 and half of a MsgId
	case typeGWInfo:
		return n <= 1+1+18 // GwId and the length, address and port of IPv6
	case typeConnect:
		return unset(body, 0xF3) && (len(body) < 2 || body[1] == 1) && text(body, 4)
	case typeConnack, typeWillTopicResp, typeWillMsgResp:
		return returnCode(body, 0)
	case typeWillTopic, typeWillTopicUpd:
		return unset(body, 0x8F) && text(body, 1)
	case typeRegister:
		return msgID(body, 2) && text(body, 4)
	case typeRegack, typePuback:
		return returnCode(body, 4)
	case typePublish:
		return unset(body, 0x0C) && topicIDType(body) && (!acknowledged(body) || msgID(body, 3))
	case typePubrec, typePubrel, typePubcomp, typeUnsuback:
		return msgID(body, 0)
	case typeSubscribe, typeUnsubscribe:
		return unset(body, 0x1C) && topicIDType(body) && msgID(body, 1) && topic(n, body)
	case typeSuback:
		return unset(body, 0x9F) && returnCode(body, 5)
	case typePingreq, typeWillMsg, typeWillMsgUpd:
		return text(body, 0) // so the will messages of most are, and any octets pass for one
	default:
		return true
	}
}

// unset reports whether Flags, the first octet, has none of bits.
func unset(body []byte, bits byte) bool { return len(body) == 0 || body[0]&bits == 0 }

// topicIDType reports whether Flags has a TopicIdType that is not reserved [SN-5.3.4].
func topicIDType(body []byte) bool { return len(body) == 0 || body[0]&0x03 != 0x03 }

// acknowledged reports whether Flags says so of a PUBLISH, which then has a MsgId.
func acknowledged(body []byte) bool {
	return len(body) > 0 && (body[0]&0x60 == 0x20 || body[0]&0x60 == 0x40)
}

func msgID(body []byte, i int) bool { return len(body) < i+2 || body[i]|body[i+1] != 0 }

func returnCode(body []byte, i int) bool { return len(body) <= i || body[i] <= 3 }

// topic reports whether a SUBSCRIBE names its topic as its TopicIdType says: in two octets
// unless by its name [SN-5.4.15].
func topic(n int, body []byte) bool {
	if len(body) > 0 && body[0]&0x03 != 0 {
		return n == 5
	}
	return text(body, 3)
}

// text reports whether there is no control character from i on.
func text(body []byte, i int) bool {
	for _, c := range body[min(i, len(body)):] {
		if c < 0x20 || c == 0x7F {
			return false
		}
	}
	return true
}
