package test

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrow says what a package may import of this module, and what it may not import of
// the standard library. A pattern ending in "/*" stands for all packages in a directory,
// one ending in "/..." for the directory itself and all below it, as with the Go tool.
type arrow struct {
	from   string
	to     []string
	notStd []string // with what lies below: "net" is also net/http
	onlyIn []string // if set, the only standard packages allowed
}

// arrows are the import arrows of the design, the first match of a package counts. What
// third-party modules a package may import stands in .golangci.yml (depguard).
//
// To add a package: add it here, or see that a pattern fits it.
var arrows = []arrow{
	{from: "cmd/*", to: []string{"*"}},
	{from: "config", to: []string{"gateway", "gateway/session", "gateway/store/disk", "gateway/admin", "gateway/dnssd", "gateway/forward", "transports/*", "broker/*"}},
	{from: "mqttsn", onlyIn: []string{"encoding/binary", "errors", "math", "math/bits", "slices", "strconv", "strings", "bytes", "iter", "unicode/utf8"}},
	{from: "mqttsn/client", to: []string{"mqttsn"}},
	{from: "transports"},
	{from: "transports/serial", to: []string{"transports", "transports/serial/*"}},
	{from: "transports/serial/framing"},
	{from: "transports/serial/xbee"},
	{from: "transports/*", to: []string{"transports", "gateway/secret"}},
	{from: "broker", to: []string{"gateway/store"}},
	{from: "broker/mqtt"},
	{from: "broker/websocket"},
	{from: "broker/remote", to: []string{"broker/websocket"}},
	{from: "broker/auth", to: []string{"broker/mqtt", "gateway/secret"}},
	{from: "broker/*", to: []string{"broker", "broker/auth", "broker/mqtt", "gateway/store", "gateway/planted", "gateway/secret", "broker/remote", "broker/websocket"}},
	{from: "gateway/session", to: []string{"mqttsn", "broker", "gateway/store", "gateway/planted"}, notStd: []string{"net", "os", "sync", "log", "context", "syscall", "runtime", "math/rand"}},
	{from: "gateway/planted", onlyIn: []string{"os"}},
	{from: "gateway/store", notStd: []string{"net", "os", "log", "context", "syscall", "runtime"}},
	{from: "gateway/store/simfs", to: []string{"gateway/store/disk"}},
	{from: "gateway/store/*", to: []string{"gateway/store", "gateway/planted"}},
	{from: "gateway/admin", to: []string{"gateway"}},
	{from: "gateway/forward", to: []string{"mqttsn", "transports"}},
	{from: "gateway/doctor", to: []string{"transports/serial", "transports/serial/*", "broker/mqtt", "broker/remote", "gateway/secret"}},
	{from: "gateway/dnssd"},
	{from: "gateway/secret"},
	{from: "gateway", to: []string{"gateway/session", "gateway/store", "gateway/secret", "mqttsn", "transports", "broker", "broker/auth"}},
	{from: "test/...", to: []string{"*"}},
}

func matches(pattern, name string) bool {
	if pattern == "*" {
		return true
	}
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == dir || strings.HasPrefix(name, dir+"/")
	}
	if dir, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(name) == dir
	}
	return pattern == name
}

func findArrow(dir string) (arrow, bool) {
	for _, a := range arrows {
		if matches(a.from, dir) {
			return a, true
		}
	}
	return arrow{}, false
}

// fault is what is wrong with the import of a package by dir; "" if nothing.
func (a arrow) fault(dir, imported string) string {
	local, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case ours && dir != "config" && local == "config" && !strings.HasPrefix(dir, "cmd/") && !strings.HasPrefix(dir, "test"):
		return "only cmd imports config"
	case ours && !slices.ContainsFunc(a.to, func(p string) bool { return matches(p, local) }):
		return "there is no such arrow in the design"
	case ours || strings.Contains(strings.Split(imported, "/")[0], "."):
		return "" // third parties are depguard's business
	case a.onlyIn != nil && !slices.Contains(a.onlyIn, imported):
		return "only these are allowed: " + strings.Join(a.onlyIn, " ")
	}
	for _, no := range a.notStd {
		if imported == no || strings.HasPrefix(imported, no+"/") {
			return "not in this package"
		}
	}
	return ""
}

func TestImportArrows(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		a, ok := findArrow(s.dir())
		if !ok {
			t.Errorf("%s: no arrow for package %s: add it to the table in test/imports_test.go", s.path, s.dir())
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if fault := a.fault(s.dir(), imported); fault != "" {
				t.Errorf("%s:%d: imports %s: %s", s.path, s.line(spec), imported, fault)
			}
		}
	}
}

// The wire formats stay usable without anything else.
func TestStandardLibraryOnly(t *testing.T) {
	pure := []string{"mqttsn", "mqttsn/client", "broker/mqtt", "gateway/session", "broker", "transports"}
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(pure, s.dir()) {
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if first := strings.Split(imported, "/")[0]; strings.Contains(first, ".") {
				t.Errorf("%s:%d: imports %s: only the standard library here", s.path, s.line(spec), imported)
			}
		}
	}
}

// Time is an argument of the session: it never asks for it, and never waits.
func TestSessionHasNoClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}
	for _, s := range sources(t) {
		if s.isTest() || s.dir() != "gateway/session" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if ok && isIdent(sel.X, "time") && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s:%d: time.%s: time is an argument here", s.path, s.line(n), sel.Sel.Name)
			}
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s:%d: a goroutine in the session", s.path, s.line(n))
			}
			return true
		})
	}
}

func isIdent(e ast.Expr, names ...string) bool {
	id, ok := e.(*ast.Ident)
	return ok && slices.Contains(names, id.Name)
}

// The rules themselves are tried on imports that must and must not pass.
func TestArrowTable(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		ok            bool
	}{
		{"gateway", module + "/gateway/session", true},
		{"gateway", module + "/transports/udp", false},
		{"gateway", module + "/broker/embedded", false},
		{"gateway", module + "/config", false},
		{"gateway/session", "net/netip", false},
		{"gateway/session", "sync/atomic", false},
		{"gateway/session", "time", true},
		{"mqttsn", "time", false},
		{"mqttsn", "fmt", false},
		{"broker/embedded", module + "/broker/upstream", false},
		{"broker/embedded", module + "/broker/mqtt", true},
		{"broker/mqtt", module + "/broker", false},
		{"transports/udp", module + "/transports/memory", false},
		{"transports/udp", "golang.org/x/net/ipv4", true},
		{"cmd/gateway", module + "/config", true},
		{"config", module + "/cmd/gateway", false},
	} {
		a, found := findArrow(c.dir)
		if !found {
			t.Fatalf("no arrow for %s", c.dir)
		}
		if fault := a.fault(c.dir, c.imported); (fault == "") != c.ok {
			t.Errorf("%s imports %s: fault %q, want ok %t", c.dir, c.imported, fault, c.ok)
		}
	}
}
