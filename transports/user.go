package transports

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxUser is how many octets the name of a user may have.
const MaxUser = 256

// ValidateUser reports what is wrong with the name of a user; "" is anonymous and allowed.
func ValidateUser(name string) error {
	if len(name) > MaxUser || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%.80q is not the name of a user: up to %d octets of UTF-8 without control characters", name, MaxUser)
	}
	return nil
}
