package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/session"
)

// write makes a configuration file with that text.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads a file with that text and nothing else; the name of the file is "FILE" in
// the problems.
func load(t *testing.T, text string) (Config, []string) {
	t.Helper()
	path := write(t, text)
	c, _, err := Load(Input{File: path})
	return c, lines(t, err, path)
}

// lines are the problems of err, one text each.
func lines(t *testing.T, err error, path string) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		t.Fatalf("the error is a %T without problems: %v", err, err)
	}
	if path == "" {
		return strings.Split(err.Error(), "\n")
	}
	return strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
}

func TestNothingGiven(t *testing.T) {
	c, origins, err := Load(Input{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("got %+v, want the defaults", c)
	}
	if len(origins) != 0 {
		t.Errorf("origins of nothing: %v", origins)
	}
}

func TestPrecedence(t *testing.T) {
	path := write(t, "session:\n  t_retry: 2s\n  n_retry: 4\n  max_topics: 10\n  max_sleep: 1h\n")
	c, origins, err := Load(Input{
		File:    path,
		Environ: []string{"HOME=/root", "MQTTSN_SESSION_N_RETRY=5", "MQTTSN_SESSION_MAX_TOPICS=11", "MQTTSN_SESSION_MAX_SLEEP=2h", "MQTTSN_SESSION_T_RETRY="},
		Flags: []Setting{
			{"session.max_topics", "12", "--max-topics"},
			{"session.max_sleep", "3h", "--max-sleep"},
			{"session.max_sleep", "4h", "--set session.max_sleep"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, d := c.Session, session.DefaultOptions()
	if s.TRetry != 2*time.Second || s.NRetry != 5 || s.MaxTopics != 12 || s.MaxSleep != 4*time.Hour || s.Expiry != d.Expiry {
		t.Errorf("got %+v", s)
	}
	for key, want := range map[string]string{
		"session.t_retry":    path + ":2",
		"session.n_retry":    "environment variable MQTTSN_SESSION_N_RETRY",
		"session.max_topics": "--max-topics",
		"session.max_sleep":  "--set session.max_sleep",
		"session.expiry":     "",
	} {
		if origins[key] != want {
			t.Errorf("origin of %s is %q, want %q", key, origins[key], want)
		}
	}
}

func TestTopicsKeepTheirCase(t *testing.T) {
	c, bad := load(t, "predefined_topics:\n- {id: 1, topic: Sensors/Temp.C, client: Boiler}\n- id: 2\n  topic: a::b\n")
	want := []session.PredefinedTopic{{ID: 1, Topic: "Sensors/Temp.C", Client: "Boiler"}, {ID: 2, Topic: "a::b"}}
	if bad != nil || !slices.Equal(c.PredefinedTopics, want) {
		t.Errorf("got %v, %v", c.PredefinedTopics, bad)
	}
	o, err := c.GatewayOptions()
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := o.Session.Predefined.Name("Boiler", 1); name != "Sensors/Temp.C" || !ok {
		t.Errorf("the sessions have %q for id 1", name)
	}
}

func TestLists(t *testing.T) {
	file := write(t, "udp:\n- listen: 127.0.0.1:1\n- listen: 127.0.0.1:2\n  mtu: 100\n")
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		flags   []Setting
		want    []string
	}{
		{name: "file", file: file, want: []string{"127.0.0.1:1 1400", "127.0.0.1:2 100"}},
		{name: "one element", file: file, environ: []string{"MQTTSN_UDP_1_LISTEN=127.0.0.1:3"}, want: []string{"127.0.0.1:1 1400", "127.0.0.1:3 100"}},
		{name: "the default element", environ: []string{"MQTTSN_UDP_0_MTU=200"}, want: []string{"127.0.0.1:1883 200"}},
		{name: "a further element", environ: []string{"MQTTSN_UDP_1_LISTEN=127.0.0.1:3"}, want: []string{"127.0.0.1:1883 1400", "127.0.0.1:3 1400"}},
		{name: "all", file: file, flags: []Setting{{"udp", `[{"listen": "127.0.0.1:4"}]`, "--udp"}}, want: []string{"127.0.0.1:4 1400"}},
		{name: "all, then one", environ: []string{"MQTTSN_UDP_0_MTU=300", "MQTTSN_UDP=[{listen: '127.0.0.1:5'}]"}, want: []string{"127.0.0.1:5 300"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := Load(Input{File: c.file, Environ: c.environ, Flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, u := range got.UDP {
				have = append(have, u.Listen+" "+itoa(u.MTU))
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("got %q, want %q", have, c.want)
			}
		})
	}
}

// A choice may be true or false as YAML has them, or a word; any other text may not.
func TestChoice(t *testing.T) {
	for value, want := range map[string]auth.Choice{"true": auth.Yes, "False": auth.No, "auto": auth.Auto, `"true"`: auth.Yes} {
		c, bad := load(t, "auth:\n  allow_anonymous: "+value)
		if bad != nil || c.Auth.AllowAnonymous != want {
			t.Errorf("%s: %q %q", value, c.Auth.AllowAnonymous, bad)
		}
	}
	for value, want := range map[string]string{"1": "not a text", "no": "allowed is true, false or auto", "[]": "a list is given"} {
		if _, bad := load(t, "auth:\n  allow_anonymous: "+value); len(bad) != 1 || !strings.Contains(bad[0], want) {
			t.Errorf("%s: %q", value, bad)
		}
	}
	if _, bad := load(t, "auth:\n  acl_file: true"); len(bad) != 1 || !strings.Contains(bad[0], "in quotes") {
		t.Errorf("a text: %q", bad)
	}
	c, _, err := Load(Input{Environ: []string{"MQTTSN_AUTH_ALLOW_ANONYMOUS=false"}})
	if err != nil || c.Auth.AllowAnonymous != auth.No {
		t.Error(c.Auth, err)
	}
}

func TestManyElementsFromEnvironment(t *testing.T) {
	var environ []string
	for i := 11; i >= 0; i-- {
		environ = append(environ, "MQTTSN_PREDEFINED_TOPICS_"+itoa(i)+"_ID="+itoa(i+1), "MQTTSN_PREDEFINED_TOPICS_"+itoa(i)+"_TOPIC=t"+itoa(i))
	}
	c, _, err := Load(Input{Environ: environ})
	if err != nil || len(c.PredefinedTopics) != 12 || c.PredefinedTopics[10] != (session.PredefinedTopic{ID: 11, Topic: "t10"}) {
		t.Errorf("got %v, %v", c.PredefinedTopics, err)
	}
}

// A list that is longer, shorter or empty replaces the default as a whole.
func TestEmptyList(t *testing.T) {
	c, bad := load(t, "udp: []\n")
	if bad != nil || len(c.UDP) != 0 {
		t.Errorf("got %v, %v", c.UDP, bad)
	}
}

func TestKubernetesVariables(t *testing.T) {
	_, _, err := Load(Input{Environ: []string{
		"MQTTSN_SERVICE_HOST=10.0.0.1", "MQTTSN_SERVICE_PORT=1883", "MQTTSN_SERVICE_PORT_UDP=1883", "MQTTSN_PORT=udp://10.0.0.1:1883",
		"MQTTSN_PORT_1883_UDP=udp://10.0.0.1:1883", "MQTTSN_PORT_1883_UDP_ADDR=10.0.0.1", "MQTTSN_GATEWAY_SERVICE_HOST=10.0.0.1",
		"MQTTSN_GATEWAY_PORT_1883_UDP_PROTO=udp",
	}})
	if err != nil {
		t.Error(err)
	}
}

// FuzzFile: whatever the file holds, it is read or refused with problems.
func FuzzFile(f *testing.F) {
	for _, text := range []string{Sample, "udp:\n- \n", "a: &a [*a]\n", "session: {t_retry: 5}\n", "? {a: b}\n: c\n", "---\n---\n", "<<: {a: b}\n", "\x00", "0: 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := newLoader()
		l.yaml("gateway.yaml", []byte(text))
		_, err := l.result()
		lines(t, err, "gateway.yaml")
	})
}
