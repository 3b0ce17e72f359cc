package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxUser bounds user names, in octets: it is what MQTT can carry.
const maxUser = 65535

// blanks are what Mosquitto takes for white space.
const blanks = " \t\v\f\r\n"

// parsePasswords reads the text of a password_file. Its errors begin with the line.
//
// Mosquitto skips lines that it does not understand; here they are errors, since each is a
// user that somebody believes in, or worse, one that nobody does (CVE-2018-12551).
func parsePasswords(text string) (*passwords, error) {
	p := newPasswords()
	lines := make(map[string]int)
	number := 0
	for line := range strings.Lines(text) {
		number++
		user, rest, ok, err := splitUser(line)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
		if !ok {
			continue
		}
		if first := lines[user]; first != 0 {
			return nil, fmt.Errorf("%d: user %q is in line %d as well", number, user, first)
		}
		lines[user] = number
		e := &entry{user: strings.Clone(user)} // or all of the text would stay in memory
		if e.hash, err = parseHash(rest); err != nil {
			return nil, fmt.Errorf("%d: user %q: %w", number, user, err)
		}
		p.byUser[e.user] = e
		p.all = append(p.all, e)
	}
	return p, nil
}

// splitUser splits a line of a password_file at its colon; ok is false if it is empty or a
// comment.
func splitUser(line string) (user, rest string, ok bool, err error) {
	if strings.HasPrefix(line, "#") || strings.Trim(line, blanks) == "" {
		return "", "", false, nil
	}
	user, rest, found := strings.Cut(line, ":")
	if !found {
		return "", "", false, errors.New("there is no colon: allowed is USER:HASH, or # and a comment")
	}
	user, rest = strings.Trim(user, blanks), strings.Trim(rest, blanks)
	return user, rest, true, ValidUser(user)
}

// ValidUser says what is wrong with a user name for a password_file.
func ValidUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user name is empty")
	case len(user) > maxUser:
		return fmt.Errorf("the user name is longer than %d octets", maxUser)
	case !utf8.ValidString(user):
		return errors.New("the user name is not UTF-8 text")
	case strings.Contains(user, ":"), strings.ContainsFunc(user, unicode.IsControl):
		return fmt.Errorf("user name %q has a colon or a control character in it", user)
	case strings.Trim(user, blanks) != user, strings.HasPrefix(user, "#"):
		return fmt.Errorf("user name %q begins with # or a blank, or ends with one", user)
	}
	return nil
}
