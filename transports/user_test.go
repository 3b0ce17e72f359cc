package transports

import (
	"strings"
	"testing"
)

func TestValidateUser(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "plant": true, "Halle 3/Wärme": true, strings.Repeat("x", MaxUser): true,
		strings.Repeat("x", MaxUser+1): false, "a\nb": false, "a\x00": false, "\x7f": false, "\xff": false,
	} {
		if err := ValidateUser(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
