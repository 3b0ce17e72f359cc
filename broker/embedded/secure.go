package embedded

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"mqttsn-gateway/broker/websocket"
	"mqttsn-gateway/gateway/secret"
)

// cipherSuites are those of TLS 1.2 that are recommended today (RFC 9325, 4.2): they keep
// what was recorded secret when the key becomes known, and authenticate what they encrypt.
// TLS 1.3 has no others.
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// errNoCertificate refuses a client that shows no certificate.
var errNoCertificate = errors.New("the client has no certificate")

// errNoName refuses one whose certificate does not say who it is.
var errNoName = errors.New("the client's certificate has no common name to be its user name")

// secure reports whether the listener speaks TLS.
func (o ListenerOptions) secure() bool { return o.CertificateFile != "" }

// scheme is what URLs begin with that name the listener.
func (o ListenerOptions) scheme() string {
	switch {
	case o.Protocol == protocolWebSockets && o.secure():
		return "wss"
	case o.Protocol == protocolWebSockets:
		return "ws"
	case o.secure():
		return "mqtts"
	}
	return "mqtt"
}

// files are the files that tlsConfig reads.
func (o ListenerOptions) files() []string {
	return slices.DeleteFunc([]string{o.CertificateFile, o.KeyFile, o.ClientCAFile}, func(name string) bool { return name == "" })
}

// tlsConfig is what the files of a listener say; nil for one without TLS. It begins without
// sessions that could be taken up, so that none goes on that an older authority let in.
func (o ListenerOptions) tlsConfig() (*tls.Config, error) {
	if !o.secure() {
		return nil, nil
	}
	pair, err := secret.KeyPair(o.CertificateFile, o.KeyFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{*pair},
		MinVersion:   tls.VersionTLS12,
		CipherSuites: cipherSuites,
	}
	if o.ClientCAFile == "" {
		return config, nil
	}
	if config.ClientCAs, err = secret.Authorities(o.ClientCAFile); err != nil {
		return nil, fmt.Errorf("client_ca_file: %w", err)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	if o.RequireCertificate {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if o.UseIdentityAsUsername {
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 && s.PeerCertificates[0].Subject.CommonName == "" {
				return errNoName
			}
			return nil
		}
	}
	return config, nil
}

// loadTLS reads the listener's files.
func (l *listener) loadTLS(log *slog.Logger) error {
	config, err := l.options.tlsConfig()
	if err != nil {
		return err
	}
	l.useTLS(config, log)
	return nil
}

// useTLS has connections from now on use config. That clients are going to refuse our
// certificate is for the log.
func (l *listener) useTLS(config *tls.Config, log *slog.Logger) {
	l.tls.Store(config)
	if config == nil {
		return
	}
	leaf, now := config.Certificates[0].Leaf, time.Now()
	args := []any{"listener", l.options.Listen, "file", l.options.CertificateFile}
	switch {
	case now.After(leaf.NotAfter):
		log.Warn("the certificate has expired: MQTT clients will refuse it; put a new one there", append(args, "expired", leaf.NotAfter)...)
	case now.Before(leaf.NotBefore):
		log.Warn("the certificate is not valid yet: MQTT clients will refuse it; is the clock right?", append(args, "valid_from", leaf.NotBefore)...)
	case leaf.NotAfter.Sub(now) < expirySoon:
		log.Warn("the certificate expires soon", append(args, "expires", leaf.NotAfter)...)
	}
}

// expirySoon is when the log begins to tell that a certificate is going to expire.
const expirySoon = 7 * 24 * time.Hour

// Files are the files of all listeners: what [Broker.Reload] reads.
func (b *Broker) Files() []string {
	var names []string
	for _, l := range b.listeners {
		names = append(names, l.options.files()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Reload reads the certificates, keys and authorities of all listeners anew. They count for
// connections from then on, and those that are there stay. If one of the files cannot be
// used, nothing changes, and the error says which and why.
func (b *Broker) Reload() error {
	configs := make([]*tls.Config, len(b.listeners))
	for i, l := range b.listeners {
		var err error
		if configs[i], err = l.options.tlsConfig(); err != nil {
			return &FileError{Index: i, err: err}
		}
	}
	for i, l := range b.listeners {
		l.useTLS(configs[i], b.log)
	}
	return nil
}

// CheckFiles reads the files of the listeners, and reports what is wrong with them: a
// [FileError].
func (o *Options) CheckFiles() error {
	for i := range o.Listeners {
		if _, err := o.Listeners[i].tlsConfig(); err != nil {
			return &FileError{Index: i, err: err}
		}
	}
	return nil
}

// FileError says which file of a listener cannot be used, and why.
type FileError struct {
	// Index is the listener's place in Options.Listeners.
	Index int
	err   error
}

// Error implements error. It begins with the key of the option.
func (e *FileError) Error() string { return fmt.Sprintf("listeners.%d.%v", e.Index, e.err) }

// Unwrap is what is wrong.
func (e *FileError) Unwrap() error { return e.err }

// over is what a client's connection by this listener speaks below MQTT; nil if nothing.
func (l *listener) over(c *client) net.Conn {
	web := l.options.Protocol == protocolWebSockets
	config := l.tls.Load()
	if config == nil && !web {
		return nil
	}
	var conn net.Conn = &patient{c.socket, c}
	if config != nil {
		conn = tls.Server(conn, config)
	}
	if web {
		return websocket.Server(conn, l.options.WebsocketsOrigin, config != nil)
	}
	return conn
}

// patient is a client's socket for TLS and WebSocket: these do not survive a deadline that
// has come within a record or frame, so they see none before the client is lost.
type patient struct {
	net.Conn
	client *client
}

// Read implements net.Conn.
func (p *patient) Read(b []byte) (int, error) { return p.client.read(b) }

// secured is the state of TLS on the connection; nil for none.
func (c *client) secured() *tls.ConnectionState {
	conn := c.conn
	if web, ok := conn.(*websocket.Conn); ok {
		conn = web.Conn
	}
	over, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := over.ConnectionState()
	return &state
}

// certified is the name that the client's certificate gives it as a user; ok is false on
// listeners where certificates do not do so.
func (c *client) certified() (user string, ok bool) {
	if !c.listener.options.UseIdentityAsUsername {
		return "", false
	}
	state := c.secured()
	if state == nil || len(state.PeerCertificates) == 0 {
		return "", false
	}
	return state.PeerCertificates[0].Subject.CommonName, true
}
