package config

import (
	"testing"

	"github.com/spf13/pflag"
)

// parse reads the configuration that a command line and an environment give.
func parse(t *testing.T, environ []string, args ...string) (Config, Origins, error) {
	t.Helper()
	set := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
	f := AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(f.Input(environ))
}

func TestFlags(t *testing.T) {
	file := write(t, "udp:\n- listen: 127.0.0.1:9\n  mtu: 100\nadmin:\n  listen: 127.0.0.1:9\nlog:\n  level: warn\n")
	c, origins, err := parse(t, []string{"MQTTSN_LOG_LEVEL=error", "MQTTSN_ADMIN_LISTEN=127.0.0.1:8"},
		"--config", file, "--udp", ":1", "--udp", "[::1]:2", "--mqtt", ":3", "--mqtt", ":4", "--admin", "",
		"--log-level", "debug", "--set", "session.n_retry=7", "--set", "predefined_topics=[{id: 1, topic: a=b}]")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.UDP) != 2 || c.UDP[0].Listen != ":1" || c.UDP[0].MTU != 1400 || c.UDP[1].Listen != "[::1]:2" {
		t.Errorf("--udp: got %+v", c.UDP)
	}
	if len(c.MQTT.Listeners) != 2 || c.MQTT.Listeners[1] != ":4" {
		t.Errorf("--mqtt: got %+v", c.MQTT)
	}
	if c.Admin.Listen != "" || origins["admin.listen"] != "--admin" {
		t.Errorf("--admin: got %q from %q", c.Admin.Listen, origins["admin.listen"])
	}
	if c.Log.Level != "debug" || c.Session.NRetry != 7 {
		t.Errorf("got level %q, n_retry %d", c.Log.Level, c.Session.NRetry)
	}
	if len(c.PredefinedTopics) != 1 || c.PredefinedTopics[0].Topic != "a=b" {
		t.Errorf("--set: got %+v", c.PredefinedTopics)
	}
}

func TestFileFromEnvironment(t *testing.T) {
	warn, debug := write(t, "log: {level: warn}\n"), write(t, "log: {level: debug}\n")
	environ := []string{EnvFile + "=" + warn}
	if c, _, err := parse(t, environ); err != nil || c.Log.Level != "warn" {
		t.Errorf("environment: got %q, %v", c.Log.Level, err)
	}
	if c, _, err := parse(t, environ, "--config", debug); err != nil || c.Log.Level != "debug" {
		t.Errorf("flag: got %q, %v", c.Log.Level, err)
	}
	if c, _, err := parse(t, environ, "--config", ""); err != nil || c.Log.Level != "info" {
		t.Errorf("empty flag: got %q, %v", c.Log.Level, err)
	}
}

func TestSetWithoutValue(t *testing.T) {
	for arg, want := range map[string]string{
		"log.level":          `--set: log.level: "" is not a level: debug, info, warn or error`,
		"=x":                 "--set: there is no such option",
		"session.n_retry":    `--set: session.n_retry: "" is given; allowed is a whole number`,
		"session.t_retry=10": "--set: session.t_retry: 10 has no unit; write 10s for seconds, 10ms for milliseconds",
	} {
		_, _, err := parse(t, nil, "--set", arg)
		if got := lines(t, err, ""); len(got) != 1 || got[0] != want {
			t.Errorf("--set %s: got %q, want %q", arg, got, want)
		}
	}
}
