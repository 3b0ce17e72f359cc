package dtls

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// failure is why a handshake failed: where it is counted, and what it is called in logs.
type failure struct {
	counter *atomic.Uint64
	text    string
}

// The alerts of RFC 5246 (7.2.2) that say why.
const (
	alertHandshakeFailure     = 40
	alertNoCertificate        = 41
	alertBadCertificate       = 42
	alertCertificateUnknown   = 46
	alertUnknownCA            = 48
	alertInsufficientSecurity = 71
)

var errFull = errors.New("max_connections are there, of many clients, and none is silent for long")

var errOften = errors.New("its identity connects more often than max_connects_per_identity allows")

var errRemoved = errors.New("its identity has been removed from psk_file")

// failureOf finds out why c's handshake failed. The library tells with an alert and in
// words; alerts are the same in every version.
func (l *Link) failureOf(c *conn, err error) failure {
	f := &l.counters.failed
	p := &c.proof
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c.ended.Load() {
	case endedReplaced:
		return failure{&f.replaced, ""}
	case endedYielded:
		return failure{&f.timeout, "not done within 3 seconds, and others waited for its place"}
	case endedByClose:
		return failure{&f.other, ""}
	}
	switch {
	case errors.Is(err, errFull):
		return failure{&f.full, "no room: " + err.Error()}
	case errors.Is(err, errOften):
		return failure{&f.identityRate, err.Error()}
	case errors.Is(err, errRemoved):
		return failure{&f.unknownIdentity, err.Error()}
	case errors.Is(err, errNoName):
		return failure{&f.certificate, "client certificate rejected: " + err.Error()}
	case p.lookup != nil && !p.verified:
		return failure{&f.lookup, "its key could not be asked for at key_server: " + p.lookup.Error()}
	case p.rejected > 0 && p.known:
		return failure{&f.wrongKey, "wrong key for this identity"}
	case p.rejected > 0:
		return failure{&f.unknownIdentity, "there is no such identity"}
	case p.theirs != 0:
		return failure{&f.refused, "the client ended it with alert " + alertName(p.theirs)}
	case p.ours == alertProtocolVersion:
		return failure{&f.version, "the client speaks no DTLS 1.2"}
	case p.ours == alertInsufficientSecurity, p.ours == alertHandshakeFailure:
		return failure{&f.noCipherSuite, "nothing in common: " + reason(err)}
	case p.ours >= alertNoCertificate && p.ours <= alertCertificateUnknown, p.ours == alertUnknownCA:
		return failure{&f.certificate, "client certificate rejected: " + reason(err)}
	case errors.Is(err, context.DeadlineExceeded):
		return failure{&f.timeout, "not done within handshake_timeout"}
	}
	return failure{&f.other, reason(err)}
}

// reason is the last part of an error's text: those before it name layers of the library.
func reason(err error) string {
	if err == nil {
		return "unknown"
	}
	text := err.Error()
	for _, prefix := range []string{"handshake error: ", "dtls fatal: ", "dtls internal: ", "dtls temporary: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

func alertName(code byte) string {
	if name, ok := map[byte]string{
		0: "close notify", 10: "unexpected message", 20: "bad record MAC", 40: "handshake failure", 42: "bad certificate",
		43: "unsupported certificate", 44: "certificate revoked", 45: "certificate expired", 46: "certificate unknown",
		47: "illegal parameter", 48: "unknown CA", 49: "access denied", 50: "decode error", 51: "decrypt error",
		70: "protocol version", 71: "insufficient security", 80: "internal error", 90: "user canceled",
		115: "unknown PSK identity",
	}[code]; ok {
		return strconv.Itoa(int(code)) + " (" + name + ")"
	}
	return strconv.Itoa(int(code))
}

// failed reports and counts a handshake that failed.
func (l *Link) failed(c *conn, err error) {
	why := l.failureOf(c, err)
	why.counter.Add(1)
	switch f := &l.counters.failed; why.counter {
	case &f.wrongKey, &f.unknownIdentity, &f.certificate, &f.noCipherSuite:
		l.mu.Lock()
		l.failures.take(time.Now(), c.prefix)
		l.mu.Unlock()
	}
	if why.counter == &l.counters.failed.wrongKey || why.counter == &l.counters.failed.unknownIdentity {
		// The library just waits. This alert is the same for both: RFC 4279, 2.
		_ = l.transmit(appendAlert(nil, c.proof.number(), alertDecryptError), c.origin)
	}
	if why.text == "" {
		return
	}
	c.proof.mu.Lock()
	identity, claimed := c.proof.identity, c.proof.claimed
	c.proof.mu.Unlock()
	if ring := l.trust.now.Load(); ring.lookup != nil && why.counter == &l.counters.failed.wrongKey {
		ring.lookup.doubt(claimed)
	}
	args := []any{"link", l.name, "peer", c.origin.String(), "reason", why.text}
	if identity != "" {
		args = append(args, "identity", identity)
	}
	l.lines.warn(why.counter, "DTLS handshake failed", args...)
}
