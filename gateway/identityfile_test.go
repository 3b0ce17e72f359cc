package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/session"
)

func TestIdentityFile(t *testing.T) {
	o := session.DefaultOptions()
	m, err := parseIdentities([]byte("\ufeff# all of them\r\n"+
		"pump-7.example\tpump-7  pumps # a comment\r\n"+
		"\n"+
		"   \"Halle 3\" \"hall 3\"\n"+
		"spare pump-8\n"+
		"spare pump-9 spares\n"+
		"spare \"#10\" spares\n"+
		`"a\"b" "\u00fc" #`), &o)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"pump-7.example": "[pump-7] pumps", "Halle 3": "[hall 3] ", "spare": "[pump-8 pump-9 #10] spares", `a"b`: "[ü] ",
	}
	got := map[string]string{}
	for identity, e := range m {
		got[identity] = fmt.Sprint(e.clientIDs, " ", e.user)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestIdentityFileErrors(t *testing.T) {
	o := session.DefaultOptions()
	for text, want := range map[string]string{
		"a\n":                           "line 1: it has 1 fields",
		"# x\n\na b c d\n":              "line 3: it has 4 fields",
		"a b\nc b\n":                    `line 2: the ClientID "b" has an identity already, in line 1`,
		"a b\na b\n":                    `line 2: the ClientID "b" has an identity already, in line 1`,
		"a b u\na c\na d v\n":           `line 3: the identity "a" is user "u" in line 1: it cannot be "v", too`,
		"a b\na c u\na d v\n":           `line 3: the identity "a" is user "u" in line 2`,
		`"a b`:                          "line 1: a field in double quotes does not end",
		`"a\q" b`:                       "line 1: a field in double quotes does not end, or has an escape",
		`"a"#b`:                         "line 1: a field in double quotes is followed by",
		`"a"b c`:                        "line 1: a field in double quotes is followed by",
		`"" b`:                          `line 1: "" is not an identity`,
		`a ""`:                          `line 1: "" is not a ClientID`,
		`a b ""`:                        "line 1: the user is empty",
		"a\x00 b":                       "is not an identity",
		"\xff b":                        "is not an identity",
		"a \xff":                        "is not a ClientID",
		`a "b\n"`:                       "is not a ClientID",
		`a b "c\x01"`:                   "is not the name of a user",
		strings.Repeat("i", 513) + " b": "is not an identity: 1 to 512 octets",
		"a " + strings.Repeat("c", 257): "is not a ClientID: 1 to 256 octets",
		strings.Repeat("x", 5000):       "line 1: it has 5000 octets: at most 4096",
	} {
		if _, err := parseIdentities([]byte(text), &o); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if filepath.Base(name) == name {
		name = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Whatever is read is what its own text says, in another order.
func FuzzIdentityFile(f *testing.F) {
	for _, text := range []string{"", "a b", "a b c\na d # e", "\"a b\"\t\"\\u00fc\"", "\ufeff#\r\na b\r\n", "a b\na b"} {
		f.Add(text)
	}
	o := session.DefaultOptions()
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseIdentities([]byte(text), &o)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("the error %q names no line", err)
			}
			return
		}
		var lines []string
		for identity, e := range m {
			for _, id := range e.clientIDs {
				line := strconv.Quote(identity) + " " + strconv.Quote(id)
				if e.user != "" {
					line += " " + strconv.Quote(e.user)
				}
				lines = append(lines, line)
			}
		}
		again, err := parseIdentities([]byte(strings.Join(lines, "\n")), &o)
		if err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		for identity, e := range m {
			a := again[identity]
			if a == nil || a.user != e.user || !slices.Equal(a.clientIDs, e.clientIDs) {
				t.Errorf("%q became %+v, was %+v", identity, a, e)
			}
		}
		if len(again) != len(m) {
			t.Errorf("%d identities became %d", len(m), len(again))
		}
	})
}
