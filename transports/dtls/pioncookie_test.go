package dtls

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pion/dtls/v3"
)

// TestCookieLayout fails when the library's layout has changed: then look for state.cookie
// in its flight0Generate and flight2Parse, and read pioncookie.go again.
func TestCookieLayout(t *testing.T) {
	c, err := dtls.ServerWithOptions(newAir().open("192.0.2.1:1"), &path{}, dtls.WithPSK(func([]byte) ([]byte, error) { return nil, nil }),
		dtls.WithCipherSuites(suites...))
	if err == nil {
		_, err = cookieOctets(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	// That its cookie is the one that it compares, and has that length, shows in every
	// handshake of the other tests; see TestOwnCookie.
}

// TestOwnCookie: without adoptCookie the library refuses the client's second hello.
func TestOwnCookie(t *testing.T) {
	type state struct{ cookie []byte }
	type conn struct{ state state }
	c := &conn{state{make([]byte, cookieSize)}}
	ours := bytes.Repeat([]byte{7}, cookieSize)
	if err := adoptCookie(c, ours); err != nil || !bytes.Equal(c.state.cookie, ours) {
		t.Errorf("%v, %x", err, c.state.cookie)
	}
	if err := adoptCookie(c, ours[1:]); !errors.Is(err, errLayout) {
		t.Errorf("a cookie of another length: %v", err)
	}
}

func TestOtherLayouts(t *testing.T) {
	type text struct{ cookie string }
	type numbers struct{ cookie []uint16 }
	type array struct{ cookie [cookieSize]byte }
	for _, conn := range []any{
		nil, 1, "x", struct{}{}, &struct{}{}, (*struct{ state struct{ cookie []byte } })(nil),
		&struct{ state int }{}, &struct{ state struct{} }{}, &struct{ state *array }{state: &array{cookie: [cookieSize]byte{}}},
		&struct{ state text }{text{cookie: "x"}}, &struct{ state numbers }{numbers{cookie: nil}}, &struct{ state array }{},
	} {
		if _, err := cookieOctets(conn); !errors.Is(err, errLayout) {
			t.Errorf("%T: %v", conn, err)
		}
	}
}
