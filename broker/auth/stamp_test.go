package auth

import (
	"os"
	"path/filepath"
	"testing"
)

// A stamp stays as long as the hash of its user does.
func TestStamp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "passwords")
	write := func(users ...string) {
		t.Helper()
		text := ""
		for _, u := range users {
			text += u
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := func(user string) string { return user + ":" + newHash([]byte("pw"), 0).String() + "\n" }
	alice, bob := line("alice"), line("bob")
	write(alice, bob)
	g, err := New(Options{PasswordFile: name, AllowAnonymous: Auto}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !g.Checks() || (*Guard)(nil).Checks() || withACL(t, "topic a").Checks() {
		t.Error("it is not told whether passwords are checked")
	}
	a, b := g.Stamp("alice"), g.Stamp("bob")
	if a == 0 || a == b || g.Stamp("carol") != 0 || (*Guard)(nil).Stamp("alice") != 0 {
		t.Errorf("alice %d, bob %d", a, b)
	}
	write(line("carol"), alice, line("bob"))
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if g.Stamp("alice") != a || g.Stamp("bob") == b {
		t.Errorf("alice %d, before %d; bob %d, before %d", g.Stamp("alice"), a, g.Stamp("bob"), b)
	}
}
