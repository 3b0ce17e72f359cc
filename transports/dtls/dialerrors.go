package dtls

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Why Dial fails, once the address is known and the files are read.
var (
	// ErrKeyRefused: the server has another key for the identity, or none. Servers
	// should not tell which (RFC 4279, 2), this gateway's does not.
	ErrKeyRefused = errors.New("the server does not know that identity, or has another key for it")
	// ErrUnknownIdentity: the server says that it has no key for the identity.
	ErrUnknownIdentity = errors.New("the server does not know that identity")
	// ErrNotTrusted: the server's certificate is not from an authority that the client
	// trusts, has expired, or is for another name; the wrapped error says which.
	ErrNotTrusted = errors.New("the server's certificate is not trusted")
	// ErrCertificateRefused: the server wants a client certificate, and not this one.
	ErrCertificateRefused = errors.New("the server wants a certificate that it trusts")
	// ErrNothingInCommon: server and client have no cipher suite in common, since one
	// wants a pre-shared key and the other a certificate.
	ErrNothingInCommon = errors.New("the server has nothing in common with this client: it may want a pre-shared key in place of certificates, or the other way round")
	// ErrNoAnswer: nothing has come before the deadline.
	ErrNoAnswer = errors.New("no answer")
	// ErrTimeout: the handshake has begun, but was not done before the deadline.
	ErrTimeout = errors.New("the handshake was not done in time")
	// ErrRefused: the server has ended the handshake for another reason.
	ErrRefused = errors.New("the server has ended the handshake")
)

// explain says why a handshake over w has failed.
func (w *wire) explain(ctx context.Context, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	because := func(why error, detail string) error {
		return fmt.Errorf("dtls: %s: %w: %s", w.RemoteAddr(), why, detail)
	}
	switch cause := context.Cause(ctx); {
	case w.theirs != 0:
		return because(alertMeans(w.theirs), "alert "+alertName(w.theirs))
	case w.ours == alertBadCertificate:
		return because(ErrNotTrusted, reason(err))
	case w.ours == alertInsufficientSecurity, w.ours == alertHandshakeFailure:
		return because(ErrNothingInCommon, reason(err))
	case errors.Is(err, errPeerGone):
		return fmt.Errorf("dtls: %s: nobody listens there: %w", w.RemoteAddr(), syscall.ECONNREFUSED)
	case cause == nil:
		return fmt.Errorf("dtls: %s: %w", w.RemoteAddr(), err)
	case !errors.Is(cause, context.DeadlineExceeded):
		return cause
	case w.answered:
		// A server that says nothing to a wrong key is within its rights.
		return fmt.Errorf("dtls: %s: %w: perhaps the key is wrong: %w", w.RemoteAddr(), ErrTimeout, cause)
	case w.heard:
		return fmt.Errorf("dtls: %s: %w: %w", w.RemoteAddr(), ErrTimeout, cause)
	default:
		return fmt.Errorf("dtls: %s: %w: %w", w.RemoteAddr(), ErrNoAnswer, cause)
	}
}

// More alerts of RFC 5246 (7.2.2) and RFC 4279.
const (
	alertBadRecordMAC       = 20
	alertUnknownPSKIdentity = 115
)

// alertMeans is the reason for which a server sends an alert during the handshake.
func alertMeans(code byte) error {
	switch code {
	case alertDecryptError, alertBadRecordMAC:
		return ErrKeyRefused
	case alertUnknownPSKIdentity:
		return ErrUnknownIdentity
	case alertHandshakeFailure, alertInsufficientSecurity:
		return ErrNothingInCommon
	case alertUnknownCA:
		return ErrCertificateRefused
	}
	if code >= alertNoCertificate && code <= alertCertificateUnknown {
		return ErrCertificateRefused
	}
	return ErrRefused
}
