package dtls

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/secret"
)

func TestReadKeys(t *testing.T) {
	k, err := readKeys(strings.NewReader("# sensors\n\nsensor-1:00112233445566778899aabbccddeeff\r\n" +
		"Fühler 2:ABCDEF0123456789abcdef0123456789  \n# end\nlast:0102030405060708090a0b0c0d0e0f10"))
	if err != nil {
		t.Fatal(err)
	}
	if len(k.byIdentity) != 3 || k.weakCount != 0 {
		t.Errorf("%d identities, %d weak", len(k.byIdentity), k.weakCount)
	}
	key, known := k.find([]byte("Fühler 2"))
	if want, _ := hex.DecodeString("abcdef0123456789abcdef0123456789"); !known || !bytes.Equal(key[0], want) || key[1] != nil {
		t.Errorf("%x, %t", key, known)
	}
}

func TestReadKeysErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "no key",
		"# nothing\n":                    "no key",
		"ok:0011\nsensor-1\n":            "line 2: there is no colon",
		":0011":                          "line 1: there is no identity",
		"a:":                             `line 1: the key of "a" has 0 octets`,
		"a:001":                          `line 1: the key of "a" is not an even number`,
		"a:00zz":                         `line 1: the key of "a" is not an even number`,
		"a: 0011":                        `line 1: the key of "a" is not`,
		"a:00:11":                        `line 1: the key of "a" is not`,
		"a:0011\nb:22\na:0011":           `line 3: identity "a" has this key already, in line 1`,
		"a:0011\na:22\na:33":             `line 3: identity "a" has two keys already, the first in line 1`,
		"a\xff:0011":                     "line 1: the identity is not text",
		"a\tb:0011":                      "line 1: the identity is not text",
		strings.Repeat("x", 129) + ":00": "line 1: the identity has 129 octets: at most 128",
		"a:" + strings.Repeat("00", 65):  `line 1: the key of "a" has 65 octets`,
		"a:" + strings.Repeat("0", 5000): "line 1: ",
	} {
		_, err := readKeys(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "0011") || strings.Contains(err.Error(), "zz")) {
			t.Errorf("%.40q: the error shows the key: %v", text, err)
		}
	}
}

// TestStranger: an identity without a key has one that looks like any other.
func TestStranger(t *testing.T) {
	k, err := readKeys(strings.NewReader("a:00112233445566778899aabbccddeeff"))
	if err != nil {
		t.Fatal(err)
	}
	one, known := k.find([]byte("b"))
	two, _ := k.find([]byte("b"))
	other, _ := k.find([]byte("c"))
	if known || len(one[0]) != goodKey || one[1] != nil || !bytes.Equal(one[0], two[0]) || bytes.Equal(one[0], other[0]) {
		t.Errorf("%t %x %x %x", known, one, two, other)
	}
}

func TestWeakKeys(t *testing.T) {
	log := &logBuffer{}
	o := DefaultOptions()
	o.PSKFile = writeFile(t, "psk", "a:00\nb:0011\nc:22\nd:33\ne:44\nf:55\ngood:00112233445566778899aabbccddeeff\n", 0o600)
	if _, err := LoadCredentials(o, log.logger()); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "keys=6") || !strings.Contains(s, `\"a\" (line 1)`) || strings.Contains(s, "good") || strings.Contains(s, "line 6") {
		t.Errorf("logged: %s", s)
	}
}

func TestFilePermissions(t *testing.T) {
	o := DefaultOptions()
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o660: false} {
		o.PSKFile = writeFile(t, "psk", "a:00112233445566778899aabbccddeeff\n", mode)
		_, err := LoadCredentials(o, quiet())
		if (err == nil) != ok {
			t.Errorf("mode %#o: %v", mode, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "psk_file: ") || !strings.Contains(err.Error(), "chmod")) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
}

// TestByteOrderMark: some editors begin a file with it.
func TestByteOrderMark(t *testing.T) {
	k, err := readKeys(strings.NewReader("\ufeffsensor-1:00112233445566778899aabbccddeeff\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, known := k.find([]byte("sensor-1")); !known {
		t.Error("the first line's identity is not known")
	}
}

// TestLongFile: a file that is too long is refused, not cut, perhaps within a key.
func TestLongFile(t *testing.T) {
	o := DefaultOptions()
	o.PSKFile = writeFile(t, "psk", "a:00112233445566778899aabbccddeeff\n", 0o600)
	if err := os.Truncate(o.PSKFile, secret.MaxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCredentials(o, quiet()); err == nil || !strings.Contains(err.Error(), "is longer than") {
		t.Errorf("%v", err)
	}
}

// TestIrregularFile: what is no regular file is refused at once.
func TestIrregularFile(t *testing.T) {
	o := DefaultOptions()
	o.PSKFile = t.TempDir()
	if _, err := LoadCredentials(o, quiet()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
}

// FuzzReadKeys: no file makes the reader panic, and what it takes is within its bounds.
func FuzzReadKeys(f *testing.F) {
	f.Add([]byte("# c\na:0011\nb:22\n"))
	f.Add([]byte("a:00\na:11"))
	f.Add([]byte("\xef\xbb\xbfa:00\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := readKeys(bytes.NewReader(b))
		if err != nil {
			return
		}
		for identity, found := range k.byIdentity {
			if identity == "" || len(identity) > maxIdentity || len(found[0]) == 0 || max(len(found[0]), len(found[1])) > maxKey {
				t.Fatalf("%q: %d and %d octets", identity, len(found[0]), len(found[1]))
			}
		}
	})
}

// TestTwoKeys: while one identity has two keys, all others, also those that are not there,
// look as if they had.
func TestTwoKeys(t *testing.T) {
	k, err := readKeys(strings.NewReader("a:" + newHex + "\nb:11\na:22\n"))
	if err != nil {
		t.Fatal(err)
	}
	for identity, want := range map[string]pair{"a": {newKey, {0x22}}, "b": {{0x11}, nil}, "c": {}} {
		found, _ := k.find([]byte(identity))
		if len(want[0]) > 0 && !bytes.Equal(found[0], want[0]) || len(want[1]) > 0 && !bytes.Equal(found[1], want[1]) || found[0] == nil || found[1] == nil {
			t.Errorf("%s: %x, want %x", identity, found, want)
		}
	}
}
