package client

import (
	"errors"
	"fmt"

	"mqttsn-gateway/mqttsn"
)

// The errors of a Client beside *ReturnCodeError, to be used with errors.Is.
var (
	// ErrClosed says that Close has been called.
	ErrClosed = errors.New("client is closed")
	// ErrNotConnected says that the call needs a connection to the gateway.
	ErrNotConnected = errors.New("not connected to the gateway")
	// ErrDisconnected says that the gateway has sent DISCONNECT unasked. A new Connect
	// is needed before anything else [SN-6.12].
	ErrDisconnected = errors.New("gateway has ended the connection")
	// ErrNoAnswer says that the gateway did not answer a request or its repetitions.
	ErrNoAnswer = errors.New("no answer from the gateway")
	// ErrTooLarge says that a packet does not fit into 65535 octets.
	ErrTooLarge = errors.New("packet is larger than 65535 octets")
	// ErrDropped says that a QoS 0 message was lost: there was no room, the client was on
	// hold, or its topic id was not known yet.
	ErrDropped = errors.New("message dropped")
)

// ReturnCodeError is a refusal by the gateway.
type ReturnCodeError struct {
	Request mqttsn.Type // what was refused
	Topic   string      // the topic that it was about, if any
	Code    mqttsn.ReturnCode
}

// Error is a sentence such as "SUBSCRIBE a/b refused: not supported".
func (e *ReturnCodeError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("%v refused: %v", e.Request, e.Code)
	}
	return fmt.Sprintf("%v %s refused: %v", e.Request, e.Topic, e.Code)
}

// refusal is the return code of a *ReturnCodeError.
func refusal(err error) (code mqttsn.ReturnCode, ok bool) {
	if err == nil {
		return 0, false
	}
	var e *ReturnCodeError
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Code, true
}

// refused is the error for a return code; nil for accepted.
func refused(request mqttsn.Type, topic string, code mqttsn.ReturnCode) error {
	if code == mqttsn.Accepted {
		return nil
	}
	return &ReturnCodeError{Request: request, Topic: topic, Code: code}
}
