package remote

import (
	"crypto/tls"
	"io"
	"testing"

	"mqttsn-gateway/test/pki"
)

// BenchmarkDial is what a connection over TLS 1.3 costs, both ends together, with ECDSA
// certificates of both, and what it costs to take up a session.
func BenchmarkDial(b *testing.B) {
	ca := pki.New(b, "authority")
	server, us := ca.Issue("broker", nil), ca.Issue("us", nil)
	e, resumed := listen(b, &tls.Config{
		Certificates: []tls.Certificate{server.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13,
	})
	go func() {
		for range resumed {
		}
	}()
	for _, resume := range []bool{false, true} {
		name := "full"
		if resume {
			name = "resumed"
		}
		b.Run(name, func(b *testing.B) {
			d := NewDialer(Options{Roots: ca.Pool()})
			for b.Loop() {
				if !resume {
					d = NewDialer(Options{Roots: ca.Pool()})
				}
				conn, err := d.Dial(b.Context(), e, &us.TLS)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Write([]byte("x")); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // the ticket came before
					b.Fatal(err)
				}
				_ = conn.Close()
			}
		})
	}
}
