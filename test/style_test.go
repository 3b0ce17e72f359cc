package test

import (
	"bytes"
	"go/ast"
	"go/format"
	"regexp"
	"slices"
	"testing"
)

const (
	maxFileLines = 400 // a file is one concern; the aim is 300
	aimFileLines = 300
	maxTestLines = 800
	maxFuncLines = 100 // the aim is 60
)

func TestFormatted(t *testing.T) {
	for _, s := range sources(t) {
		want, err := format.Source(s.text)
		if err != nil {
			t.Errorf("%s: %v", s.path, err)
		} else if !bytes.Equal(want, s.text) {
			t.Errorf("%s: not formatted: run gofmt -w on it", s.path)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		lines := bytes.Count(s.text, []byte("\n"))
		switch {
		case s.isTest() && lines > maxTestLines:
			t.Errorf("%s: %d lines, at most %d", s.path, lines, maxTestLines)
		case !s.isTest() && lines > maxFileLines:
			t.Errorf("%s: %d lines, at most %d: is it one concern?", s.path, lines, maxFileLines)
		case !s.isTest() && lines > aimFileLines:
			t.Logf("%s: %d lines, the aim is %d", s.path, lines, aimFileLines)
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.line(f) + 1; n > maxFuncLines {
				t.Errorf("%s:%d: %s has %d lines, at most %d", s.path, s.line(f), f.Name.Name, n, maxFuncLines)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	vague := regexp.MustCompile(`^(util|utils|common|helper|helpers|misc|base|shared|lib|types)(_test)?$`)
	for _, s := range sources(t) {
		if vague.MatchString(s.ast.Name.Name) {
			t.Errorf("%s: package %s: name it after what it does", s.path, s.ast.Name.Name)
		}
	}
}

// Tests do not sleep, they poll with a deadline or use testing/synctest; and they are
// not skipped, for a skipped test is one that nobody has.
func TestNoSleepNoSkip(t *testing.T) {
	skips := []string{"Skip", "Skipf", "SkipNow"}
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			switch {
			case !ok:
			case isIdent(sel.X, "time") && sel.Sel.Name == "Sleep" && !inBubble(s):
				t.Errorf("%s:%d: time.Sleep in a test", s.path, s.line(n))
			case isIdent(sel.X, "t", "b", "f", "tb") && slices.Contains(skips, sel.Sel.Name):
				t.Errorf("%s:%d: a skipped test", s.path, s.line(n))
			}
			return true
		})
	}
}

// inBubble reports whether a file's tests run in fake time, where sleeping costs none.
func inBubble(s source) bool {
	return bytes.Contains(s.text, []byte(`"testing/synctest"`))
}

func TestNothingLeftBehind(t *testing.T) {
	left := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, s := range sources(t) {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if word := left.FindString(c.Text); word != "" {
					t.Errorf("%s:%d: %s left behind", s.path, s.line(c), word)
				}
			}
		}
	}
}
