package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// files are a password_file and an acl_file of a test; a nil text is no file.
type files struct {
	passwords, acl *string
	anonymous      Choice
}

// options writes the files and returns the options that name them.
func (f files) options(t testing.TB) Options {
	t.Helper()
	o := DefaultOptions()
	if f.anonymous != "" {
		o.AllowAnonymous = f.anonymous
	}
	dir := t.TempDir()
	if f.passwords != nil {
		o.PasswordFile = filepath.Join(dir, "passwords")
		put(t, o.PasswordFile, *f.passwords)
	}
	if f.acl != nil {
		o.ACLFile = filepath.Join(dir, "acl")
		put(t, o.ACLFile, *f.acl)
	}
	return o
}

func put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newGuard(t testing.TB, f files) *Guard {
	t.Helper()
	g, err := New(f.options(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// withACL is a Guard with an acl_file only.
func withACL(t testing.TB, lines ...string) *Guard {
	t.Helper()
	text := strings.Join(lines, "\n")
	return newGuard(t, files{acl: &text})
}

func TestNobodyIsAsked(t *testing.T) {
	g := newGuard(t, files{})
	if g != nil {
		t.Fatal("there is a guard though nothing is configured")
	}
	r := g.Rights(Subject{Client: "c"})
	if r != nil || !r.MayPublish("a") || !r.MayReceive("a") || !r.MaySubscribe("#") {
		t.Error("nil rights deny something")
	}
	if err := g.Authenticate("u", nil); err != nil || !g.Anonymous() || !g.Known("u") || g.Generation() != 0 || g.Files() != nil || g.Reload() != nil {
		t.Error("the nil guard is no open door")
	}
	if err := (Options{AllowAnonymous: "maybe"}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "allow_anonymous: ") {
		t.Error(err)
	}
}

func TestAnonymous(t *testing.T) {
	passwords := "u:" + newHash([]byte("p"), 1).String() + "\n"
	for _, c := range []struct {
		anonymous Choice
		passwords *string
		nobody    error // what a client without a user name is told
		unknown   error // what user x is told
	}{
		{Auto, &passwords, ErrAnonymous, ErrUnknownUser},
		{Yes, &passwords, nil, ErrUnknownUser},
		{No, &passwords, ErrAnonymous, ErrUnknownUser},
		{Yes, nil, nil, nil},
		{Auto, nil, nil, nil},
		{No, nil, ErrAnonymous, ErrAnonymous},
	} {
		g := newGuard(t, files{anonymous: c.anonymous, passwords: c.passwords})
		if err := g.Authenticate("", nil); !errors.Is(err, c.nobody) || g.Anonymous() != (err == nil) || g.Known("") != (err == nil) {
			t.Errorf("%s: nobody: %v", c.anonymous, err)
		}
		if err := g.Authenticate("x", []byte("y")); !errors.Is(err, c.unknown) || g.Known("x") != (err == nil) {
			t.Errorf("%s: unknown user: %v", c.anonymous, err)
		}
		if c.passwords != nil && (g.Authenticate("u", []byte("p")) != nil || !g.Known("u")) {
			t.Errorf("%s: a known user is not let in", c.anonymous)
		}
	}
}

// What was let in once is let in again without hashing; nothing else is.
func TestPasswords(t *testing.T) {
	text := "# a comment\n\nsix:" + newHash([]byte("secret"), 0).String() + "\r\n  seven : " + newHash([]byte("secret"), 101).String()
	g := newGuard(t, files{passwords: &text})
	for range 3 {
		for _, user := range []string{"six", "seven"} {
			if err := g.Authenticate(user, []byte("secret")); err != nil {
				t.Errorf("%s: %v", user, err)
			}
			for _, wrong := range []string{"", "Secret", "secret\x00", "secre", "secret "} {
				if err := g.Authenticate(user, []byte(wrong)); !errors.Is(err, ErrPassword) {
					t.Errorf("%s, %q: %v", user, wrong, err)
				}
			}
		}
	}
	if g.now.Load().passwords.byUser["seven"].mark.Load() == nil {
		t.Error("the password is hashed each time")
	}
	if err := g.Authenticate("eight", []byte("secret")); !errors.Is(err, ErrUnknownUser) {
		t.Error(err)
	}
}

func TestHashesAreBounded(t *testing.T) {
	text := "u:" + newHash([]byte("p"), 1).String()
	g := newGuard(t, files{passwords: &text})
	for range cap(g.hashing.running) {
		g.hashing.running <- struct{}{}
	}
	g.hashing.waiting.Store(maxWaiting)
	for _, user := range []string{"u", "x"} {
		if err := g.Authenticate(user, []byte("p")); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", user, err)
		}
	}
	if n := g.hashing.waiting.Load(); n != maxWaiting {
		t.Errorf("%d wait", n)
	}
	<-g.hashing.running
	if err := g.Authenticate("u", []byte("p")); err != nil {
		t.Error(err)
	}
	g.hashing.running <- struct{}{} // all are taken: who has been let in before still is
	if err := g.Authenticate("u", []byte("p")); err != nil {
		t.Error(err)
	}
}

// Whoever waits too long for a turn is told so.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		for range cap(turns.running) {
			if !turns.begin() {
				t.Fatal("a turn that is free is not had")
			}
		}
		start := time.Now()
		if turns.begin() || time.Since(start) != maxWait {
			t.Errorf("told after %v", time.Since(start))
		}
		time.AfterFunc(time.Second, turns.end)
		if !turns.begin() || time.Since(start) != maxWait+time.Second || turns.waiting.Load() != 0 {
			t.Errorf("a turn is had after %v", time.Since(start))
		}
	})
}

