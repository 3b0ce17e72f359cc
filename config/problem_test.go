package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// What is wrong with a file is said with line, key, and what is allowed.
func TestFileProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown option", "session:\n  t_rety: 5s\n", "FILE:2: session.t_rety: there is no such option; did you mean session.t_retry?"},
		{"unknown section", "sesion:\n  t_retry: 5s\n", "FILE:1: sesion: there is no such option"},
		{"option at the top", "t_retry: 5s\n", "FILE:1: t_retry: there is no such option; did you mean session.t_retry?"},
		{"option in the wrong section", "gateway:\n  t_retry: 5s\n", "FILE:2: gateway.t_retry: there is no such option; did you mean session.t_retry?"},
		{"unknown in a list", "udp:\n- lisen: :1883\n", "FILE:2: udp.0.lisen: there is no such option; did you mean udp.listen?"},
		{"capital letters", "session:\n  T_Retry: 5s\n", "FILE:2: session.T_Retry: there is no such option; did you mean session.t_retry?"},
		{"nothing like it", "wombat: 5s\n", "FILE:1: wombat: there is no such option"},
		{"no unit", "session:\n  t_retry: 5\n", "FILE:2: session.t_retry: 5 has no unit; write 5s for seconds, 5ms for milliseconds"},
		{"no time", "session:\n  t_retry: soon\n", `FILE:2: session.t_retry: "soon" is given; allowed is a time with its unit, such as 500ms, 10s, 5m or 24h`},
		{"number for a text", "log:\n  level: 3\n", `FILE:2: log.level: 3 is not a text; write it in quotes: "3"`},
		{"text for a number", "session:\n  n_retry: many\n", `FILE:2: session.n_retry: "many" is given; allowed is a whole number`},
		{"quoted number", "session:\n  n_retry: \"3\"\n", `FILE:2: session.n_retry: "3" is given; allowed is a whole number`},
		{"fraction", "session:\n  n_retry: 1.5\n", `FILE:2: session.n_retry: "1.5" is given; allowed is a whole number`},
		{"huge", "predefined_topics:\n- {id: 65536, topic: a}\n", `FILE:2: predefined_topics.0.id: "65536" is given; allowed is a whole number from 0 to 65535`},
		{"no truth", "session:\n  no_dup: 1\n", `FILE:2: session.no_dup: "1" is given; allowed is true or false`},
		{"section for a value", "session:\n  n_retry: {a: 1}\n", "FILE:2: session.n_retry: a section is given; allowed is a whole number"},
		{"list for a value", "session:\n  n_retry: [1]\n", "FILE:2: session.n_retry: a list is given; allowed is a whole number"},
		{"nothing for a value", "session:\n  n_retry:\n", "FILE:2: session.n_retry: nothing is given; allowed is a whole number"},
		{"value for a section", "session: 5\n", `FILE:1: session: "5" is given; allowed is a section with options`},
		{"value for a list", "udp: :1883\n", `FILE:1: udp: ":1883" is given; allowed is a list of sections with options`},
		{"no section at all", "hello\n", `FILE:1: "hello" is given; allowed is a section with options`},
		{"twice", "log:\n  level: info\n  level: debug\n", "FILE:3: log.level: is set twice, first in line 2"},
		{"out of range", "session:\n  n_retry: 3\n  t_retry: 0s\n", "FILE:3: session.t_retry: 0s is out of range: 1ms to 1h0m0s"},
		{"out of range in a list", "udp:\n- listen: 127.0.0.1:1\n- listen: 127.0.0.1:2\n  mtu: 3\n", "FILE:4: udp.1.mtu: 3 is not allowed: 64 to 65507"},
		{"out of range in a list within a section", "mqtt:\n  listeners:\n  - listen: :1883\n  - listen: 1.2.3.4\n", `FILE:4: mqtt.listeners.1.listen: "1.2.3.4" is not allowed: write HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:1883, [::1]:1883 or :1883 for every address, or unix:PATH`},
		{"anchor", "session: &s\n  n_retry: 3\n", "FILE:1: session: YAML anchors and aliases are not supported; write the value out"},
		{"odd name", "? [a]\n: 1\n", "FILE:1: an option's name must be a plain word"},
		{"second document", "log:\n  level: info\n---\nlog:\n  level: debug\n", "FILE:3: a second document (after ---) is not supported"},
		{"not YAML", "session: [\n", "FILE: is not YAML: line 1: did not find expected node content"},
		{"predefined id", "predefined_topics:\n- {id: 1, topic: a}\n- {id: 0, topic: b}\n", `FILE:3: predefined_topics.1: ("b"): id 0 is out of range: 1 to 65534`},
		{"predefined twice", "predefined_topics:\n- {id: 1, topic: a}\n- {id: 1, topic: b}\n", `FILE:3: predefined_topics.1: id 1 is already that of "a" for the same client`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, bad := load(t, c.text); !slices.Equal(bad, []string{c.want}) {
				t.Errorf("got  %q\nwant %q", bad, c.want)
			}
		})
	}
}

