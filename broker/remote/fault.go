package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"
	"time"
)

// Reason is what kind of thing is wrong; its values are short enough for a counter's label.
type Reason string

// The reasons of a Fault.
const (
	UnknownAuthority   Reason = "unknown_authority"   // the broker's certificate comes from an authority that is not trusted
	WrongName          Reason = "wrong_name"          // it is for another name
	Expired            Reason = "expired"             // it is not valid now
	BadCertificate     Reason = "bad_certificate"     // something else is wrong with it
	CertificateRefused Reason = "certificate_refused" // the broker does not take our certificate, or wants one
	NoTLS              Reason = "no_tls"              // the port speaks no TLS
	WantsTLS           Reason = "wants_tls"           // the port speaks TLS, which was not tried
	HandshakeFailed    Reason = "handshake_failed"    // both speak TLS, and do not agree on how
	NoWebSocket        Reason = "no_websocket"        // the server does not take the request for WebSocket
)

// Fault says what is wrong with TLS or WebSocket, and what to do about it.
type Fault struct {
	Reason Reason
	What   string
	Fix    string
	Err    error
}

func (f *Fault) Error() string {
	if f.Fix == "" {
		return f.What
	}
	return f.What + "; " + f.Fix
}

func (f *Fault) Unwrap() error { return f.Err }

// plain is the scheme without TLS.
func (e Endpoint) plain() string {
	if e.WebSocket() {
		return "ws"
	}
	return "mqtt"
}

// explainHandshake says why there is no TLS connection.
func explainHandshake(ctx context.Context, e Endpoint, err error) error {
	var header tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no answer to the TLS handshake: the port may speak no TLS: %w", ctx.Err())
	case errors.As(err, &header):
		return &Fault{NoTLS, "this port speaks no TLS", fmt.Sprintf("use %s://, or the broker's port for TLS", e.plain()), err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return &Fault{NoTLS, "the connection was closed in the TLS handshake",
			fmt.Sprintf("this port probably speaks no TLS: use %s://, or the broker's port for TLS", e.plain()), err}
	}
	if f := certificateFault(err); f != nil {
		return f
	}
	return Explain(err)
}

// certificateFault is what is wrong with the broker's certificate; nil if nothing.
func certificateFault(err error) *Fault {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		roots     x509.SystemRootsError
		failed    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		what := "the broker's certificate comes from an authority that is not trusted here"
		if authority.Cert != nil {
			what += fmt.Sprintf(" (%q)", authority.Cert.Issuer)
		}
		return &Fault{UnknownAuthority, what, "name the authority's certificate with broker.ca_file", err}
	case errors.As(err, &name):
		return &Fault{WrongName, "the broker's certificate is for another name: " + name.Error(),
			"use a name that it has in the URL, or as broker.server_name", err}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		what := "the broker's certificate is not valid now"
		if c := invalid.Cert; c != nil {
			what = fmt.Sprintf("the certificate of %q is valid from %s to %s only", c.Subject, c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339))
		}
		return &Fault{Expired, what, "renew it on the broker, or set this machine's clock", err}
	case errors.As(err, &roots):
		return &Fault{UnknownAuthority, "this system's list of authorities cannot be read: " + err.Error(), "install it, or name the authority's certificate with broker.ca_file", err}
	case errors.As(err, &failed):
		return &Fault{BadCertificate, "the broker's certificate cannot be used: " + err.Error(), "look at what the broker shows: openssl s_client -connect HOST:PORT", err}
	}
	return nil
}

// Alerts of TLS [RFC 8446, 6.2] that have a meaning of their own here.
const (
	alertHandshakeFailure    = 40
	alertBadCertificate      = 42
	alertCertificateUnknown  = 46
	alertUnknownAuthority    = 48
	alertAccessDenied        = 49
	alertCertificateRequired = 116
	alertNoProtocol          = 120
)

// alertOf is the alert that the other side has sent. crypto/tls has a type of its own for it,
// which it does not export.
func alertOf(err error) (alert uint64, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return v.Uint(), true
}

// Explain says what is behind an error of a connection that was made, or of its handshake:
// with TLS 1.3 a broker tells only afterwards that it does not take our certificate.
func Explain(err error) error {
	alert, ok := alertOf(err)
	switch {
	case !ok:
		return err
	case alert == alertCertificateRequired:
		return &Fault{CertificateRefused, "the broker wants a certificate of ours", "give one with broker.certificate_file and broker.key_file", err}
	case alert >= alertBadCertificate && alert <= alertCertificateUnknown, alert == alertUnknownAuthority, alert == alertAccessDenied:
		return &Fault{CertificateRefused, "the broker does not take our certificate: " + err.Error(),
			"check broker.certificate_file: its authority, its dates, and whether the broker knows it", err}
	case alert == alertHandshakeFailure:
		return &Fault{CertificateRefused, "the broker breaks off the TLS handshake: it wants a certificate of ours, or other ciphers", "see broker.certificate_file, and the broker's own log", err}
	case alert == alertNoProtocol:
		return &Fault{HandshakeFailed, "the broker does not know the protocol that broker.alpn names", "set it to what the broker wants, or leave it out", err}
	}
	return &Fault{HandshakeFailed, "the broker ends TLS: " + err.Error(), "look at the broker's own log", err}
}

// Foreign says what a port speaks instead of MQTT, from the first two octets or more of its
// answer to an MQTT CONNECT; nil if that is not known.
func Foreign(head []byte) error {
	switch {
	case len(head) >= 2 && head[0] == 0x15 && head[1] == 3: // an alert
		return &Fault{Reason: WantsTLS, What: "this port speaks TLS", Fix: "use mqtts://, or wss:// if it is WebSocket's"}
	case len(head) >= 2 && string(head[:2]) == "HT":
		return &Fault{Reason: NoWebSocket, What: "this port speaks HTTP", Fix: "use ws://, if the broker has WebSocket there"}
	}
	return nil
}

// explainUpgrade says why there is no WebSocket connection.
func explainUpgrade(ctx context.Context, e Endpoint, err error) error {
	_, alert := alertOf(err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no answer to the request for WebSocket: %w", ctx.Err())
	case alert:
		return Explain(err)
	}
	fix := fmt.Sprintf("check the port, and the path %s", e.Path)
	if !e.TLS() {
		fix += "; use wss:// if the port speaks TLS"
	}
	return &Fault{NoWebSocket, "no WebSocket connection: " + err.Error(), fix, err}
}
