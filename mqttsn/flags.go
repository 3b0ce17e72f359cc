package mqttsn

// QoS is the quality of service in the two QoS bits of the flags [SN-5.3.4].
type QoS byte

// The QoS levels. QoSMinusOne publishes without a connection and is only for PUBLISH
// sent by a client [SN-6.8].
const (
	QoS0        QoS = 0
	QoS1        QoS = 1
	QoS2        QoS = 2
	QoSMinusOne QoS = 3
)

// String is "0", "1", "2" or "-1".
func (q QoS) String() string {
	if q == QoSMinusOne {
		return "-1"
	}
	return string([]byte{'0' + byte(q)&0x03})
}

// TopicIDType says what a topic id field holds [SN-5.3.4].
type TopicIDType byte

// The topic id types. In SUBSCRIBE and UNSUBSCRIBE, TopicNormal means a topic name.
const (
	TopicNormal     TopicIDType = 0
	TopicPredefined TopicIDType = 1
	TopicShort      TopicIDType = 2
	TopicReserved   TopicIDType = 3
)

// String is "normal", "predefined", "short" or "reserved".
func (t TopicIDType) String() string {
	switch t {
	case TopicNormal:
		return "normal"
	case TopicPredefined:
		return "predefined"
	case TopicShort:
		return "short"
	default:
		return "reserved"
	}
}

// flags is the Flags octet [SN-5.3.4]. Each message uses some of its bits, sends the
// others as 0 and ignores them on receipt.
type flags byte

const (
	flagDUP          flags = 0x80
	flagRetain       flags = 0x10
	flagWill         flags = 0x08
	flagCleanSession flags = 0x04

	shiftQoS              = 5
	maskQoS         flags = 0x03
	maskTopicIDType flags = 0x03
)

func (f flags) has(bit flags) bool       { return f&bit != 0 }
func (f flags) qos() QoS                 { return QoS(f >> shiftQoS & maskQoS) }
func (f flags) topicIDType() TopicIDType { return TopicIDType(f & maskTopicIDType) }

func flagIf(set bool, bit flags) flags {
	if set {
		return bit
	}
	return 0
}

func (q QoS) flags() flags         { return flags(q) & maskQoS << shiftQoS }
func (t TopicIDType) flags() flags { return flags(t) & maskTopicIDType }
