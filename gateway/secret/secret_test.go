package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestModes(t *testing.T) {
	for mode, good := range map[os.FileMode]bool{
		0o600: true, 0o400: true, 0o440: true, 0o640: true, 0o750: true,
		0o644: false, 0o604: false, 0o602: false, 0o601: false, 0o660: false, 0o620: false, 0o666: false, 0o646: false,
	} {
		name := write(t, "x", mode)
		text, err := Read(name)
		if good && (err != nil || string(text) != "x") {
			t.Errorf("mode %o: %q %v", mode, text, err)
		}
		if !good && (err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
		if _, err := ReadPublic(name); (err == nil) != (mode&0o002 == 0) {
			t.Errorf("mode %o, public: %v", mode, err)
		}
	}
}

func TestOddFiles(t *testing.T) {
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	name := write(t, "", 0o600)
	if err := os.Truncate(name, MaxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long file: %v", err)
	}
	if _, err := Read(name + "x"); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

func TestReadPassword(t *testing.T) {
	for content, want := range map[string]string{"p": "p", "p\n": "p", "p\r\n": "p", "p \n\n": "p \n", "\np": "\np"} {
		if got, err := ReadPassword(write(t, content, 0o600)); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", content, got, err)
		}
	}
	for _, content := range []string{"", "\n", "\r\n", strings.Repeat("x", 65536)} {
		if _, err := ReadPassword(write(t, content, 0o600)); err == nil {
			t.Errorf("%d octets are accepted", len(content))
		}
	}
}

func TestAuthoritiesWithoutOne(t *testing.T) {
	name := write(t, "nothing of the kind", 0o644)
	if _, err := Authorities(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v", err)
	}
	if _, err := KeyPair(name, name); err == nil || !strings.HasPrefix(err.Error(), "key_file: ") {
		t.Errorf("a key that others can read: %v", err)
	}
	if _, err := KeyPair(name+"x", name); err == nil || !strings.HasPrefix(err.Error(), "certificate_file: ") {
		t.Errorf("no certificate: %v", err)
	}
}
