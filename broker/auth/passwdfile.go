package auth

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultIterations is what "gateway passwd" hashes with: a password costs half a millisecond
// of a core, here the first time that a client connects, in Mosquitto each time. So one core
// keeps up with the default connect_rate when all clients come back after a restart.
// mosquitto_passwd 2.0 takes 101.
const DefaultIterations = 1000

// Hashing says how passwords are hashed.
type Hashing struct {
	// Iterations of PBKDF2, 1 to 10000000; 0 is salted SHA-512 instead, which is for
	// Mosquitto before 2.0 and tells more to whoever gets hold of the file.
	Iterations int
}

// Validate reports what is wrong with h.
func (h Hashing) Validate() error {
	if h.Iterations < 0 || h.Iterations > maxIterations {
		return fmt.Errorf("%d iterations are given; allowed are 1 to %d", h.Iterations, maxIterations)
	}
	return nil
}

// SetPassword returns the text of a password_file with the password of a user set, who is
// added at the end if not there. All other lines stay as they are.
func SetPassword(text, user string, password []byte, h Hashing) (string, error) {
	if err := errors.Join(ValidUser(user), validPassword(password), h.Validate()); err != nil {
		return "", err
	}
	line := user + ":" + newHash(password, h.Iterations).String() + "\n"
	text, found, err := replaceUser(text, user, line)
	if !found && err == nil {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += line
	}
	return text, err
}

// RemoveUser returns the text of a password_file without a user.
func RemoveUser(text, user string) (string, error) {
	text, found, err := replaceUser(text, user, "")
	if !found && err == nil {
		err = fmt.Errorf("there is no user %q", user)
	}
	return text, err
}

// replaceUser returns text with another line for a user.
func replaceUser(text, user, with string) (changed string, found bool, err error) {
	if _, err := parsePasswords(text); err != nil {
		return "", false, err
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if name, _, ok, _ := splitUser(line); ok && name == user {
			line, found = with, true
		}
		b.WriteString(line)
	}
	return b.String(), found, nil
}

// HashPlain returns the text of a password_file with hashes in place of plain passwords, and
// how many there were. What is a hash already stays as it is.
func HashPlain(text string, h Hashing) (changed string, n int, err error) {
	if err := h.Validate(); err != nil {
		return "", 0, err
	}
	var b strings.Builder
	number := 0
	for line := range strings.Lines(text) {
		number++
		user, rest, ok, err := splitUser(line)
		if err != nil {
			return "", 0, fmt.Errorf("%d: %w", number, err)
		}
		if _, err := parseHash(rest); ok && err != nil {
			if strings.HasPrefix(rest, "$6$") || strings.HasPrefix(rest, "$7$") {
				return "", 0, fmt.Errorf("%d: user %q: neither a hash (%w) nor a plain password", number, user, err)
			}
			if err := validPassword([]byte(rest)); err != nil {
				return "", 0, fmt.Errorf("%d: user %q: %w", number, user, err)
			}
			line = user + ":" + newHash([]byte(rest), h.Iterations).String() + "\n"
			n++
		}
		b.WriteString(line)
	}
	_, err = parsePasswords(b.String())
	return b.String(), n, err
}

// validPassword says what is wrong with a password.
func validPassword(password []byte) error {
	const longest = 65535 // what MQTT can carry
	switch {
	case len(password) == 0:
		return errors.New("the password is empty")
	case len(password) > longest:
		return fmt.Errorf("the password is longer than %d octets", longest)
	case strings.ContainsAny(string(password), "\x00\r\n"):
		return errors.New("the password has a line break or a NUL in it")
	}
	return nil
}
