package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/broker/auth"
)

// passwd runs gateway passwd with that standard input.
func passwd(input string, args ...string) error {
	cmd := rootCommand()
	cmd.SetArgs(append([]string{"passwd"}, args...))
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	return cmd.Execute()
}

// lets reports whether a file lets a user in.
func lets(t *testing.T, file, user, password string) bool {
	t.Helper()
	g, err := auth.New(auth.Options{PasswordFile: file, AllowAnonymous: auth.Auto}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g.Authenticate(user, []byte(password)) == nil
}

func TestPasswd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwords")
	for _, step := range []struct {
		input string
		args  []string
		want  string // part of the error; "" if there is none
	}{
		{"x\n", []string{file, "alice"}, "make it with -c"},
		{"", []string{"-c", file, "alice"}, "no password is given"},
		{"\n", []string{"-c", file, "alice"}, "empty"},
		{strings.Repeat("x", 70000), []string{"-c", file, "alice"}, "longer than"},
		{"x\n", []string{"-c", file, "a:b"}, "colon"},
		{"", []string{"-c", "-b", file, "alice", "secret"}, "command line"},
		{"", []string{"-b", file, "alice", "secret"}, "command line"},
		{"", []string{"-c", "-D", file, "alice"}, "none of the others can be"},
		{"", []string{file}, "are needed"},
		{"", []string{"-U", file, "alice"}, "nothing else"},
		{"x\n", []string{"-H", "md5", file, "alice"}, "allowed are"},
		{"x\n", []string{"-I", "0", file, "alice"}, "at least 1"},
		{"x\n", []string{"-I", "10000001", file, "alice"}, "allowed are"},
		{"wonder land\n", []string{"-c", file, "alice"}, ""},
		{"x\n", []string{"-c", file, "alice"}, "already"},
		{"pa:ss\r\nmore", []string{"-I", "5", file, "bob smith"}, ""},
		{"no line end", []string{"-H", "sha512", file, "carol"}, ""},
		{"", []string{"-D", file, "dave"}, `no user "dave"`},
	} {
		err := passwd(step.input, step.args...)
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("%q: %v", step.args, err)
		}
	}
	for user, password := range map[string]string{"alice": "wonder land", "bob smith": "pa:ss", "carol": "no line end"} {
		if !lets(t, file, user, password) {
			t.Errorf("%s is not let in", user)
		}
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := passwd("other", file, "bob smith"); err != nil {
		t.Fatal(err)
	}
	if err := passwd("", "-D", file, "carol"); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(file)
	lines := bytes.SplitAfter(before, []byte("\n"))
	if n := bytes.Count(after, []byte("\n")); n != 2 || !bytes.HasPrefix(after, lines[0]) || lets(t, file, "carol", "no line end") || !lets(t, file, "bob smith", "other") {
		t.Errorf("before\n%safter\n%s", before, after)
	}
}

func TestPasswdUpdate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, []byte("# staff\n\nalice:wonderland\nbob: pa:ss"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // hashes are not hashed again
		if err := passwd("", "-U", "-I", "7", file); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(text), "# staff\n\nalice:$7$7$") || bytes.Contains(text, []byte("wonderland")) {
			t.Fatalf("%s", text)
		}
		if !lets(t, file, "alice", "wonderland") || !lets(t, file, "bob", "pa:ss") {
			t.Error("not let in")
		}
	}
	for text, want := range map[string]string{"a:x\ngarbage\n": ":2: ", "a:x\nb:\n": ":2: ", "a:$7$x\n": "neither a hash"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := passwd("", "-U", file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if now, _ := os.ReadFile(file); string(now) != text {
			t.Errorf("%q became %q", text, now)
		}
		if err := passwd("y", file, "c"); err == nil {
			t.Errorf("%q: a user is added", text)
		}
	}
}
