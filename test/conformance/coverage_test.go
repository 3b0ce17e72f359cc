package conformance

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// numbered is one line of testdata/statements.csv.
type numbered struct {
	id, binds, about, covered string
}

func (n numbered) bindsServer() bool { return n.binds == "server" || n.binds == "both" }

var idForm = regexp.MustCompile(`^(MQTT|MQTT311)-(\d+)\.(\d+)\.(\d+)-(\d+)$`)

// place is where an id stands in the specification; nil if it is none.
func place(id string) []int {
	m := idForm.FindStringSubmatch(id)
	if m == nil {
		return nil
	}
	all := make([]int, 0, 4)
	for _, digits := range m[2:] {
		n, _ := strconv.Atoi(digits)
		all = append(all, n)
	}
	return all
}

func readStatements(t *testing.T) []numbered {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "statements.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	r.FieldsPerRecord = 4
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var all []numbered
	for _, l := range lines[1:] {
		all = append(all, numbered{l[0], l[1], l[2], l[3]})
	}
	return all
}

// appendixB is how many statements the specification numbers.
const appendixB = 251

func TestStatements(t *testing.T) {
	named := make(map[string]bool) // by a test
	for _, r := range rules {
		for _, id := range r.ids {
			named[id] = true
			if strings.HasPrefix(id, "MQTT311-") != (r.in == v311) {
				t.Errorf("%s: ids of MQTT 3.1.1 are for tests with that version alone, and they for no others", id)
			}
		}
	}
	all := readStatements(t)
	if len(all) != appendixB {
		t.Errorf("%d statements, want the %d of appendix B", len(all), appendixB)
	}
	known, bind, tested := make(map[string]bool), 0, 0
	var before []int
	for _, n := range all {
		at := place(n.id)
		if at == nil || slices.Compare(before, at) >= 0 {
			t.Errorf("%q is no id, or not in its place", n.id)
		}
		before, known[n.id] = at, true
		checkStatement(t, n, named[n.id])
		if n.bindsServer() {
			bind++
			if named[n.id] {
				tested++
			}
		}
	}
	for id := range named {
		if place(id) == nil || strings.HasPrefix(id, "MQTT-") && !known[id] {
			t.Errorf("a test names %q, which testdata/statements.csv does not know", id)
		}
	}
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d of the %d are tested", tested, bind); !strings.Contains(string(manual), want) {
		t.Errorf("docs/conformance.md does not say that %s", want)
	}
}

// checkStatement checks one line; named says that a test has the id.
func checkStatement(t *testing.T, n numbered, named bool) {
	t.Helper()
	if !slices.Contains([]string{"server", "client", "both"}, n.binds) {
		t.Errorf("%s binds %q", n.id, n.binds)
	}
	if words := len(strings.Fields(n.about)); words == 0 || words > 14 {
		t.Errorf("%s: %d words about it", n.id, words)
	}
	how, what, _ := strings.Cut(n.covered, ": ")
	switch how {
	case "test":
		if !named {
			t.Errorf("%s: no test names it", n.id)
		}
	case "not testable":
		if what == "" {
			t.Errorf("%s: why is it not testable?", n.id)
		}
	case "":
		if n.bindsServer() {
			t.Errorf("%s: neither a test nor a reason", n.id)
		}
	default:
		t.Errorf("%s: covered by %q", n.id, n.covered)
	}
	if named && how != "test" {
		t.Errorf("%s: a test names it, and testdata/statements.csv says %q", n.id, n.covered)
	}
}
