package secret

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// KeyPair reads a certificate (ECDSA or RSA) with its chain, and its private key. Its errors
// begin with certificate_file or key_file, the key of the option whose file is at fault.
func KeyPair(certificateFile, keyFile string) (*tls.Certificate, error) {
	chain, err := ReadPublic(certificateFile)
	if err != nil {
		return nil, fmt.Errorf("certificate_file: %w", err)
	}
	key, err := Read(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate_file: %s with key_file %s: %w", certificateFile, keyFile, err)
	}
	switch cert.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
	default:
		return nil, fmt.Errorf("certificate_file: %s has a key of kind %v: ECDSA and RSA are allowed", certificateFile, cert.Leaf.PublicKeyAlgorithm)
	}
	return &cert, nil
}

// Authorities reads the certificates, in PEM form, that others have to come from.
func Authorities(name string) (*x509.CertPool, error) {
	text, err := ReadPublic(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", name)
	}
	return pool, nil
}
