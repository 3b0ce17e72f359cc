package broker

// Code is an MQTT 5 reason code: below 0x80 success, else the reason for a failure.
type Code byte

// The reason codes that the gateway looks at or gives. Any other value of MQTT 5 may
// come from a broker and means what it means there.
const (
	CodeSuccess           Code = 0x00
	CodeNoSubscribers     Code = 0x10
	CodeUnspecified       Code = 0x80
	CodeNotAuthorized     Code = 0x87
	CodeServerUnavailable Code = 0x88
	CodeServerBusy        Code = 0x89
	CodeShuttingDown      Code = 0x8B
	CodeTakenOver         Code = 0x8E
	CodeTopicFilter       Code = 0x8F
	CodeTopicName         Code = 0x90
	CodePacketTooLarge    Code = 0x95
	CodeQuota             Code = 0x97
	CodePayloadFormat     Code = 0x99
	CodeUseAnotherServer  Code = 0x9C
	CodeServerMoved       Code = 0x9D
	CodeRateExceeded      Code = 0x9F
)

// Failed reports whether the code is a failure.
func (c Code) Failed() bool { return c >= 0x80 }

// Transient reports whether the failure may be gone later: the server is busy, away or
// at a limit. MQTT-SN calls that congestion.
func (c Code) Transient() bool {
	switch c {
	case CodeServerUnavailable, CodeServerBusy, CodeShuttingDown, CodeQuota,
		CodeUseAnotherServer, CodeServerMoved, CodeRateExceeded:
		return true
	}
	return false
}
