package transports

import (
	"strings"
	"testing"
)

func TestValidateListen(t *testing.T) {
	for _, good := range []string{"127.0.0.1:1883", ":0", "[::1]:8883", "[fe80::1%eth0]:1883", "localhost:1883"} {
		if err := ValidateListen(good, "1883"); err != nil {
			t.Error(err)
		}
	}
	for bad, want := range map[string]string{
		"1883":              `"1883" is not allowed: it is no HOST:PORT; write HOST:PORT, such as 127.0.0.1:8883, [::1]:8883 or :8883 for`,
		"":                  "it is no HOST:PORT",
		"127.0.0.1:1000000": "the port is not a number",
		":mqtt":             "the port is not a number",
		"225.1.1.1:1883":    "it is a group address",
		"[ff02::1]:1883":    "it is a group address",
	} {
		if err := ValidateListen(bad, "8883"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}
