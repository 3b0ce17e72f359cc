package dtls

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"

	"mqttsn-gateway/gateway/secret"
)

// ClientOptions say how a client proves who it is, and whom it trusts: either by a
// pre-shared key, which both sides know, or by certificates. The zero value is a client
// that proves nothing and trusts the authorities that this machine knows.
type ClientOptions struct {
	// Identity and Key are the pre-shared key, 1 to 128 octets of UTF-8 and 1 to 64
	// octets. Default none.
	Identity string
	Key      []byte
	// CertificateFile names the PEM file of the client's certificate (ECDSA or RSA), its
	// intermediates after it, and KeyFile that of its private key, which only its owner
	// and group may read. Default none.
	CertificateFile, KeyFile string
	// CAFile names the PEM file of the authorities that the server's certificate has to
	// come from, or of that certificate itself. Default those that this machine knows.
	CAFile string
	// ServerName is the name or IP address that the server's certificate has to be for.
	// Default the host of the address dialled.
	ServerName string
	// Insecure takes any certificate: the messages are encrypted, but perhaps for
	// somebody on the way.
	Insecure bool
	// ConnectionID asks the server for a connection id (RFC 9146), so that a change of
	// the client's address, as behind a NAT, does not end the connection.
	ConnectionID bool
	// LocalPort is the UDP port to send from; 0 is any.
	LocalPort uint16
}

// LoadKey reads the key of an identity from a file in the format of Options.PSKFile. If
// the file has but one, identity may be "". Of two keys the first counts. The name of the file and what to do are part of
// its errors, keys are not.
func LoadKey(file, identity string) (name string, key []byte, err error) {
	k, err := loadKeys(file)
	if err != nil {
		return "", nil, err
	}
	if identity == "" {
		if len(k.byIdentity) > 1 {
			return "", nil, fmt.Errorf("%s has the keys of %d identities: say which is meant", file, len(k.byIdentity))
		}
		for identity = range k.byIdentity {
		}
	}
	found, ok := k.byIdentity[identity]
	if !ok {
		return "", nil, fmt.Errorf("%s has no key for %q: add a line %s:hexkey, or name one of the identities in it", file, identity, identity)
	}
	return identity, found[0], nil
}

// Name is what the client proves to be, as Link.Identity has it: its Identity, or the name
// in its certificate; "" if it proves nothing.
func (o ClientOptions) Name() (string, error) {
	if o.Identity != "" || o.CertificateFile == "" {
		return o.Identity, nil
	}
	cert, err := secret.KeyPair(o.CertificateFile, o.KeyFile)
	if err != nil {
		return "", err
	}
	return certificateName(cert.Certificate[0])
}

