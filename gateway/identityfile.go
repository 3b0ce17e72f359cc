package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mqttsn-gateway/gateway/secret"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/transports"
)

// An identity file says which ClientIDs the devices may use that have proven an identity,
// and which users they are:
//
//	# identity      ClientID        user
//	pump-7.example  pump-7          pumps
//	"Halle 3"       hall-3
//	spare           pump-8
//	spare           pump-9
//
// Fields are separated by spaces and tabs; one that holds such, or begins with # or a double
// quote, is written as a Go string in double quotes. What follows a field that begins with #
// is a comment. An identity may have several ClientIDs, in as many lines, but one user; a
// ClientID has one identity.

// Bounds of an identity file.
const (
	maxIdentityLine = 4096 // octets
	maxIdentity     = 512  // octets
)

// identityMap is an identity file, read. It is not changed after that.
type identityMap map[string]*identityEntry

// identityEntry is what a file says of an identity.
type identityEntry struct {
	clientIDs []string
	user      string // "" if the identity itself is the user
	line      int    // where the user is, or the identity first
}

// identities are what a file says, by identity, and which ClientIDs it gives to somebody.
type identities struct {
	by        identityMap
	clientIDs map[string]struct{}
}

func newIdentities(m identityMap) *identities {
	all := &identities{by: m, clientIDs: make(map[string]struct{}, len(m))}
	for _, e := range m {
		for _, id := range e.clientIDs {
			all.clientIDs[id] = struct{}{}
		}
	}
	return all
}

// readIdentityFile reads a file. Errors name it, and the line.
func readIdentityFile(name string, o *session.Options) (identityMap, error) {
	text, err := secret.Read(name)
	if err != nil {
		return nil, err
	}
	m, err := parseIdentities(text, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func parseIdentities(text []byte, o *session.Options) (identityMap, error) {
	m, owners := identityMap{}, map[string]int{}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors begin a file with it
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if err := m.add(number, bytes.TrimRight(line, "\r\n"), owners, o); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return m, nil
}

// add takes a line. owners has the line of each ClientID.
func (m identityMap) add(number int, line []byte, owners map[string]int, o *session.Options) error {
	if len(line) > maxIdentityLine {
		return fmt.Errorf("it has %d octets: at most %d", len(line), maxIdentityLine)
	}
	fields, err := identityFields(string(line))
	if err != nil || len(fields) == 0 {
		return err
	}
	if len(fields) < 2 || len(fields) > 3 {
		return fmt.Errorf("it has %d fields: write an identity, a ClientID and perhaps a user", len(fields))
	}
	identity, clientID, user := fields[0], fields[1], ""
	if len(fields) == 3 {
		user = fields[2]
	}
	switch {
	case identity == "" || len(identity) > maxIdentity || !plainText(identity):
		return fmt.Errorf("%.80q is not an identity: 1 to %d octets of UTF-8 without control characters", identity, maxIdentity)
	case !o.AcceptsClientID([]byte(clientID)) || !plainText(clientID):
		return fmt.Errorf("%.80q is not a ClientID: 1 to %d octets of UTF-8 without control characters", clientID, o.MaxClientID)
	case len(fields) == 3 && user == "":
		return errors.New("the user is empty: leave it out, and the identity is the user")
	case owners[clientID] != 0:
		return fmt.Errorf("the ClientID %q has an identity already, in line %d", clientID, owners[clientID])
	}
	if err := transports.ValidateUser(user); err != nil {
		return err
	}
	owners[clientID] = number
	e := m[identity]
	if e == nil {
		e = &identityEntry{line: number}
		m[identity] = e
	}
	switch {
	case user == "" || user == e.user:
	case e.user != "":
		return fmt.Errorf("the identity %q is user %q in line %d: it cannot be %q, too", identity, e.user, e.line, user)
	default:
		e.user, e.line = user, number
	}
	e.clientIDs = append(e.clientIDs, clientID)
	return nil
}

// identityFields are the fields of a line, without its comment.
func identityFields(line string) (fields []string, err error) {
	const blank = " \t"
	for rest := strings.TrimLeft(line, blank); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, blank) {
		end := strings.IndexAny(rest, blank)
		if end < 0 {
			end = len(rest)
		}
		field := rest[:end]
		if rest[0] == '"' {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, errors.New("a field in double quotes does not end, or has an escape that Go does not know")
			}
			if end = len(quoted); end < len(rest) && !strings.ContainsRune(blank, rune(rest[end])) {
				return nil, errors.New("a field in double quotes is followed by something else than a space")
			}
			field, _ = strconv.Unquote(quoted)
		}
		fields, rest = append(fields, field), rest[end:]
	}
	return fields, nil
}

// plainText reports whether s is UTF-8 without control characters.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
