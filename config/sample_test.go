package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The sample changes nothing.
func TestSampleIsTheDefault(t *testing.T) {
	c, bad := load(t, Sample)
	if bad != nil {
		t.Fatalf("%q", bad)
	}
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

var commentedOut = regexp.MustCompile(`^( *)#((?:- |  )?[a-z0-9_]+:.*)$`)

// Each option of the sample can be switched on by removing its #, and then has its
// default; so can all of them. Lines of one commented-out list element go together.
func TestSampleOptions(t *testing.T) {
	text := strings.Split(strings.TrimSuffix(Sample, "\n"), "\n")
	all := make([]string, len(text))
	options := 0
	for i := 0; i < len(text); i++ {
		all[i] = text[i]
		if !commentedOut.MatchString(text[i]) {
			continue
		}
		one := append([]string(nil), text...)
		for element := strings.Contains(text[i], "#- "); ; i++ {
			one[i] = commentedOut.ReplaceAllString(text[i], "$1$2")
			all[i] = one[i]
			if one[i] != text[i] {
				options++
			}
			if !element || i+1 == len(text) || text[i+1] != "" && !strings.HasPrefix(text[i+1], "  #") {
				break
			}
		}
		if c, bad := load(t, strings.Join(one, "\n")); bad != nil {
			t.Errorf("line %d: %q", i+1, bad)
		} else if withoutExamples(&c); !same(c, Default()) {
			t.Errorf("line %d: %s does not give the default", i+1, text[i])
		}
	}
	if c, bad := load(t, strings.Join(all, "\n")); bad != nil {
		t.Errorf("all: %q", bad)
	} else if withoutExamples(&c); !same(c, Default()) {
		t.Errorf("all: got %+v", c)
	}
	leaves := 0
	for _, k := range keys(configType, "") {
		if k.typ.Kind() != reflect.Struct && !isList(k.typ) {
			leaves++
		}
	}
	// The first options of the default UDP and MQTT listeners are not commented out.
	if options != leaves-2 {
		t.Errorf("the sample has %d options commented out, there are %d", options, leaves-2)
	}
}

// same reports whether two configurations mean the same: a list that is empty, and none.
func same(a, b Config) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }

// withoutExamples takes away what the sample shows though it is no default.
func withoutExamples(c *Config) {
	c.PredefinedTopics, c.Serial = nil, nil
}

// A default that a comment names is the default.
func TestCommentsNameTheDefault(t *testing.T) {
	d := declarations{t: t, docs: make(map[string]string)}
	named := regexp.MustCompile(`Default ([0-9][0-9a-z,]*)( [KM]iB)?`)
	units := map[string]int64{"": 1, " KiB": 1 << 10, " MiB": 1 << 20}
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		for _, f := range fields(v.Type()) {
			m := named.FindStringSubmatch(d.doc(v.Type(), f))
			switch field := v.FieldByIndex(f.Index); {
			case isList(f.Type) && field.Len() > 0:
				walk(name+f.Name+".", field.Index(0))
			case f.Type.Kind() == reflect.Struct:
				walk(name+f.Name+".", field)
			case m == nil || f.Name == "ReconnectMax": // the second of two in one comment
			case f.Type == durationType:
				if want, err := time.ParseDuration(m[1]); err != nil || want != time.Duration(field.Int()) {
					t.Errorf("%s%s: the comment says %q, the default is %s", name, f.Name, m[0], shownValue(field))
				}
			case field.CanInt():
				n, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
				if err != nil || n*units[m[2]] != field.Int() {
					t.Errorf("%s%s: the comment says %q, the default is %s", name, f.Name, m[0], shownValue(field))
				}
			}
		}
	}
	walk("", reflect.ValueOf(Default()))
}

// What the reader relies on: kinds that it can read, tags on all fields, environment
// variables that differ, secrets in files.
func TestDeclarations(t *testing.T) {
	env := make(map[string]string)
	secret := regexp.MustCompile(`password|secret|token|psk|private_key`)
	for _, k := range keys(configType, "") {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*(\.([a-z][a-z0-9_]*|0))*$`).MatchString(k.name) {
			t.Errorf("%s: an option needs a mapstructure tag of small letters", k.name)
		}
		switch k.typ.Kind() {
		case reflect.Map, reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan, reflect.Array, reflect.Float32, reflect.Float64:
			t.Errorf("%s: a %s cannot be an option", k.name, k.typ)
		}
		if k.typ.Kind() == reflect.Struct {
			continue
		}
		if other := env[envName(k.name)]; other != "" {
			t.Errorf("%s and %s have the same environment variable", k.name, other)
		}
		env[envName(k.name)] = k.name
		if secret.MatchString(lastPart(k.name)) && !strings.HasSuffix(k.name, "_file") && k.typ.Kind() == reflect.String {
			t.Errorf("%s: a secret is read from a file: its option ends in _file", k.name)
		}
	}
	if env[EnvFile] != "" {
		t.Errorf("%s is the variable of %s", EnvFile, env[EnvFile])
	}
}