// All problems are reported at once, each of the options at fault too.
func TestAllProblemsAtOnce(t *testing.T) {
	path := write(t, "session:\n  t_retry: 0s\n  n_retry: -1\n  max_topics: 0\n  max_sleep: 5\ngatway: {}\nudp:\n- mtu: 1\n  batch: 0\n")
	_, _, err := Load(Input{
		File:    path,
		Environ: []string{"MQTTSN_SESION_T_RETRY=5s", "MQTTSN_LOG_LEVEL=loud"},
		Flags:   []Setting{{"admn.listen", ":1", "--set"}, {"gateway.shards", "1000", "--set"}, {"udp.7.mtu", "100", "--set"}},
	})
	want := []string{
		"FILE:5: session.max_sleep: 5 has no unit; write 5s for seconds, 5ms for milliseconds",
		"FILE:6: gatway: there is no such option",
		"environment variable MQTTSN_SESION_T_RETRY: there is no such option; did you mean MQTTSN_SESSION_T_RETRY?",
		"--set: admn.listen: there is no such option; did you mean admin.listen?",
		"--set: udp.7.mtu: there are 1 elements so far, so the number must be from 0 to 1",
		"--set: gateway.shards: 1000 is out of range: 0 (one per CPU) to 256",
		"FILE:2: session.t_retry: 0s is out of range: 1ms to 1h0m0s",
		"FILE:3: session.n_retry: -1 is out of range: 0 to 100",
		"FILE:4: session.max_topics: 0 is out of range: 1 to 65534",
		"FILE:8: udp.0.mtu: 1 is not allowed: 64 to 65507",
		"FILE:9: udp.0.batch: 0 is not allowed: 1 to 1024",
		`environment variable MQTTSN_LOG_LEVEL: log.level: "loud" is not a level: debug, info, warn or error`,
	}
	got := lines(t, err, path)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	_, _, err := Load(Input{File: path})
	if got := lines(t, err, path); !slices.Equal(got, []string{"FILE: no such file or directory"}) {
		t.Errorf("got %q", got)
	}
}

// The checks of all packages name the option first, so that it can be found in the file.
func TestValidateNamesTheKey(t *testing.T) {
	for i := range configType.NumField() {
		name := configType.Field(i).Tag.Get("mapstructure")
		// sound is the section as it stands, or the first one of a list.
		sound := func() (section reflect.Value, ok bool) {
			c := Default()
			c.Broker.URL, c.Forward.To = "mqtt://localhost", "localhost:1883"
			section = reflect.ValueOf(c).Field(i)
			if !isList(section.Type()) {
				section = reflect.New(section.Type()).Elem()
				section.Set(reflect.ValueOf(c).Field(i))
				return section, true
			}
			if section.Len() == 0 {
				return section, false
			}
			return section.Index(0), true
		}
		section, ok := sound()
		if !ok {
			continue
		}
		for _, k := range keys(section.Type(), "") {
			spoilt, _ := sound()
			field, ok := option(spoilt, strings.Split(k.name, "."))
			if !ok || !spoil(field) {
				continue
			}
			err := spoilt.Interface().(validator).Validate()
			if err == nil {
				continue // not everything has a range
			}
			if key, _, _ := strings.Cut(err.Error(), ": "); key != k.name {
				t.Errorf("%s.%s: the error begins with %q: %v", name, k.name, key, err)
			}
		}
	}
}

// spoil sets a value that is hardly allowed.
func spoil(v reflect.Value) bool {
	switch {
	case v.Type() == durationType:
		v.SetInt(int64(-time.Hour))
	case v.CanInt():
		v.SetInt(-1)
	case v.Kind() == reflect.String:
		v.SetString("\x01 not allowed")
	default:
		return false
	}
	return true
}

func TestNearest(t *testing.T) {
	known := names(keys(configType, ""))
	for given, want := range map[string]string{
		"session.t_retyr":         "session.t_retry",
		"sessions.t_retry":        "session.t_retry",
		"session.retry":           "session.t_retry",
		"max_clients":             "gateway.max_clients",
		"predefined_topic":        "predefined_topics",
		"predefined_topics.0.ids": "predefined_topics.0.id",
		"x":                       "",
		"completely.different":    "",
	} {
		if got := nearest(given, known); got != want {
			t.Errorf("%s: got %q, want %q", given, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s", fmt.Sprintf("%q, %q: got %d, want %d", c.a, c.b, got, c.want))
		}
	}
}
