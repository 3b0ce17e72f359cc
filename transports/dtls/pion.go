package dtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// This is, with pionsession.go and piontrial.go, the only file that knows the DTLS library. To change to another
// major version or library, write another newAssociation and newClient; pioncookie.go and
// piontrial.go say what else the first has to do.

// association is the cryptographic part of one connection.
type association interface {
	// handshake runs it until it is done, fails or ctx is over.
	handshake(ctx context.Context) error
	// read waits for the next message. io.EOF is the end, errSkip is not.
	read(b []byte) (int, error)
	// write encrypts and sends one message. It does not block once the handshake is done.
	write(b []byte) error
	// close tells the peer and ends handshake and read.
	close() error
	// identity is what the peer has proven to be: the identity of a pre-shared key, or
	// its certificate in DER form, or neither.
	identity() (psk []byte, certificate []byte)
	// remote is the address from which the newest valid record has come, as conn's
	// ReadFrom gave it.
	remote() net.Addr
	// expect makes it take cookie instead of its own; see adoptCookie.
	expect(cookie []byte) error
	// check is an error if expect or a trial cannot work with this version of the library.
	check() error
}

// errSkip says that something came that is no message.
var errSkip = errors.New("no message")

// associationOptions are what an association needs to know.
type associationOptions struct {
	// psk says which pre-shared key an identity has; nil: there are none. begin tells how
	// far the handshake has come.
	psk          func(identity []byte, begin func() (*trial, error)) ([]byte, error)
	certificate  *tls.Certificate // nil: none
	clientCAs    *x509.CertPool
	ask          clientAuth
	connectionID func() []byte // nil: connection ids are not offered
	resumption   *resumption   // nil: no session is taken up or kept
	mtu          int
	retransmit   time.Duration
	// verified is called when the peer has proven who it is.
	verified func()
}

// suites are those of RFC 7925 and stronger ones. None uses CBC, whose checks leak through
// their timing, and all count their nonces instead of drawing them.
var suites = []dtls.CipherSuiteID{
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
	dtls.TLS_PSK_WITH_AES_128_CCM_8,
	dtls.TLS_PSK_WITH_AES_128_CCM,
	dtls.TLS_PSK_WITH_AES_128_GCM_SHA256,
}

// offersKey reports whether one of these cipher suites, two octets each, is one of ours
// with a pre-shared key.
func offersKey(offered []byte) bool {
	for ; len(offered) >= 2; offered = offered[2:] {
		switch dtls.CipherSuiteID(binary.BigEndian.Uint16(offered)) {
		case dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, dtls.TLS_PSK_WITH_AES_128_CCM_8,
			dtls.TLS_PSK_WITH_AES_128_CCM, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256:
			return true
		}
	}
	return false
}

// handshakeHeaders is what the library adds to a fragment of its MTU in a datagram.
const handshakeHeaders = recordHeader + handshakeHeader + cidSize + 32

// newAssociation prepares the server's side of a connection over conn, whose peer is at
// addr. Nothing is read or written before handshake.
func newAssociation(conn net.PacketConn, addr net.Addr, o associationOptions) (association, error) {
	options := []dtls.ServerOption{
		dtls.WithCipherSuites(suites...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(64),
		dtls.WithMTU(o.mtu - handshakeHeaders),
		dtls.WithFlightInterval(o.retransmit),
		dtls.WithLoggerFactory(silence{}),
		dtls.WithVerifyConnection(func(*dtls.State) error {
			o.verified()
			return nil
		}),
	}
	p := new(pionConn)
	if o.psk != nil {
		begin := func() (*trial, error) { return newTrial(p.conn) }
		options = append(options, dtls.WithPSK(func(identity []byte) ([]byte, error) { return o.psk(identity, begin) }))
	}
	if o.resumption != nil {
		options = append(options, dtls.WithSessionStore(o.resumption))
	}
	if o.certificate != nil {
		options = append(options, dtls.WithCertificates(*o.certificate))
		switch o.ask {
		case askOptional:
			options = append(options, dtls.WithClientAuth(dtls.VerifyClientCertIfGiven), dtls.WithClientCAs(o.clientCAs))
		case askRequired:
			options = append(options, dtls.WithClientAuth(dtls.RequireAndVerifyClientCert), dtls.WithClientCAs(o.clientCAs))
		}
	}
	if o.connectionID != nil {
		options = append(options, dtls.WithConnectionIDGenerator(o.connectionID))
	}
	c, err := dtls.ServerWithOptions(conn, addr, options...)
	if err != nil {
		return nil, err
	}
	p.conn = c
	return p, nil
}

type pionConn struct{ conn *dtls.Conn }

func (p *pionConn) handshake(ctx context.Context) error { return p.conn.HandshakeContext(ctx) }

func (p *pionConn) read(b []byte) (int, error) {
	n, err := readBeforeEnd(p.conn, b)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, errSkip // a warning, or a message longer than b; the end is io.EOF alone
	}
	return n, err
}

