package conformance

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker/mqtt"
)

func TestMain(m *testing.M) {
	// The tests wait more than they work; the command line can say otherwise.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// versions is a set of the versions that a statement holds for.
type versions byte

const (
	v311 versions = 1 << iota
	v5
	both = v311 | v5
)

func (v versions) list() (all []mqtt.Version) {
	if v&v311 != 0 {
		all = append(all, mqtt.V311)
	}
	if v&v5 != 0 {
		all = append(all, mqtt.V5)
	}
	return all
}

// rule is one test: of one statement, or of up to three that can only be seen together.
type rule struct {
	ids   []string
	names []string // ids, and which test of several
	in    versions
	says  string
	test  func(t *T)
}

var rules []rule

// statement registers a test. names are one to three ids with spaces between; the second
// test of a statement adds a letter to its id: MQTT-3.1.2-8b. says is what must hold, in
// our words.
func statement(names string, in versions, says string, test func(t *T)) struct{} {
	r := rule{names: strings.Fields(names), in: in, says: says, test: test}
	for _, name := range r.names {
		r.ids = append(r.ids, strings.TrimRight(name, "bcd"))
	}
	rules = append(rules, r)
	return struct{}{}
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	run(t, startEmbedded, nil)
}

// With a store all holds that holds without.
func TestDurable(t *testing.T) {
	t.Parallel()
	run(t, startDurable, nil)
}

func TestMosquitto(t *testing.T) {
	t.Parallel()
	run(t, startMosquitto, departures(t))
}

// run runs all rules against one kind of broker.
func run(t *testing.T, start starter, excused map[string]string) {
	addr := start(t, settings{})
	for i, r := range rules {
		name := strings.Join(r.names, "_")
		for _, v := range r.in.list() {
			t.Run(name+"/"+v.String(), func(t *testing.T) {
				t.Parallel()
				x := &T{
					TB: t, version: v, addr: addr, start: start, patience: 10 * time.Second,
					unique: fmt.Sprintf("%d-%d", i, v),
				}
				for _, name := range append([]string{name}, r.names...) {
					if excused[name] != "" {
						x.excuse, x.patience = excused[name], time.Second
					}
				}
				x.run(r)
			})
		}
	}
}

// A name is one test for a version: what is excused for one excuses no other.
func TestNames(t *testing.T) {
	taken := make(map[string]versions)
	for _, r := range rules {
		name := strings.Join(r.names, "_")
		if taken[name]&r.in != 0 {
			t.Errorf("%s is the name of two tests: give the second one the next letter", name)
		}
		taken[name] |= r.in
	}
}

// departures are the ids of testdata/mosquitto.csv, or whole names of tests, and why.
func departures(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "mosquitto.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	r.FieldsPerRecord = 2
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, r := range rules {
		known[strings.Join(r.names, "_")] = true
		for _, name := range r.names {
			known[name] = true
		}
	}
	all := make(map[string]string)
	for _, line := range lines {
		name, why := line[0], line[1]
		if !known[name] || why == "" {
			t.Errorf("testdata/mosquitto.csv: %s: no test has this id, or the reason is missing", name)
		}
		all[name] = why
	}
	return all
}

// T is what a test has: a broker, a version, names of its own. Its failure is noted before
// it counts, for a broker may be excused.
type T struct {
	testing.TB
	version  mqtt.Version
	addr     string // of the broker
	start    starter
	patience time.Duration // for what must come
	unique   string
	ids      uint16
	excuse   string // why failing is no failure; "" if it is
	failure  string
	trying   string // which of the test's cases, to be told with a failure
}

// run runs the test in a goroutine of its own, which a failure ends.
func (t *T) run(r rule) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.test(t)
	}()
	<-done
	switch {
	case t.failure != "" && t.excuse != "":
		t.Logf("departs as expected (%s): %s", t.excuse, t.failure)
	case t.failure != "":
		t.Errorf("%s: %s\n%s", strings.Join(r.names, ", "), r.says, t.failure)
	case t.excuse != "":
		t.Logf("obeys, though testdata/mosquitto.csv says: %s", t.excuse)
	}
}

// Fatalf ends the test, with the place in it where that was called.
func (t *T) Fatalf(format string, args ...any) {
	at := "?"
	for skip := 1; ; skip++ {
		_, file, line, ok := runtime.Caller(skip)
		if !ok {
			break
		}
		file = filepath.Base(file)
		if file != "client_test.go" && file != "web_test.go" && file != "statement_test.go" && file != "broker_test.go" {
			at = fmt.Sprintf("%s:%d", file, line)
			break
		}
	}
	t.failure = at + ": " + fmt.Sprintf(format, args...)
	if t.trying != "" {
		t.failure += ", trying " + t.trying
	}
	runtime.Goexit()
}

// Fatal is Fatalf without a format.
func (t *T) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }

// own gives the test a broker of its own, with these settings, for all it does afterwards.
func (t *T) own(s settings) {
	t.addr = t.start(t, s)
}

// id is a client id that no other test has.
func (t *T) id(name string) string { return "c" + t.unique + "-" + name }

// topic is a topic or filter below one that no other test uses.
func (t *T) topic(name string) string { return "t" + t.unique + "/" + name }

// v5 reports whether the test runs with MQTT 5.
func (t *T) v5() bool { return t.version == mqtt.V5 }