// Dial connects to a DTLS server and returns when the handshake is done. One Write is one
// message sent, of at most 8128 octets, and one Read one received; a message longer than
// its buffer is lost. Deadlines are kept. Close says goodbye to the server; if the server
// does, Read returns io.EOF.
//
// Handshake messages that are lost are repeated until ctx is over, so give it a deadline.
// Errors are one of those of this package, one of package net's if the address is wrong or
// nobody listens there (syscall.ECONNREFUSED), context.Cause if ctx was cancelled, or begin
// with the key of the option whose file is at fault.
func Dial(ctx context.Context, address string, o ClientOptions) (net.Conn, error) {
	options, err := o.load(address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{}
	if o.LocalPort != 0 {
		dialer.LocalAddr = &net.UDPAddr{Port: int(o.LocalPort)}
	}
	udp, err := dialer.DialContext(ctx, "udp", address)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	w := &wire{Conn: udp}
	c, err := newClient(w, udp.RemoteAddr(), options)
	if err != nil {
		_ = udp.Close()
		return nil, fmt.Errorf("dtls: %w", err)
	}
	if err := c.handshake(ctx); err != nil {
		_ = c.Close()
		_ = udp.Close()
		return nil, w.explain(ctx, err)
	}
	return c, nil
}

// load reads the files and checks that all goes together.
func (o ClientOptions) load(address string) (clientOptions, error) {
	out := clientOptions{
		identity: o.Identity, key: slices.Clone(o.Key),
		serverName: o.ServerName, insecure: o.Insecure, connectionID: o.ConnectionID,
	}
	bad := func(why string) (clientOptions, error) { return clientOptions{}, errors.New("dtls: " + why) }
	switch withKey := o.Identity != "" || len(o.Key) > 0; {
	case withKey && (o.Identity == "" || len(o.Key) == 0):
		return bad("an identity and a key are needed, not one of them alone")
	case withKey && (len(o.Identity) > maxIdentity || len(o.Key) > maxKey):
		return bad(fmt.Sprintf("the identity may have %d octets, the key %d, no more", maxIdentity, maxKey))
	case withKey && (o.CertificateFile != "" || o.CAFile != "" || o.Insecure):
		return bad("a pre-shared key and certificates do not go together")
	case (o.CertificateFile == "") != (o.KeyFile == ""):
		return bad("a certificate file and the file of its private key are needed, not one of them alone")
	case o.CAFile != "" && o.Insecure:
		return bad("a file of authorities is of no use when certificates are not checked")
	}
	if out.serverName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return clientOptions{}, fmt.Errorf("dtls: %w: write HOST:PORT", err)
		}
		out.serverName, _, _ = strings.Cut(host, "%") // no certificate has a zone
	}
	var err error
	if o.CertificateFile != "" {
		if out.certificate, err = secret.KeyPair(o.CertificateFile, o.KeyFile); err != nil {
			return clientOptions{}, err
		}
	}
	if o.CAFile != "" {
		var pool *x509.CertPool
		if pool, err = secret.Authorities(o.CAFile); err != nil {
			return clientOptions{}, fmt.Errorf("ca_file: %w", err)
		}
		out.roots = pool
	}
	return out, nil
}

// maxMessage is the longest message that Dial's connections send: servers, and the library,
// take no longer datagrams than MaxDatagram.
const maxMessage = MaxDatagram - overhead

// errTooLongToDial is package net's error for what is too long for a datagram.
var errTooLongToDial = fmt.Errorf("dtls: the message has more than %d octets: %w", maxMessage, syscall.EMSGSIZE)

// wire is the client's socket, which is connected so that the system tells if nobody
// listens at the other end. During the handshake it notes what the library does not tell.
type wire struct {
	net.Conn

	mu       sync.Mutex // guards what follows
	heard    bool       // something has come
	answered bool       // more than a HelloVerifyRequest has come
	theirs   byte       // the alert that has come
	ours     byte       // the alert that has been sent
}

// ReadFrom hands on a datagram.
func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := w.Read(b)
	if err == nil {
		w.note(b[:n], true)
	}
	return n, w.RemoteAddr(), err
}

// WriteTo sends a datagram to the one peer there is.
func (w *wire) WriteTo(b []byte, _ net.Addr) (int, error) {
	b = plainAlert(b)
	w.note(b, false)
	return w.Write(b)
}

// plainAlert mends alerts that are not encrypted. The library puts them into records with
// a connection id once it has one, where they do not belong before the encryption begins
// (RFC 9146, 3), so that the server would wait for more until its deadline.
func plainAlert(b []byte) []byte {
	const inner = 3 // level, description, and type
	if len(b) < recordHeader+inner || b[0] != typeCID || b[3] != 0 || b[4] != 0 || b[len(b)-1] != typeAlert {
		return b
	}
	seq := binary.BigEndian.Uint64(b[3:])
	alert := b[len(b)-inner : len(b)-1]
	return append(appendHeader(nil, typeAlert, versionDTLS12, seq, len(alert)), alert...)
}

// note looks at the records of a datagram that are in the clear.
func (w *wire) note(b []byte, theirs bool) {
	for len(b) > 0 {
		r, rest, ok := readRecord(b)
		if !ok || r.epoch > 0 {
			return
		}
		b = rest
		alert := r.kind == typeAlert && len(r.body) == 2 && r.body[0] == alertFatal
		w.mu.Lock()
		switch {
		case theirs && alert:
			w.theirs, w.heard = r.body[1], true
		case theirs && r.kind == typeHandshake && len(r.body) > 0:
			w.heard, w.answered = true, w.answered || r.body[0] != helloVerifyRequest
		case alert:
			w.ours = r.body[1]
		}
		w.mu.Unlock()
	}
}
