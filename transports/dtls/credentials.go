package dtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/gateway/secret"
)

// Credentials are by what clients and the gateway prove who they are, read from the files
// of Options. All links of a gateway share one value. Its methods may be called from any
// goroutine.
type Credentials struct {
	options  Options
	log      *slog.Logger
	sessions *sessions               // nil: none are kept
	now      atomic.Pointer[keyring] // what handshakes that begin now use

	mu    sync.Mutex // guards what follows; one Reload at a time
	links map[*Link]struct{}
}

// LoadCredentials reads the files that o names. Errors begin with the key of the option
// whose file is at fault, and name the file and the line.
func LoadCredentials(o Options, log *slog.Logger) (*Credentials, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c := &Credentials{options: o, log: log, links: map[*Link]struct{}{}, sessions: newSessions(o.MaxSessions, o.SessionLifetime)}
	ring, err := c.read(nil)
	if err != nil {
		return nil, err
	}
	c.now.Store(ring)
	return c, nil
}

// Files are those that Reload reads.
func (c *Credentials) Files() (names []string) {
	for _, name := range []string{c.options.PSKFile, c.options.KeyServerPasswordFile, c.options.KeyServerCAFile,
		c.options.CertificateFile, c.options.KeyFile, c.options.ClientCAFile} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Reload reads all files anew, for handshakes that begin from now on. Connections go on,
// also when their identity has another key now; those whose identity psk_file does not have
// any more are closed, and their number is logged. What key_server has answered is forgotten;
// connections of identities from there go on. An error changes nothing, and is that of
// LoadCredentials.
func (c *Credentials) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.now.Load()
	ring, err := c.read(before)
	if err != nil {
		return err
	}
	c.now.Store(ring)
	before.lookup.close()
	if ring.keys != nil && ring.lookup == nil {
		c.sessions.keep(ring.keys.has)
	}
	closed := 0
	for l := range c.links {
		closed += l.closeRemoved(ring)
	}
	if closed > 0 {
		c.log.Warn("DTLS connections closed: psk_file does not have their identities any more",
			"psk_file", c.options.PSKFile, "connections", closed)
	}
	return nil
}

// Sessions is how many sessions are kept for clients that come again.
func (c *Credentials) Sessions() int { return c.sessions.len() }

// join makes l one of the links of which connections are closed when their identity goes.
func (c *Credentials) join(l *Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links[l] = struct{}{}
}

func (c *Credentials) leave(l *Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
	if len(c.links) == 0 {
		c.now.Load().lookup.close()
	}
}

// keyring is what the files hold at one time. It does not change: another takes its place.
type keyring struct {
	keys        *keys            // nil: no pre-shared keys
	lookup      *lookup          // nil: they are all there are
	certificate *tls.Certificate // nil: none
	clientCAs   *x509.CertPool
	ask         clientAuth
}

// clientAuth says whether clients are asked for a certificate.
type clientAuth int

const (
	askNone clientAuth = iota
	askOptional
	askRequired
)

// read makes a keyring of the files. before is the one that it is to replace, if any.
func (c *Credentials) read(before *keyring) (*keyring, error) {
	o, ring := &c.options, &keyring{}
	if err := c.readKeys(ring, before); err != nil {
		return nil, err
	}
	var err error
	if ring.certificate, err = c.readCertificate(before); err != nil {
		return nil, err
	}
	if o.ClientCertificates != certificatesNone {
		pool, err := secret.Authorities(o.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("client_ca_file: %w", err)
		}
		ring.clientCAs, ring.ask = pool, askOptional
		if o.ClientCertificates == certificatesRequired {
			ring.ask = askRequired
		}
	}
	if before == nil && o.hasKeys() && ring.certificate != nil && ring.ask == askNone {
		c.log.Warn("DTLS has both dtls.psk_file and dtls.certificate_file, and asks for no client certificates: clients that use no pre-shared key may connect without proving who they are",
			"advice", "set dtls.client_certificates to required, or leave out dtls.certificate_file")
	}
	return ring, nil
}

// readKeys reads the pre-shared keys, and how to ask for others.
func (c *Credentials) readKeys(ring, before *keyring) error {
	o := &c.options
	if !o.hasKeys() {
		return nil
	}
	ring.keys = newKeys()
	if o.PSKFile != "" {
		k, err := loadKeys(o.PSKFile)
		if err != nil {
			return fmt.Errorf("psk_file: %w", err)
		}
		if k.weakCount > 0 {
			c.log.Warn("pre-shared keys below 16 octets can be guessed from a recorded handshake: make them with openssl rand -hex 16",
				"psk_file", o.PSKFile, "keys", k.weakCount, "identities", strings.Join(k.weak, ", "))
		}
		ring.keys = k
	}
	if before != nil {
		ring.keys.stranger = before.keys.stranger // for a stranger nothing has changed
	}
	if o.KeyServer == "" {
		return nil
	}
	var err error
	ring.lookup, err = newLookup(o)
	return err
}

// readCertificate reads the gateway's certificate, or makes one if it would have nothing to
// prove itself by, or returns nil.
func (c *Credentials) readCertificate(before *keyring) (*tls.Certificate, error) {
	o := &c.options
	switch {
	case o.CertificateFile != "":
		cert, err := secret.KeyPair(o.CertificateFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		if left := time.Until(cert.Leaf.NotAfter); left < 0 {
			c.log.Warn("the DTLS certificate has expired: clients that check it will not connect",
				"certificate_file", o.CertificateFile, "not_after", cert.Leaf.NotAfter)
		}
		return cert, nil
	case o.hasKeys():
		return nil, nil
	case before != nil:
		return before.certificate, nil
	}
	cert, err := selfSigned(time.Now())
	if err != nil {
		return nil, fmt.Errorf("certificate_file: none is given, and making one failed: %w", err)
	}
	sum := sha256.Sum256(cert.Certificate[0])
	c.log.Warn("DTLS has neither dtls.psk_file nor dtls.certificate_file: it uses a certificate made for this run, which clients cannot check but by its fingerprint, and anyone may connect",
		"sha256", hex.EncodeToString(sum[:]),
		"make_keys", "echo sensor-1:$(openssl rand -hex 16) > psk; chmod 600 psk; gateway --dtls :8883 --set dtls.psk_file=psk")
	return cert, nil
}

func loadKeys(name string) (*keys, error) {
	text, err := secret.Read(name)
	if err != nil {
		return nil, err
	}
	k, err := readKeys(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}
