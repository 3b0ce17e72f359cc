package dtls

import (
	"errors"
	"reflect"
)

// The library's own cookie stage keeps a connection for each hello, valid or not, so it
// comes too late to keep strangers out, and it cannot be left out either: then the library
// takes the client's second hello for its first, and the message numbers, which both
// Finished messages are computed over, do not fit. So each connection is led through that
// stage: it sees a hello without a cookie (hello.withoutCookie), its HelloVerifyRequest is
// swallowed, and then it sees the client's real second hello, with the cookie of ours that
// was checked before the connection existed. Neither the first hello nor the
// HelloVerifyRequest is part of what the Finished messages prove (RFC 6347, 4.2.1), so that
// client and library agree.
//
// All that is missing is that the library expects our cookie instead of the one it has
// drawn. It has no option for that, but reflect gives access to the octets of an unexported
// slice (not to the slice itself), which is enough and needs no package unsafe: what is not
// there, or is of another type, is an error here and cannot harm memory.

// cookieOctets finds the 20 octets of the cookie that conn, a *dtls.Conn, has sent and
// expects back: conn.state.cookie.
func cookieOctets(conn any) ([]byte, error) {
	v := reflect.ValueOf(conn)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, errLayout
	}
	v = v.Elem().FieldByName("state")
	if !v.IsValid() || v.Kind() != reflect.Struct {
		return nil, errLayout
	}
	v = v.FieldByName("cookie")
	if !v.IsValid() || v.Kind() != reflect.Slice || v.Type().Elem().Kind() != reflect.Uint8 {
		return nil, errLayout
	}
	return v.Bytes(), nil
}

// errLayout tells a developer, by way of the tests, that the library has changed.
var errLayout = errors.New("the DTLS library does not keep its cookie where this version of the gateway expects it: build it with the version in go.mod")

// adoptCookie makes conn expect cookie. It must be called while conn writes its
// HelloVerifyRequest, on the goroutine that does: the same one draws the cookie before and
// compares it after.
func adoptCookie(conn any, cookie []byte) error {
	octets, err := cookieOctets(conn)
	if err != nil {
		return err
	}
	if len(octets) != len(cookie) {
		return errLayout
	}
	copy(octets, cookie)
	return nil
}
