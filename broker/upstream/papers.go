package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/remote"
	"mqttsn-gateway/gateway/secret"
)

// The reasons for refusing a client that are our own; those of TLS are remote's.
const (
	noCredentials  = "no_credentials" // nothing to present to the broker
	noCertificate  = "no_certificate" // its certificate cannot be read
	badClientID    = "bad_client_id"  // it cannot be a part of a file's name
	brokerRefusal  = "not_authorized" // the broker does not take what was presented
	keptSessions   = 64               // TLS sessions to be resumed, with a certificate for all
	keptPerClients = 16 << 10         // and with one for each client
)

// papers are what the gateway shows to the broker, and what it has to see of it. A reload
// replaces them as a whole; nobody changes them.
type papers struct {
	dialer   *remote.Dialer
	username template
	password []byte
	logins   map[string]login // by ClientID
	// certificate and key are files, and cert is what they have if they do not vary.
	certificate, key template
	cert             *tls.Certificate
}

// validatePapers is Validate of what is shown to a broker, and seen of it.
func (o *Options) validatePapers(overTLS bool) error {
	if o.PasswordFile != "" && o.Username == "" {
		return fmt.Errorf("password_file: %q is of no use without username", o.PasswordFile)
	}
	if o.CertificateFile != "" && o.KeyFile == "" {
		return fmt.Errorf("certificate_file: %q is of no use without key_file", o.CertificateFile)
	}
	if o.KeyFile != "" && o.CertificateFile == "" {
		return fmt.Errorf("key_file: %q is of no use without certificate_file", o.KeyFile)
	}
	if len(o.ALPN) > 255 {
		return fmt.Errorf("alpn: %d octets are not allowed: at most 255", len(o.ALPN))
	}
	if !overTLS {
		for _, f := range []struct{ key, value string }{
			{"ca_file", o.CAFile}, {"certificate_file", o.CertificateFile}, {"server_name", o.ServerName}, {"alpn", o.ALPN},
		} {
			if f.value != "" {
				return fmt.Errorf("%s: %q is of no use without TLS: write mqtts:// or wss:// in url", f.key, f.value)
			}
		}
	}
	for _, f := range []struct {
		key     string
		text    template
		allowed []string
	}{
		{"username", template(o.Username), []string{placeClientID, placeUser, placeIdentity}},
		{"certificate_file", template(o.CertificateFile), []string{placeClientID}},
		{"key_file", template(o.KeyFile), []string{placeClientID}},
	} {
		if err := f.text.check(f.allowed...); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		if f.text.varies() && o.Mode == Aggregating {
			return fmt.Errorf("%s: %q is not allowed in mode aggregating: its connections are the gateway's, not a device's", f.key, string(f.text))
		}
	}
	if template(o.CertificateFile).varies() != template(o.KeyFile).varies() {
		return fmt.Errorf("key_file: %q is not allowed with certificate_file %q: if one has ${clientid}, so has the other", o.KeyFile, o.CertificateFile)
	}
	if o.CredentialsFile != "" && o.Mode == Aggregating {
		return fmt.Errorf("credentials_file: %q is not allowed in mode aggregating: its connections are the gateway's, not a device's", o.CredentialsFile)
	}
	return nil
}

// readPapers reads the files that the options name.
func (o *Options) readPapers() (*papers, error) {
	p := &papers{username: template(o.Username), certificate: template(o.CertificateFile), key: template(o.KeyFile)}
	var err error
	if o.PasswordFile != "" {
		if p.password, err = secret.ReadPassword(o.PasswordFile); err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
	}
	if o.CredentialsFile != "" {
		text, err := secret.Read(o.CredentialsFile)
		if err == nil {
			p.logins, err = readLogins(text)
		}
		if err != nil {
			return nil, fmt.Errorf("credentials_file: %w", named(o.CredentialsFile, err))
		}
	}
	var roots *x509.CertPool
	if o.CAFile != "" {
		if roots, err = secret.Authorities(o.CAFile); err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
	}
	sessions := keptSessions
	switch {
	case p.certificate.varies():
		sessions = keptPerClients
	case o.CertificateFile != "":
		if p.cert, err = secret.KeyPair(o.CertificateFile, o.KeyFile); err != nil {
			return nil, err
		}
	}
	p.dialer = remote.NewDialer(remote.Options{Roots: roots, ServerName: o.ServerName, ALPN: o.ALPN, Sessions: sessions})
	return p, nil
}

