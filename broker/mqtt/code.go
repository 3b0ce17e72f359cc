package mqtt

// Code is an MQTT 5 reason code [MQTT 5, 2.4]: below 0x80 success, else the reason for a
// failure.
type Code byte

// The reason codes.
const (
	CodeSuccess                Code = 0x00 // also: normal disconnection, granted QoS 0
	CodeGrantedQoS1            Code = 0x01
	CodeGrantedQoS2            Code = 0x02
	CodeDisconnectWithWill     Code = 0x04
	CodeNoSubscribers          Code = 0x10
	CodeNoSubscription         Code = 0x11
	CodeContinueAuthentication Code = 0x18
	CodeReAuthenticate         Code = 0x19
	CodeUnspecified            Code = 0x80
	CodeMalformed              Code = 0x81
	CodeProtocolError          Code = 0x82
	CodeImplementation         Code = 0x83
	CodeUnsupportedVersion     Code = 0x84
	CodeClientID               Code = 0x85
	CodeBadCredentials         Code = 0x86
	CodeNotAuthorized          Code = 0x87
	CodeServerUnavailable      Code = 0x88
	CodeServerBusy             Code = 0x89
	CodeBanned                 Code = 0x8A
	CodeShuttingDown           Code = 0x8B
	CodeAuthenticationMethod   Code = 0x8C
	CodeKeepAliveTimeout       Code = 0x8D
	CodeTakenOver              Code = 0x8E
	CodeTopicFilter            Code = 0x8F
	CodeTopicName              Code = 0x90
	CodePacketIDInUse          Code = 0x91
	CodePacketIDNotFound       Code = 0x92
	CodeReceiveMaximum         Code = 0x93
	CodeTopicAlias             Code = 0x94
	CodePacketTooLarge         Code = 0x95
	CodeMessageRate            Code = 0x96
	CodeQuota                  Code = 0x97
	CodeAdministrative         Code = 0x98
	CodePayloadFormat          Code = 0x99
	CodeRetainNotSupported     Code = 0x9A
	CodeQoSNotSupported        Code = 0x9B
	CodeUseAnotherServer       Code = 0x9C
	CodeServerMoved            Code = 0x9D
	CodeSharedNotSupported     Code = 0x9E
	CodeConnectionRate         Code = 0x9F
	CodeMaximumConnectTime     Code = 0xA0
	CodeSubscriptionIDs        Code = 0xA1 // subscription identifiers not supported
	CodeWildcards              Code = 0xA2 // wildcard subscriptions not supported
)

// Failed reports whether the code is a failure.
func (c Code) Failed() bool { return c >= 0x80 }

// The packets that may carry a reason code, as a set.
const (
	inConnack uint16 = 1 << iota
	inPuback         // and PUBREC
	inPubrel         // and PUBCOMP
	inSuback
	inUnsuback
	inDisconnectClient // a DISCONNECT sent by a client
	inDisconnectServer // a DISCONNECT sent by a server
	inAuthClient
	inAuthServer

	inDisconnect = inDisconnectClient | inDisconnectServer
	inAuth       = inAuthClient | inAuthServer
)

