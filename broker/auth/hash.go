package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of hashes. Mosquitto makes and takes salts of 12 octets.
const (
	saltSize      = 12
	maxSalt       = 64
	maxIterations = 10_000_000 // some seconds
)

// hash is the hash of one password, in one of mosquitto_passwd's formats:
//
//	$6$SALT$HASH             SHA-512 of password and salt
//	$7$ITERATIONS$SALT$HASH  PBKDF2 with HMAC-SHA-512
//
// with SALT and HASH in base64.
type hash struct {
	iterations int // 0: $6$
	salt       []byte
	sum        [sha512.Size]byte
}

// newHash hashes a password with a new salt; with 0 iterations in the format $6$.
func newHash(password []byte, iterations int) hash {
	h := hash{iterations: iterations, salt: make([]byte, saltSize)}
	_, _ = rand.Read(h.salt) // never fails
	h.sum = h.of(password)
	return h
}

func (h hash) of(password []byte) (sum [sha512.Size]byte) {
	if h.iterations == 0 {
		return sha512.Sum512(append(append(make([]byte, 0, len(password)+len(h.salt)), password...), h.salt...))
	}
	key, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(sum))
	if err != nil { // only if FIPS 140 mode does not allow it: then no password is right
		return sum
	}
	return [sha512.Size]byte(key)
}

// fits reports whether it is the hash of a password, in a time that does not depend on how
// much of it is right.
func (h hash) fits(password []byte) bool {
	sum := h.of(password)
	return sum != [sha512.Size]byte{} && subtle.ConstantTimeCompare(sum[:], h.sum[:]) == 1
}

// String is the hash as it stands in a password_file.
func (h hash) String() string {
	b64 := base64.StdEncoding.EncodeToString
	if h.iterations == 0 {
		return "$6$" + b64(h.salt) + "$" + b64(h.sum[:])
	}
	return fmt.Sprintf("$7$%d$%s$%s", h.iterations, b64(h.salt), b64(h.sum[:]))
}

// parseHash reads what String writes. Its errors do not show any of it.
func parseHash(text string) (hash, error) {
	var h hash
	fields := strings.Split(text, "$")
	switch {
	case len(fields) == 4 && fields[0] == "" && fields[1] == "6":
	case len(fields) == 5 && fields[0] == "" && fields[1] == "7":
		n, err := strconv.Atoi(fields[2])
		if err != nil || n < 1 || n > maxIterations {
			return h, fmt.Errorf("the number of iterations must be from 1 to %d", maxIterations)
		}
		h.iterations = n
	default:
		return h, errors.New("this is no hash: allowed are $6$SALT$HASH and $7$ITERATIONS$SALT$HASH; gateway passwd writes them, and makes them of plain passwords with -U")
	}
	var err error
	strict := base64.StdEncoding.Strict()
	if h.salt, err = strict.DecodeString(fields[len(fields)-2]); err != nil || len(h.salt) < saltSize || len(h.salt) > maxSalt {
		return h, fmt.Errorf("the salt must be %d to %d octets in base64", saltSize, maxSalt)
	}
	sum, err := strict.DecodeString(fields[len(fields)-1])
	if err != nil || len(sum) != len(h.sum) {
		return h, fmt.Errorf("the hash must be %d octets in base64", len(h.sum))
	}
	h.sum = [sha512.Size]byte(sum)
	return h, nil
}
