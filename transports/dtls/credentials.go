package dtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"time"

	"mqttsn-gateway/gateway/secret"
)

// credentials are by what clients and the gateway prove who they are. They do not change:
// to replace them, another value is put in their place, which handshakes from then on use.
type credentials struct {
	keys        *keys            // nil: no pre-shared keys
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

// loadCredentials reads the files that o names. Its errors begin with the option's key.
func loadCredentials(o Options, log *slog.Logger) (*credentials, error) {
	c := &credentials{}
	if o.PSKFile != "" {
		k, err := loadKeys(o.PSKFile)
		if err != nil {
			return nil, fmt.Errorf("psk_file: %w", err)
		}
		if k.weakCount > 0 {
			log.Warn("pre-shared keys below 16 octets can be guessed from a recorded handshake: make them with openssl rand -hex 16",
				"psk_file", o.PSKFile, "keys", k.weakCount, "identities", strings.Join(k.weak, ", "))
		}
		c.keys = k
	}
	switch {
	case o.CertificateFile != "":
		cert, err := secret.KeyPair(o.CertificateFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		c.certificate = cert
		if left := time.Until(cert.Leaf.NotAfter); left < 0 {
			log.Warn("the DTLS certificate has expired: clients that check it will not connect",
				"certificate_file", o.CertificateFile, "not_after", cert.Leaf.NotAfter)
		}
	case c.keys == nil:
		cert, err := selfSigned(time.Now())
		if err != nil {
			return nil, fmt.Errorf("certificate_file: none is given, and making one failed: %w", err)
		}
		c.certificate = cert
		sum := sha256.Sum256(cert.Certificate[0])
		log.Warn("DTLS has neither dtls.psk_file nor dtls.certificate_file: it uses a certificate made for this run, which clients cannot check but by its fingerprint, and anyone may connect",
			"sha256", hex.EncodeToString(sum[:]),
			"make_keys", "echo sensor-1:$(openssl rand -hex 16) > psk; chmod 600 psk; gateway --dtls :8883 --set dtls.psk_file=psk")
	}
	if c.keys != nil && c.certificate != nil && o.ClientCertificates == certificatesNone {
		log.Warn("DTLS has both dtls.psk_file and dtls.certificate_file, and asks for no client certificates: clients that use no pre-shared key may connect without proving who they are",
			"advice", "set dtls.client_certificates to required, or leave out dtls.certificate_file")
	}
	if o.ClientCertificates != certificatesNone {
		pool, err := secret.Authorities(o.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("client_ca_file: %w", err)
		}
		c.clientCAs, c.ask = pool, askOptional
		if o.ClientCertificates == certificatesRequired {
			c.ask = askRequired
		}
	}
	return c, nil
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

// selfSigned makes a certificate that nobody vouches for.
func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    now.Add(-24 * time.Hour), // clocks of devices are often wrong
		NotAfter:     now.AddDate(10, 0, 0),    // a run may last
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

var errNoName = errors.New("it has no common name, DNS name, URI or e-mail address by which to know the client")

// certificateName is the name that the holder of a certificate has proven: its common
// name, or without one its first DNS name, URI or e-mail address.
func certificateName(der []byte) (string, error) {
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return "", err
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName, nil
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0], nil
	case len(cert.URIs) > 0:
		return cert.URIs[0].String(), nil
	case len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0], nil
	}
	return "", errNoName
}
