package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pskOf is the key of an identity in these tests, in hex.
func pskOf(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:16])
}

// pskFile has the keys of the identities.
func pskFile(t testing.TB, identities ...string) string {
	t.Helper()
	text := ""
	for _, identity := range identities {
		text += identity + ":" + pskOf(identity) + "\n"
	}
	return secretFile(t, "psk", text)
}

func secretFile(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withKey has s_client use a pre-shared key, with the cipher suite that constrained
// devices have.
func withKey(identity, key string) []string {
	return []string{"-psk_identity", identity, "-psk", key, "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0"}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	a.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of the test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := a.sign(t, a.cert, key.Public())
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = secretFile(t, "ca.pem", pemText("CERTIFICATE", der))
	return a
}

// sign makes the certificate, which is valid for an hour unless it says otherwise.
func (a *authority) sign(t testing.TB, c *x509.Certificate, key crypto.PublicKey) []byte {
	t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	c.NotBefore = c.NotAfter.Add(-2 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// certificate is what somebody shows, in files.
type certificate struct{ cert, key string }

// The kinds of certificates.
const (
	ecdsaKey = "ecdsa"
	rsaKey   = "rsa"
)

// issue certifies a name, for the gateway as well as for a device.
func (a *authority) issue(t testing.TB, kind, name string, notAfter time.Time) certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == rsaKey {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	der := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key.Public())
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		secretFile(t, "cert.pem", pemText("CERTIFICATE", der)),
		secretFile(t, "key.pem", pemText("PRIVATE KEY", pkcs8)),
	}
}

// newCertifiedTunnels is a listener with a certificate, to which devices show theirs. Those
// of dial are certified by that name.
func newCertifiedTunnels(t testing.TB, a *authority, kind, name string) *tunnels {
	t.Helper()
	own := a.issue(t, kind, "gateway.test", time.Time{})
	n := &tunnels{addr: freeAddr(t), usual: a.withCertificate(a.issue(t, kind, name, time.Time{}))}
	n.flags = append([]string{"--dtls", n.addr, "--set", "dtls.certificate_file=" + own.cert, "--set", "dtls.key_file=" + own.key,
		"--set", "dtls.client_certificates=required", "--set", "dtls.client_ca_file=" + a.file}, crowds...)
	return n
}

// withCertificate has s_client show a certificate, and look at the gateway's.
func (a *authority) withCertificate(c certificate) []string {
	return append(a.withoutCertificate(), "-cert", c.cert, "-key", c.key)
}

func (a *authority) withoutCertificate() []string {
	return []string{"-CAfile", a.file, "-verify_return_error", "-verify_ip", "127.0.0.1"}
}