// CheckFiles reads the files that the options name, but for the certificates of single clients,
// and reports what is wrong with them, first the key of the option.
func (o *Options) CheckFiles() error {
	_, err := o.readPapers()
	return err
}

// named puts the file's name before an error that says a line.
func named(file string, err error) error { return fmt.Errorf("%s: %w", file, err) }

// warn says at each start what is not safe.
func (b *Broker) warn() {
	for _, name := range b.brokers {
		e := b.places[name]
		ip, err := netip.ParseAddr(e.Host)
		here := e.Host == "localhost" || err == nil && ip.IsLoopback()
		switch {
		case e.Insecure:
			b.log.Warn("the broker's certificate is not verified (insecure_skip_verify): anybody on the way to it can read and change everything", "address", name)
		case !e.TLS() && !here && (b.options.Username != "" || b.options.CredentialsFile != ""):
			b.log.Warn("user names and passwords go to the broker in the clear: use mqtts:// or wss://", "address", name)
		}
	}
}

// Files are the files that [Broker.Reload] reads: those of the options, without the
// certificates of single clients, which are read for each connection.
func (b *Broker) Files() []string {
	o := &b.options
	all := []string{o.PasswordFile, o.CredentialsFile, o.CAFile}
	if !template(o.CertificateFile).varies() {
		all = append(all, o.CertificateFile, o.KeyFile)
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// Reload reads the files anew. Connections that are made from now on use what they have;
// those that are there stay. If one of the files cannot be used, all stays as it was, and the
// error begins with the option's key. Clients that were refused may try again at once.
func (b *Broker) Reload() error {
	p, err := b.options.readPapers()
	if err != nil {
		return err
	}
	b.papers.Store(p)
	b.shunned.clear()
	return nil
}

// DevicesOnly reports whether there is nothing that the gateway itself could present to the
// broker: everything is some device's.
func (o *Options) DevicesOnly() bool {
	return template(o.Username).varies() || template(o.CertificateFile).varies() || o.CredentialsFile != "" && o.Username == ""
}

// present writes into h what the client presents to the broker, and returns its certificate,
// nil if it has none. A client with nothing to present is refused: it must not get in as
// somebody else, or as nobody.
func (p *papers) present(h *hello, clientID string, as broker.Principal) (*tls.Certificate, *refusal) {
	refused := func(reason string, err error) (*tls.Certificate, *refusal) {
		return nil, &refusal{code: broker.CodeNotAuthorized, reached: true, reason: reason, err: err}
	}
	entry, listed := p.logins[clientID]
	switch {
	case listed:
		h.username, h.password = entry.username, entry.password
	case p.logins != nil && p.username == "":
		return refused(noCredentials, errors.New("the client has no line in credentials_file"))
	default:
		username, err := p.username.fill(clientID, as)
		if err != nil {
			return refused(noCredentials, fmt.Errorf("username: %w", err))
		}
		h.username, h.password = username, p.password
	}
	if !p.certificate.varies() {
		return p.cert, nil
	}
	if fault := fileName(clientID); fault != "" {
		return refused(badClientID, fmt.Errorf("certificate_file: the ClientID cannot be a part of its name: %s", fault))
	}
	certificate, err := p.certificate.fill(clientID, as)
	if err != nil {
		return refused(noCertificate, fmt.Errorf("certificate_file: %w", err))
	}
	key, err := p.key.fill(clientID, as)
	if err != nil {
		return refused(noCertificate, fmt.Errorf("key_file: %w", err))
	}
	pair, err := secret.KeyPair(certificate, key)
	if err != nil {
		return refused(noCertificate, err)
	}
	return pair, nil
}

// theirs makes a refusal of the one client of a failure that is about its own certificate.
func (p *papers) theirs(r *refusal) *refusal {
	var f *remote.Fault
	if r != nil && p.certificate.varies() && errors.As(r, &f) && f.Reason == remote.CertificateRefused {
		return &refusal{code: broker.CodeNotAuthorized, reached: true, reason: string(f.Reason), err: r.err}
	}
	return r
}

// refusedFor counts why a connection could not be made, if the reason is one of those that
// are counted.
func (c *counts) refusedFor(r *refusal) {
	if r.reason == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = make(map[string]uint64)
	}
	c.refused[r.reason]++
}

func (c *counts) refusals() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]uint64, len(c.refused))
	maps.Copy(all, c.refused)
	return all
}
