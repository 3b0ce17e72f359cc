package remote

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"

	"mqttsn-gateway/broker/websocket"
)

// Options are how brokers are spoken to over TLS. They are used for all endpoints alike.
type Options struct {
	// Roots are the authorities that the broker's certificate may come from; nil are those
	// of the system.
	Roots *x509.CertPool
	// ServerName is the name to ask for (SNI) and to verify; "" is the host of the URL.
	ServerName string
	// ALPN is the protocol to ask for, "" for none.
	ALPN string
	// Sessions is how many TLS sessions are kept to be resumed: one is enough for each
	// broker and certificate of ours.
	Sessions int
}

// Dialer makes connections. It may be used by several goroutines.
type Dialer struct {
	options  Options
	tcp      net.Dialer
	sessions tls.ClientSessionCache
}

// NewDialer makes a Dialer. What is remembered of TLS sessions belongs to it: a change of the
// authorities or certificates asks for another one.
func NewDialer(o Options) *Dialer {
	return &Dialer{
		options: o,
		// Keep alive is MQTT's: TCP's own would wake the machine for nothing.
		tcp:      net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1},
		sessions: tls.NewLRUClientSessionCache(max(1, o.Sessions)),
	}
}

// Dial connects to the broker at e, and shows it the certificate, if it wants to see one and
// cert is not nil. What is wrong with TLS or WebSocket is told as a [Fault]. Nothing that
// Close of the result does waits for the other side.
func (d *Dialer) Dial(ctx context.Context, e Endpoint, cert *tls.Certificate) (net.Conn, error) {
	conn, err := d.tcp.DialContext(ctx, "tcp", e.Address())
	if err != nil {
		return nil, err
	}
	if e.TLS() {
		over := tls.Client(conn, d.config(e, cert))
		if err := over.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, explainHandshake(ctx, e, err)
		}
		conn = &secured{Conn: over, below: conn}
	}
	if !e.WebSocket() {
		return conn, nil
	}
	web, err := websocket.Client(ctx, conn, e.webHost(), e.Path)
	if err != nil {
		return nil, explainUpgrade(ctx, e, err)
	}
	return web, nil
}

func (d *Dialer) config(e Endpoint, cert *tls.Certificate) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            d.options.Roots,
		ServerName:         d.options.ServerName,
		InsecureSkipVerify: e.Insecure, //nolint:gosec // the URL says so, and a warning at each start
	}
	if c.ServerName == "" {
		c.ServerName = e.serverName()
	}
	if d.options.ALPN != "" {
		c.NextProtos = []string{d.options.ALPN}
	}
	scope := e.Address()
	if cert != nil {
		// It is shown whatever authorities the broker says it takes: so the broker, and not
		// we, says what is wrong with it.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		sum := sha256.Sum256(cert.Certificate[0])
		scope += string(sum[:])
	}
	c.ClientSessionCache = scoped{d.sessions, scope}
	return c
}

// scoped keeps sessions of different brokers and certificates apart: a session that is
// resumed is that of whom it was made for, whatever certificate is at hand now.
type scoped struct {
	all   tls.ClientSessionCache
	scope string
}

func (s scoped) Get(key string) (*tls.ClientSessionState, bool) { return s.all.Get(s.scope + key) }

func (s scoped) Put(key string, state *tls.ClientSessionState) { s.all.Put(s.scope+key, state) }

// secured is a TLS connection. Close of a tls.Conn says goodbye first, which may wait for
// seconds until there is room for that.
type secured struct {
	*tls.Conn
	below net.Conn
}

func (s *secured) Close() error { return s.below.Close() }

// Read takes the end of the connection for the end of the stream: brokers often close without
// saying so in TLS, and what is cut off is seen from the length of the packet.
func (s *secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
