// Package test holds the rules that the repository as a whole keeps: who may import
// whom, how code is written, that documents tell the truth. They need nothing but Go.
package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "mqttsn-gateway"

// source is one Go file of the repository.
type source struct {
	path string // relative to the root, with slashes: "gateway/session/session.go"
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

// dir is the package's directory, "gateway/session".
func (s source) dir() string { return path.Dir(s.path) }

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// line is where a node stands, for messages.
func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// root returns the root of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sources parses all Go files of this module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	top := root(t)
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// tools is a module of its own.
			if name := d.Name(); file != top && (name == "tools" || name == "testdata" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		all = append(all, source{path: filepath.ToSlash(rel), text: text, ast: tree, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no Go files found")
	}
	return all
}
