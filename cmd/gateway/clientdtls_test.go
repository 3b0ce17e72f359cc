package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"mqttsn-gateway/config"
)

// startSecure runs a gateway that listens for DTLS and returns its port.
func startSecure(t *testing.T, settings ...config.Setting) (port string) {
	t.Helper()
	announced, _ := start(t, append(settings, config.Setting{Key: "dtls.listeners", Value: "127.0.0.1:0"})...)
	m := regexp.MustCompile(`dtls 127\.0\.0\.1:(\d+)`).FindStringSubmatch(announced)
	if m == nil {
		t.Fatalf("announced: %s", announced)
	}
	return m[1]
}

func writeSecret(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	keyLine1 = "sensor-1:00112233445566778899aabbccddeeff\n"
	keyLine2 = "sensor-2:ffeeddccbbaa99887766554433221100\n"
)

// certify makes a certificate for that name, signed by an authority or by itself, and its
// files. All are for 127.0.0.1.
func certify(t *testing.T, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (cert *x509.Certificate, key *ecdsa.PrivateKey, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if by == nil {
		by, byKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert, key, writeSecret(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		writeSecret(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// pubSub publishes a retained message and collects it.
func pubSub(t *testing.T, pubFlags, subFlags []string) (warnings string) {
	t.Helper()
	_, warnings, err := tool(t, pubCommand(), "", append(pubFlags, "-t", "a/b", "-m", "hi", "-q", "1", "-r")...)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := tool(t, subCommand(), "", append(subFlags, "-t", "a/b", "-q", "1", "-v", "-C", "1", "-W", "20")...)
	if err != nil || out != "a/b: hi\n" {
		t.Fatalf("%v, stdout %q", err, out)
	}
	return warnings
}

// TestSecureKeys: with pre-shared keys, and the gateway's own rule that the ClientID is
// the identity.
func TestSecureKeys(t *testing.T) {
	both, one := writeSecret(t, "both", keyLine1+keyLine2), writeSecret(t, "one", keyLine2)
	port := startSecure(t, config.Setting{Key: "dtls.psk_file", Value: both})
	if warnings := pubSub(t, []string{"--psk-file", both, "--psk-identity", "sensor-1", "-p", port}, []string{"--dtls", "--psk-file", one, "-c", "-p", port}); warnings != "" {
		t.Errorf("stderr %q", warnings)
	}
	// QoS -1 is not acknowledged, so it is said again until it is heard.
	eventually(t, func() bool {
		if _, _, err := tool(t, pubCommand(), "", "--psk-file", one, "-p", port, "-t", "ab", "-m", "lo", "-q", "-1", "-r"); err != nil {
			t.Fatal(err)
		}
		out, _, _ := tool(t, subCommand(), "", "--psk-file", one, "-p", port, "-t", "ab", "-1", "-W", "1")
		return out == "lo\n"
	}, func() string { return "QoS -1 was not heard" })
	_, log, err := tool(t, pubCommand(), "", "--psk-file", one, "-p", port, "-t", "ab", "-n", "-i", "sensor-1")
	if want := `the gateway may want the client id "sensor-2", the name that the key or certificate is for (leave -i out)`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, stderr %q, want %s", err, log, want)
	}
}

// TestSecureCertificates: with the gateway's certificate, and with one of the client too.
func TestSecureCertificates(t *testing.T) {
	ca, caKey, caFile, _ := certify(t, "test CA", nil, nil)
	_, _, certFile, keyFile := certify(t, "gateway", ca, caKey)
	_, _, ownCert, ownKey := certify(t, "meter-1", ca, caKey)
	gateway := []config.Setting{{Key: "dtls.certificate_file", Value: certFile}, {Key: "dtls.key_file", Value: keyFile}}
	port := startSecure(t, gateway...)
	trusting := []string{"--cafile", caFile, "-p", port}
	pubSub(t, trusting, trusting)

	port = startSecure(t, append(gateway, config.Setting{Key: "dtls.client_certificates", Value: "required"}, config.Setting{Key: "dtls.client_ca_file", Value: caFile})...)
	known := []string{"--cafile", caFile, "--cert", ownCert, "--key", ownKey, "-p", port}
	pubSub(t, known, known)
	_, _, err := tool(t, pubCommand(), "", append(known, "-t", "ab", "-n", "-i", "meter-2")...)
	if want := `may want the client id "meter-1"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	_, _, err = tool(t, pubCommand(), "", "--cafile", caFile, "-p", port, "-t", "ab", "-n")
	if want := "give --cert and --key"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	_, _, foreignCert, foreignKey := certify(t, "meter-1", nil, nil)
	_, _, err = tool(t, pubCommand(), "", "--cafile", caFile, "--cert", foreignCert, "--key", foreignKey, "-p", port, "-t", "ab", "-n")
	if want := "has to be from the authority in the gateway's dtls.client_ca_file"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestSecureInsecure: a gateway's makeshift certificate is not trusted, unless one insists.
func TestSecureInsecure(t *testing.T) {
	port := startSecure(t)
	_, _, err := tool(t, pubCommand(), "", "--dtls", "-p", port, "-t", "ab", "-n")
	if want := "name the file of the authority that it is from with --cafile"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if warnings := pubSub(t, []string{"--insecure", "-p", port}, []string{"--insecure", "-p", port}); !strings.Contains(warnings, "is not checked (--insecure)") {
		t.Errorf("stderr %q", warnings)
	}
}

// TestSecureErrors: each way to go wrong has a message that says what to do.
func TestSecureErrors(t *testing.T) {
	both, one := writeSecret(t, "both", keyLine1+keyLine2), writeSecret(t, "one", keyLine1)
	wrong, unknown := writeSecret(t, "wrong", strings.Replace(keyLine1, "00", "01", 1)), writeSecret(t, "unknown", strings.Replace(keyLine1, "sensor-1", "sensor-x", 1))
	_, _, certFile, keyFile := certify(t, "gateway", nil, nil)
	keys := startSecure(t, config.Setting{Key: "dtls.psk_file", Value: both})
	certs := startSecure(t, config.Setting{Key: "dtls.certificate_file", Value: certFile}, config.Setting{Key: "dtls.key_file", Value: keyFile})
	closed, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, nobody, _ := net.SplitHostPort(closed.LocalAddr().String())
	_ = closed.Close()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, silentPort, _ := net.SplitHostPort(silent.LocalAddr().String())
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(shared, []byte(keyLine1), 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--psk-file " + wrong + " -p " + keys:                        `has another key for it: alert 51 (decrypt error): compare the line of "sensor-1" in ` + wrong,
		"--psk-file " + unknown + " -p " + keys:                      `the server does not know that identity, or has another key for it: alert 51 (decrypt error): compare the line of "sensor-x"`,
		"--cafile " + certFile + " -p " + keys:                       "try --psk-file",
		"--psk-file " + one + " -p " + certs:                         "it may have no dtls.psk_file: try --cafile",
		"--dtls -p " + certs:                                         "with --cafile (the certificate itself will do)",
		"--dtls -h localhost --cafile " + certFile + " -p " + certs:  "use the host name that it is for with -h",
		"--psk-file " + one + " -p " + nobody:                        "nothing listens on UDP 127.0.0.1:" + nobody + ": is the gateway running there with --dtls?",
		"--psk-file " + one + " --t-retry 20ms -p " + silentPort:     "no answer: context deadline exceeded: nothing more within 80ms; does a gateway listen for DTLS there (gateway --dtls)",
		"--psk-file " + one + " -h no.such.host.invalid":             "host no.such.host.invalid is not known (--host)",
		"--psk-file " + both:                                         both + " has the keys of 2 identities: say which is meant (--psk-file, --psk-identity)",
		"--psk-file " + one + " --psk-identity sensor-2":             `has no key for "sensor-2"`,
		"--psk-file " + shared:                                       "chmod 600",
		"--psk-file /none":                                           "open /none",
		"--psk-identity sensor-1":                                    "--psk-identity needs --psk-file",
		"--psk-file " + one + " --cafile " + certFile:                "--cafile and --psk-file do not go together",
		"--psk-file " + one + " --insecure":                          "--insecure and --psk-file do not go together",
		"--psk-file " + one + " --dtls=false":                        "--psk-file needs DTLS",
		"--psk-file " + one + " --fe":                                "--fe and --dtls do not go together",
		"--cert " + certFile:                                         "--cert and --key need each other",
		"--key " + keyFile:                                           "--cert and --key need each other",
		"--cert " + certFile + " --key /none":                        "--key: open /none",
		"--cert /none --key " + keyFile:                              "--cert: open /none",
		"--insecure --cafile " + certFile:                            "either --cafile or --insecure",
		"--cafile /none":                                             "--cafile: open /none",
		"--psk-file " + one + " -p " + keys + " --id a --will-qos 1": "--will-qos needs --will-topic",
	} {
		_, _, err := tool(t, pubCommand(), "", append(strings.Fields(args), "-t", "ab", "-m", "x")...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "00112233") {
			t.Errorf("%s: a key in the error: %v", args, err)
		}
	}

	// A message that no datagram takes.
	_, _, err = tool(t, pubCommand(), strings.Repeat("x", 9000), "--psk-file", one, "-p", keys, "-t", "ab", "-s")
	if err == nil || !strings.Contains(err.Error(), "does not fit into a datagram (dtls: the message has more than 8128 octets") {
		t.Errorf("9000 octets: %v", err)
	}
	// -W is for the handshake too.
	_, _, err = tool(t, subCommand(), "", "--psk-file", one, "-p", silentPort, "-t", "ab", "-W", "1")
	if err == nil || exitStatus(err) != 27 {
		t.Errorf("-W: %v, exit status %d", err, exitStatus(err))
	}
}

// TestSecureEnd: a goodbye of the gateway's DTLS, without one of MQTT-SN before.
func TestSecureEnd(t *testing.T) {
	f := clientFlags{host: "127.0.0.1", port: 1, secure: secureFlags{on: true}}
	for _, err := range []error{io.EOF, net.ErrClosed} {
		if got := f.explain(err); !strings.Contains(got.Error(), "the gateway at 127.0.0.1:1 has ended the DTLS connection") {
			t.Error(got)
		}
	}
}

// TestSecureDefaults: the port is that of DTLS and the id the identity, unless given.
func TestSecureDefaults(t *testing.T) {
	one := writeSecret(t, "one", keyLine1)
	for _, c := range []struct {
		args, id string
		port     uint16
	}{
		{"-i me", "me", 1883},
		{"-i me --dtls", "me", 8883},
		{"--psk-file " + one, "sensor-1", 8883},
		{"--psk-file " + one + " -i me -p 1883", "me", 1883},
	} {
		var f clientFlags
		flags := pflag.NewFlagSet("pub", pflag.ContinueOnError)
		f.add(flags, "pub")
		if err := flags.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		if err := f.check(flags); err != nil || f.port != c.port || f.id != c.id {
			t.Errorf("%s: %v, port %d, id %q", c.args, err, f.port, f.id)
		}
	}
}
