package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// exitTimeout is the exit status of mosquitto_sub when -W has ended it.
const exitTimeout = 27

// exitError is an error with an exit status of its own.
type exitError struct {
	error
	status int
}

// exitStatus is the status to exit with after an error.
func exitStatus(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.status
	}
	return 1
}

// explain makes a sentence of what went wrong with a gateway: what happened, and what
// there is to do about it.
func (f *clientFlags) explain(err error) error {
	var code *client.ReturnCodeError
	switch {
	case errors.As(err, &code):
		return explainCode(f, code)
	case f.secure.on && (errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)):
		return fmt.Errorf("the gateway at %s has ended the DTLS connection: it was stopped, or has too many", f.address())
	case errors.Is(err, syscall.ECONNREFUSED):
		what := "running there"
		if f.secure.on {
			what = "running there with --dtls"
		}
		return fmt.Errorf("nothing listens on UDP %s: is the gateway %s? (--host, --port)", f.address(), what)
	case errors.Is(err, client.ErrNoAnswer):
		return fmt.Errorf("no answer from %s: is the gateway running there, and does a firewall let UDP pass? (%w)", f.address(), err)
	case errors.Is(err, client.ErrDisconnected):
		return fmt.Errorf("the gateway at %s has ended the connection: it was restarted, has lost its broker, or another client has the id %q", f.address(), f.id)
	case f.secure.on && errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("the message does not fit into a datagram (%w)", err)
	case errors.Is(err, syscall.EMSGSIZE), errors.Is(err, client.ErrTooLarge):
		return fmt.Errorf("the message does not fit into a datagram: UDP takes 65507 octets with MQTT-SN's own (%w)", err)
	default:
		return err
	}
}

func explainCode(f *clientFlags, e *client.ReturnCodeError) error {
	var advice string
	switch {
	case e.Code == mqttsn.Congestion:
		advice = "the gateway has no broker or no room now: try again later"
	case e.Request == mqttsn.TypeConnect && f.secure.name != "" && f.secure.name != f.id:
		advice = fmt.Sprintf("the gateway may want the client id %q, the name that the key or certificate is for (leave -i out), or have gateway.identity_client_ids changed", f.secure.name)
	case e.Request == mqttsn.TypeConnect:
		advice = fmt.Sprintf("the gateway may not accept the client id %q, or the will", f.id)
	case e.Code == mqttsn.InvalidTopicID:
		advice = "the topic id must be one of the gateway's predefined_topics"
	case e.Code == mqttsn.NotSupported:
		advice = "the topic may be invalid, or the broker does not allow it"
	default:
		return fmt.Errorf("%s: %w", f.address(), e)
	}
	return fmt.Errorf("%s: %w: %s", f.address(), e, advice)
}

// explainDial is for the errors before anything is sent.
func explainDial(f *clientFlags, err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return f.explain(err)
	case errors.As(err, &dns):
		return fmt.Errorf("host %s is not known (--host): %w", f.host, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("UDP port %d is in use on this machine: choose another (--cport)", f.localPort)
	case errors.Is(err, syscall.EACCES), errors.Is(err, os.ErrPermission):
		return fmt.Errorf("UDP port %d needs more rights: choose one above 1023 (--cport)", f.localPort)
	default:
		return err
	}
}
