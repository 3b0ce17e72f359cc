package dtls

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of a psk_file. RFC 4279 (5.3) has servers take identities of 128 and keys of 64
// octets.
const (
	maxIdentity = 128
	maxKey      = 64
	goodKey     = 16 // octets; below it a key can be guessed from one recorded handshake
)

// keys are the pre-shared keys by identity.
type keys struct {
	byIdentity map[string]pair
	// rotating: some identity has two keys. All are treated as if they had two then, so
	// that the time which that takes tells nobody which these are.
	rotating bool
	// stranger makes the keys of identities that have none, so that nobody can tell them
	// apart from those that have.
	stranger []byte
	// weak names the identities with keys below goodKey octets, at most maxWeak of them.
	weak      []string
	weakCount int
}

const maxWeak = 5

// pair is the keys of an identity, in the order of the file; the second is nil unless the
// device is about to get another, or has just got it.
type pair [2][]byte

func newKeys() *keys {
	k := &keys{byIdentity: map[string]pair{}, stranger: make([]byte, sha256.Size)}
	_, _ = rand.Read(k.stranger) // it never fails: crypto/rand ends the program first
	return k
}

// readKeys reads Mosquitto's psk_file format: "identity:hexkey" lines, and comments after
// a # at the beginning of a line. Unlike Mosquitto it takes nothing that it does not
// understand: an error names the line, never its key. An identity may have two lines.
func readKeys(r io.Reader) (*keys, error) {
	k := newKeys()
	lines := map[string]int{}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 512), 4096)
	number := 0
	for in.Scan() {
		number++
		line := strings.TrimRight(in.Text(), " \t\r")
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // some editors begin a file with it
		}
		if line == "" || line[0] == '#' {
			continue
		}
		identity, key, err := readKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		before := k.byIdentity[identity]
		switch {
		case before[1] != nil:
			return nil, fmt.Errorf("line %d: identity %q has two keys already, the first in line %d: remove the oldest", number, identity, lines[identity])
		case bytes.Equal(before[0], key):
			return nil, fmt.Errorf("line %d: identity %q has this key already, in line %d", number, identity, lines[identity])
		case before[0] != nil:
			k.byIdentity[identity] = pair{before[0], key}
			k.rotating = true
		default:
			lines[identity] = number
			k.byIdentity[identity] = pair{key}
		}
		if len(key) < goodKey {
			if k.weakCount++; k.weakCount <= maxWeak {
				k.weak = append(k.weak, fmt.Sprintf("%q (line %d)", identity, number))
			}
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if len(k.byIdentity) == 0 {
		return nil, errors.New("it has no key: write a line identity:hexkey for each device")
	}
	return k, nil
}

func readKey(line string) (identity string, key []byte, err error) {
	identity, digits, found := strings.Cut(line, ":")
	switch {
	case !found:
		return "", nil, errors.New("there is no colon: write identity:hexkey")
	case identity == "":
		return "", nil, errors.New("there is no identity before the colon")
	case len(identity) > maxIdentity:
		return "", nil, fmt.Errorf("the identity has %d octets: at most %d", len(identity), maxIdentity)
	case !utf8.ValidString(identity) || strings.ContainsFunc(identity, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", nil, errors.New("the identity is not text in UTF-8")
	}
	// The errors of hex would show digits of the key.
	if key, err = hex.DecodeString(digits); err != nil {
		return "", nil, fmt.Errorf("the key of %q is not an even number of hexadecimal digits", identity)
	}
	if len(key) == 0 || len(key) > maxKey {
		return "", nil, fmt.Errorf("the key of %q has %d octets: 1 to %d, better %d or more", identity, len(key), maxKey, goodKey)
	}
	return identity, key, nil
}

// has reports whether the identity has a key.
func (k *keys) has(identity string) bool { return k.byIdentity[identity][0] != nil }

// find returns the keys of an identity. One that has none gets a key that nobody knows, and
// always the same, after the same work: its handshake goes as that of a known one with a
// wrong key. The second key is not nil if any identity has two.
func (k *keys) find(identity []byte) (found pair, known bool) {
	mac := hmac.New(sha256.New, k.stranger)
	mac.Write(identity)
	var sum [sha256.Size]byte
	unknown := mac.Sum(sum[:0])
	found, known = k.byIdentity[string(identity)]
	if !known {
		found[0] = unknown[:goodKey]
	}
	if found[1] == nil && k.rotating {
		found[1] = unknown[goodKey:]
	}
	return found, known
}
