package dtls

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"
)

// cookieSize is that of the library, which takes no other (see adoptCookie).
const cookieSize = 20

// cookieLife is how long a key makes cookies; they are taken as long again. A client has
// that time for its second hello. It is short since who sees a cookie can use it again.
const cookieLife = time.Minute

// maxAnswer is the most that a ClientHello from an unknown address is answered with: a
// HelloVerifyRequest. The shortest ClientHello has 67 octets.
const maxAnswer = recordHeader + handshakeHeader + 3 + cookieSize

// cookies makes and knows cookies without remembering any (RFC 6347, 4.2.1): each is a
// keyed hash of the client's address and the core parameters of its hello. One goroutine
// uses it.
type cookies struct {
	current, previous hash.Hash
	since             time.Time // when current's key was made
	sum               [sha256.Size]byte
}

func newCookies(now time.Time) *cookies {
	return &cookies{current: newCookieKey(), previous: newCookieKey(), since: now}
}

func newCookieKey() hash.Hash {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it never fails: crypto/rand ends the program first
	return hmac.New(sha256.New, key)
}

// rotate replaces a key that has served its time.
func (c *cookies) rotate(now time.Time) {
	age := now.Sub(c.since)
	if age < cookieLife {
		return
	}
	c.previous = c.current
	if age >= 2*cookieLife {
		c.previous = newCookieKey()
	}
	c.current, c.since = newCookieKey(), now
}

// bake makes the cookie of a hello. It is valid until the next call.
func (c *cookies) bake(now time.Time, from netip.AddrPort, h hello) []byte {
	c.rotate(now)
	return c.hash(c.current, from, h)
}

// know reports whether the cookie that h carries is ours and not too old.
func (c *cookies) know(now time.Time, from netip.AddrPort, h hello) bool {
	c.rotate(now)
	if len(h.cookie()) != cookieSize {
		return false
	}
	return subtle.ConstantTimeCompare(h.cookie(), c.hash(c.current, from, h)) == 1 ||
		subtle.ConstantTimeCompare(h.cookie(), c.hash(c.previous, from, h)) == 1
}

func (c *cookies) hash(key hash.Hash, from netip.AddrPort, h hello) []byte {
	key.Reset()
	addr := from.Addr().As16()
	key.Write(addr[:])
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], from.Port())
	key.Write(port[:])
	key.Write(h.body[:h.cookieAt])
	key.Write(h.body[h.cookieEnd:h.coreEnd])
	return key.Sum(c.sum[:0])[:cookieSize]
}

// appendVerifyRequest appends the HelloVerifyRequest that answers h. It has version 1.0 as
// RFC 6347 asks of servers of any version, and h's own record number, so that it needs no
// counter.
func appendVerifyRequest(b []byte, h hello, cookie []byte) []byte {
	length := 3 + len(cookie)
	b = appendHeader(b, typeHandshake, versionDTLS10, h.seq, handshakeHeader+length)
	b = appendMessageHeader(b, helloVerifyRequest, 0, length)
	b = binary.BigEndian.AppendUint16(b, versionDTLS10)
	b = append(b, byte(len(cookie)))
	return append(b, cookie...)
}