func TestReload(t *testing.T) {
	passwords, acl := "u:"+newHash([]byte("p"), 1).String(), "topic a"
	o := files{passwords: &passwords, acl: &acl, anonymous: Yes}.options(t)
	g, err := New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.Files(), []string{o.PasswordFile, o.ACLFile}) {
		t.Error(g.Files())
	}
	r := g.Rights(Subject{Client: "c"})
	if !r.MayPublish("a") || r.MayPublish("b") || g.Generation() != 1 {
		t.Fatal("the files are not obeyed")
	}
	// A mistake in either file changes nothing of both.
	put(t, o.ACLFile, "topic b")
	put(t, o.PasswordFile, "u:"+newHash([]byte("q"), 1).String()+"\ngarbage")
	if err := g.Reload(); err == nil || err.Error() != "password_file: "+o.PasswordFile+":2: there is no colon: allowed is USER:HASH, or # and a comment" {
		t.Error(err)
	}
	put(t, o.PasswordFile, "v:"+newHash([]byte("q"), 1).String())
	put(t, o.ACLFile, "topic b\nuser\n")
	if err := g.Reload(); err == nil || !strings.HasPrefix(err.Error(), "acl_file: "+o.ACLFile+":2: the user name is missing") {
		t.Error(err)
	}
	if err := os.Remove(o.ACLFile); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if !r.MayPublish("a") || r.MayPublish("b") || g.Authenticate("u", []byte("p")) != nil || g.Generation() != 1 {
		t.Error("a reload that failed changed something")
	}
	put(t, o.ACLFile, "topic b")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if r.MayPublish("a") || !r.MayPublish("b") || g.Generation() != 2 || g.Known("u") || !g.Known("v") {
		t.Error("the reload is not obeyed")
	}
	if err := g.Authenticate("u", []byte("p")); !errors.Is(err, ErrUnknownUser) {
		t.Error(err)
	}
}

// Rights are asked for while files are read again.
func TestReloadUnderLoad(t *testing.T) {
	g := withACL(t, "topic a", "pattern %c/x")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			r := g.Rights(Subject{Client: "c"})
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !r.MayPublish("a") || !r.MayReceive("c/x") || r.MaySubscribe("b") {
					t.Error("wrong answer")
					return
				}
			}
		})
	}
	for range 1000 {
		if err := g.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if g.Generation() != 1001 {
		t.Error(g.Generation())
	}
}

// Passwords that others can read, and files that are none, are refused.
func TestUnfitFiles(t *testing.T) {
	text := "u:" + newHash([]byte("p"), 1).String()
	o := files{passwords: &text}.options(t)
	if err := os.Chmod(o.PasswordFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	o = Options{AllowAnonymous: Auto, ACLFile: t.TempDir()}
	if _, err := New(o, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "acl_file: ") {
		t.Error(err)
	}
}

func TestDoubts(t *testing.T) {
	acl := "user u\ntopic a\npattern read b/#\npattern c/%c"
	var said bytes.Buffer
	if _, err := New(files{acl: &acl}.options(t), slog.New(slog.NewTextHandler(&said, nil))); err != nil {
		t.Fatal(err)
	}
	if s := said.String(); strings.Count(s, "\n") != 2 || !strings.Contains(s, "no auth.password_file") || !strings.Contains(s, "line=3") {
		t.Error(s)
	}
}