func (p *pionConn) write(b []byte) error {
	_, err := p.conn.Write(b)
	return err
}

func (p *pionConn) close() error { return p.conn.Close() }

func (p *pionConn) identity() (psk []byte, certificate []byte) {
	s, ok := p.conn.ConnectionState()
	switch {
	case !ok:
		return nil, nil
	case len(s.PeerCertificates) > 0:
		return nil, s.PeerCertificates[0]
	}
	return s.IdentityHint, nil
}

func (p *pionConn) remote() net.Addr { return p.conn.RemoteAddr() }

func (p *pionConn) expect(cookie []byte) error { return adoptCookie(p.conn, cookie) }

func (p *pionConn) check() error { return checkLayout(p.conn) }

// client is the client's side of a connection. Once the handshake is done, one Read or
// Write is one message; Read says io.EOF when the server has ended it, Write net.ErrClosed.
type client interface {
	net.Conn
	// handshake runs it until it is done, fails or ctx is over.
	handshake(ctx context.Context) error
}

// clientOptions are what a client needs to know.
type clientOptions struct {
	identity     string
	key          []byte           // nil: no pre-shared key
	certificate  *tls.Certificate // nil: none
	roots        *x509.CertPool   // nil: those of the system
	serverName   string
	insecure     bool
	connectionID bool
}

// newClient prepares the client's side of a connection over conn, whose peer is at addr.
// Nothing is read or written before handshake.
func newClient(conn net.PacketConn, addr net.Addr, o clientOptions) (client, error) {
	options := []dtls.ClientOption{
		dtls.WithCipherSuites(suites...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(64),
		dtls.WithLoggerFactory(silence{}),
		dtls.WithServerName(o.serverName),
		dtls.WithInsecureSkipVerify(o.insecure),
	}
	if o.key != nil {
		options = append(options, dtls.WithPSKIdentityHint([]byte(o.identity)),
			dtls.WithPSK(func([]byte) ([]byte, error) { return o.key, nil }))
	}
	if o.certificate != nil {
		options = append(options, dtls.WithCertificates(*o.certificate))
	}
	if o.roots != nil {
		options = append(options, dtls.WithRootCAs(o.roots))
	}
	if o.connectionID {
		// The server needs one to find the client by; the client has one server.
		options = append(options, dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
	}
	c, err := dtls.ClientWithOptions(conn, addr, options...)
	if err != nil {
		return nil, err
	}
	return &pionClient{c}, nil
}

type pionClient struct{ *dtls.Conn }

func (p *pionClient) handshake(ctx context.Context) error { return p.HandshakeContext(ctx) }

func (p *pionClient) Read(b []byte) (int, error) {
	n, err := readBeforeEnd(p.Conn, b)
	return n, plainError(err)
}

// readBeforeEnd reads the next message. When a message and the end of the connection come
// together, the library draws lots for which of them to tell, and again the next time it is
// asked: a goodbye would cost every second message right before it.
func readBeforeEnd(c *dtls.Conn, b []byte) (n int, err error) {
	const tries = 32 // so that one message in four thousand million is lost
	for range tries {
		if n, err = c.Read(b); !errors.Is(err, io.EOF) {
			break
		}
	}
	return n, err
}

func (p *pionClient) Write(b []byte) (int, error) {
	if len(b) > maxMessage {
		return 0, errTooLongToDial
	}
	n, err := p.Conn.Write(b)
	if err != nil {
		n = 0
	}
	return n, plainError(err)
}

// plainError is an error of the library's as package net would say it.
func plainError(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, dtls.ErrConnClosed):
		return net.ErrClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		return os.ErrDeadlineExceeded
	}
	return err
}

// silence keeps the library from writing logs of its own: failures are reported by us,
// once each and with the peer. One value serves all connections.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return silence{} }
func (silence) Trace(string)                           {}
func (silence) Tracef(string, ...any)                  {}
func (silence) Debug(string)                           {}
func (silence) Debugf(string, ...any)                  {}
func (silence) Info(string)                            {}
func (silence) Infof(string, ...any)                   {}
func (silence) Warn(string)                            {}
func (silence) Warnf(string, ...any)                   {}
func (silence) Error(string)                           {}
func (silence) Errorf(string, ...any)                  {}
