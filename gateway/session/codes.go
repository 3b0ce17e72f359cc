package session

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// returnCode is what a client is told about an answer of the broker. A refused
// subscription is "not supported" and not "invalid topic ID", which would only make the
// client register again.
func returnCode(c broker.Code) mqttsn.ReturnCode {
	switch {
	case !c.Failed():
		return mqttsn.Accepted
	case c.Transient():
		return mqttsn.Congestion
	default:
		return mqttsn.NotSupported
	}
}
