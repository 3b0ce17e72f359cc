package dtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"time"
)

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
