package embedded

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"

	"mqttsn-gateway/broker/websocket"
)

// misfit is why a connection does not come to speak MQTT: nobody can be told in MQTT.
type misfit byte

const (
	noMisfit misfit = iota
	noTLS
	unexpectedTLS
	noWebSocket
	unexpectedHTTP
	noMQTT
	badOrigin
	noCertificate
	expiredCertificate
	unknownAuthority
	badCertificate
	refusedCertificate
	incompatible
	failedHandshake
	misfits
)

var misfitNames = [misfits]string{
	noTLS:              "no_tls",
	unexpectedTLS:      "unexpected_tls",
	noWebSocket:        "no_websocket",
	unexpectedHTTP:     "unexpected_http",
	noMQTT:             "no_subprotocol",
	badOrigin:          "origin",
	noCertificate:      "no_certificate",
	expiredCertificate: "expired_certificate",
	unknownAuthority:   "unknown_authority",
	badCertificate:     "bad_certificate",
	refusedCertificate: "certificate_refused",
	incompatible:       "incompatible",
	failedHandshake:    "failed",
}

// misfitAdvice says what to do where it is not plain.
var misfitAdvice = [misfits]string{
	noTLS:              "the client speaks without TLS at a listener with TLS: have it use mqtts:// or wss://",
	unexpectedTLS:      "the client speaks TLS at a listener without: have it use another port, or give the listener a certificate_file",
	noWebSocket:        "the client does not ask for WebSocket at a listener with protocol websockets: have it use another port, or ws:// or wss://",
	unexpectedHTTP:     "the client asks for HTTP or WebSocket at a listener without: have it use another port, or give the listener protocol: websockets",
	badOrigin:          "pages of other sites may connect if the listener's websockets_origin lists them",
	noCertificate:      "the listener has require_certificate",
	refusedCertificate: "the client does not trust the listener's certificate, or does not find the name there by which it connects",
}

// misfitError is an error with its kind.
type misfitError struct {
	kind misfit
	err  error // nil if the advice says it all
}

// handshakes counts those that have failed.
type handshakes [misfits]atomic.Uint64

func (h *handshakes) named() map[string]uint64 {
	all := make(map[string]uint64)
	for kind := noMisfit + 1; kind < misfits; kind++ {
		all[misfitNames[kind]] = h[kind].Load()
	}
	return all
}

// handshake does what has to be done before MQTT is spoken, within the time for CONNECT. It
// reports false if the connection is ending.
func (c *client) handshake() bool {
	if c.conn == c.socket {
		return true
	}
	err := c.shakeHands()
	if err == nil {
		return true
	}
	c.gone = true
	if errors.Is(err, errSilent) {
		c.unheard(err)
	} else if why := judgeHandshake(err); why != nil {
		c.failHandshake(why)
		// What the client has sent already must not make the system drop what it is told.
		if half, ok := c.socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_ = c.linger(c.socket)
		}
	}
	return false
}

func (c *client) shakeHands() error {
	below := c.conn
	web, isWeb := c.conn.(*websocket.Conn)
	if isWeb {
		below = web.Conn
	}
	if over, ok := below.(*tls.Conn); ok {
		if err := over.Handshake(); err != nil { //nolint:noctx // the socket has a deadline
			return err
		}
	}
	if isWeb {
		return web.Handshake()
	}
	return nil
}

// judgeHandshake says why a handshake has failed; nil if the client has just gone.
func judgeHandshake(err error) *misfitError {
	var (
		record  tls.RecordHeaderError
		remote  *net.OpError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		verify  *tls.CertificateVerificationError
		is      = func(target error) bool { return errors.Is(err, target) }
	)
	kind := failedHandshake
	switch {
	case errors.As(err, &record):
		return &misfitError{noTLS, nil}
	case errors.As(err, &remote) && remote.Op == "remote error": // the client's alert
		if strings.Contains(remote.Err.Error(), "certificate") {
			kind = refusedCertificate
		}
	case strings.Contains(err.Error(), "bad record MAC"):
		// OpenSSL, with TLS 1.3, does not encrypt the alert with which it refuses a certificate.
		kind = refusedCertificate
	case is(io.EOF), is(io.ErrUnexpectedEOF), is(net.ErrClosed), is(syscall.ECONNRESET), is(syscall.EPIPE):
		return nil
	case is(websocket.ErrNoWebSocket):
		kind = noWebSocket
	case is(websocket.ErrNoMQTT):
		kind = noMQTT
	case is(websocket.ErrOrigin):
		kind = badOrigin
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		kind = expiredCertificate
	case errors.As(err, &unknown):
		kind = unknownAuthority
	case errors.As(err, &verify), is(errNoName):
		kind = badCertificate
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return &misfitError{noCertificate, errNoCertificate}
	case strings.Contains(err.Error(), "unsupported versions"), strings.Contains(err.Error(), "no cipher suite supported"):
		kind = incompatible
	}
	return &misfitError{kind, err}
}

// foreign says what a client speaks instead of MQTT, by its first octets; nil if that cannot
// be told.
func foreign(first []byte) *misfitError {
	switch {
	case bytes.HasPrefix(first, []byte{22, 3}):
		return &misfitError{unexpectedTLS, nil}
	case bytes.HasPrefix(first, []byte("GET ")):
		return &misfitError{unexpectedHTTP, nil}
	}
	return nil
}

// failHandshake counts and logs a connection that does not come to speak MQTT.
func (c *client) failHandshake(why *misfitError) {
	c.refused = true
	c.broker.stats.handshakes[why.kind].Add(1)
	args := []any{"remote", where(c), "listener", c.listener.options.Listen, "reason", misfitNames[why.kind]}
	if why.err != nil {
		args = append(args, "why", shown(why.err.Error()))
	}
	if verify := (*tls.CertificateVerificationError)(nil); errors.As(why.err, &verify) && len(verify.UnverifiedCertificates) > 0 {
		args = append(args, "certificate", shown(verify.UnverifiedCertificates[0].Subject.CommonName))
	}
	if advice := misfitAdvice[why.kind]; advice != "" {
		args = append(args, "advice", advice)
	}
	c.broker.journal.write(slog.LevelWarn, "MQTT client refused", args...)
}
