package mqttsn

// ReturnCode is the result in an acknowledgement [SN-5.3.10]. Values above NotSupported
// are reserved; a receiver treats them as permanent failures.
type ReturnCode byte

// The return codes.
const (
	Accepted       ReturnCode = 0x00
	Congestion     ReturnCode = 0x01
	InvalidTopicID ReturnCode = 0x02
	NotSupported   ReturnCode = 0x03
)

// String is "accepted", "congestion", "invalid topic ID", "not supported", or
// "reserved(0x80)".
func (c ReturnCode) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case Congestion:
		return "congestion"
	case InvalidTopicID:
		return "invalid topic ID"
	case NotSupported:
		return "not supported"
	default:
		return "reserved(" + hexOctet(byte(c)) + ")"
	}
}