// codes is table 2-6 of MQTT 5, joined with the tables of the single packets: they also
// say which side may send a code. 0x00 in a server's DISCONNECT and 0x8C in any are in
// one place of the specification and not in the other; they are let pass.
var codes = [256]struct {
	name string
	in   uint16
}{
	CodeSuccess:                {"Success", inConnack | inPuback | inPubrel | inSuback | inUnsuback | inDisconnect | inAuthServer},
	CodeGrantedQoS1:            {"Granted QoS 1", inSuback},
	CodeGrantedQoS2:            {"Granted QoS 2", inSuback},
	CodeDisconnectWithWill:     {"Disconnect with Will Message", inDisconnectClient},
	CodeNoSubscribers:          {"No matching subscribers", inPuback},
	CodeNoSubscription:         {"No subscription existed", inUnsuback},
	CodeContinueAuthentication: {"Continue authentication", inAuth},
	CodeReAuthenticate:         {"Re-authenticate", inAuthClient},
	CodeUnspecified:            {"Unspecified error", inConnack | inPuback | inSuback | inUnsuback | inDisconnect},
	CodeMalformed:              {"Malformed Packet", inConnack | inDisconnect},
	CodeProtocolError:          {"Protocol Error", inConnack | inDisconnect},
	CodeImplementation:         {"Implementation specific error", inConnack | inPuback | inSuback | inUnsuback | inDisconnect},
	CodeUnsupportedVersion:     {"Unsupported Protocol Version", inConnack},
	CodeClientID:               {"Client Identifier not valid", inConnack},
	CodeBadCredentials:         {"Bad User Name or Password", inConnack},
	CodeNotAuthorized:          {"Not authorized", inConnack | inPuback | inSuback | inUnsuback | inDisconnectServer},
	CodeServerUnavailable:      {"Server unavailable", inConnack},
	CodeServerBusy:             {"Server busy", inConnack | inDisconnectServer},
	CodeBanned:                 {"Banned", inConnack},
	CodeShuttingDown:           {"Server shutting down", inDisconnectServer},
	CodeAuthenticationMethod:   {"Bad authentication method", inConnack | inDisconnect},
	CodeKeepAliveTimeout:       {"Keep Alive timeout", inDisconnectServer},
	CodeTakenOver:              {"Session taken over", inDisconnectServer},
	CodeTopicFilter:            {"Topic Filter invalid", inSuback | inUnsuback | inDisconnectServer},
	CodeTopicName:              {"Topic Name invalid", inConnack | inPuback | inDisconnect},
	CodePacketIDInUse:          {"Packet Identifier in use", inPuback | inSuback | inUnsuback},
	CodePacketIDNotFound:       {"Packet Identifier not found", inPubrel},
	CodeReceiveMaximum:         {"Receive Maximum exceeded", inDisconnect},
	CodeTopicAlias:             {"Topic Alias invalid", inDisconnect},
	CodePacketTooLarge:         {"Packet too large", inConnack | inDisconnect},
	CodeMessageRate:            {"Message rate too high", inDisconnect},
	CodeQuota:                  {"Quota exceeded", inConnack | inPuback | inSuback | inDisconnect},
	CodeAdministrative:         {"Administrative action", inDisconnect},
	CodePayloadFormat:          {"Payload format invalid", inConnack | inPuback | inDisconnect},
	CodeRetainNotSupported:     {"Retain not supported", inConnack | inDisconnectServer},
	CodeQoSNotSupported:        {"QoS not supported", inConnack | inDisconnectServer},
	CodeUseAnotherServer:       {"Use another server", inConnack | inDisconnectServer},
	CodeServerMoved:            {"Server moved", inConnack | inDisconnectServer},
	CodeSharedNotSupported:     {"Shared Subscriptions not supported", inSuback | inDisconnectServer},
	CodeConnectionRate:         {"Connection rate exceeded", inConnack | inDisconnectServer},
	CodeMaximumConnectTime:     {"Maximum connect time", inDisconnectServer},
	CodeSubscriptionIDs:        {"Subscription Identifiers not supported", inSuback | inDisconnectServer},
	CodeWildcards:              {"Wildcard Subscriptions not supported", inSuback | inDisconnectServer},
}

// String is the name of the code in the specification, or its number.
func (c Code) String() string {
	if n := codes[c].name; n != "" {
		return n
	}
	const digits = "0123456789abcdef"
	return "0x" + string([]byte{digits[c>>4], digits[c&15]})
}

// allowedIn reports whether one of the packets of the set may carry the code.
func (c Code) allowedIn(set uint16) bool { return codes[c].in&set != 0 }

// connackCodes are the return codes of CONNACK before MQTT 5, by number
// [MQTT 3.1.1, table 3.1].
var connackCodes = [6]Code{
	CodeSuccess, CodeUnsupportedVersion, CodeClientID, CodeServerUnavailable, CodeBadCredentials, CodeNotAuthorized,
}

// returnCode is the code as a CONNACK before MQTT 5 says it: 0 to 5. Failures that have
// no return code of their own become the nearest one.
func (c Code) returnCode() byte {
	switch {
	case !c.Failed():
		return 0
	case c == CodeUnsupportedVersion:
		return 1
	case c == CodeClientID:
		return 2
	case c == CodeBadCredentials, c == CodeAuthenticationMethod:
		return 4
	case c == CodeNotAuthorized, c == CodeBanned:
		return 5
	default:
		return 3
	}
}
