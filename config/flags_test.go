package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/transports/serial"
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
	if len(c.MQTT.Listeners) != 2 || c.MQTT.Listeners[1].Listen != ":4" {
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

// A link and its options in one word.
func TestLinkFlags(t *testing.T) {
	c, _, err := parse(t, nil, "--serial", "/dev/ttyUSB0", "--serial", "/dev/a b,baud=9600,framing=slip,crc=true,status_timeout=2s",
		"--dtls", ":8883", "--dtls", "[::1]:8884",
		"--udp", ":1883,mtu=500,groups=225.1.1.1:1883,groups=[ff1e:feed:caca:dead::1]:1883,group_interfaces=lo")
	if err != nil {
		t.Fatal(err)
	}
	want := []serial.Options{serial.DefaultOptions(), serial.DefaultOptions()}
	want[0].Device = "/dev/ttyUSB0"
	want[1].Device, want[1].Baud, want[1].Framing, want[1].CRC, want[1].StatusTimeout = "/dev/a b", 9600, "slip", true, 2*time.Second
	if !reflect.DeepEqual(c.Serial, want) {
		t.Errorf("--serial: got %+v", c.Serial)
	}
	if !slices.Equal(c.DTLS.Listeners, []string{":8883", "[::1]:8884"}) {
		t.Errorf("--dtls: got %q", c.DTLS.Listeners)
	}
	if u := c.UDP[0]; u.Listen != ":1883" || u.MTU != 500 || len(u.Groups) != 2 || u.Groups[1] != "[ff1e:feed:caca:dead::1]:1883" || u.GroupInterfaces[0] != "lo" {
		t.Errorf("--udp: got %+v", u)
	}
	for _, bad := range []string{"/dev/ttyUSB0,xbee", "/dev/ttyUSB0,baud=fast", "/dev/ttyUSB0,speed=1", ",baud=9600", "/dev/ttyUSB0,framing=morse", "/dev/ttyUSB0,baud=]"} {
		if _, _, err := parse(t, nil, "--serial", bad); err == nil {
			t.Errorf("--serial %s is accepted", bad)
		}
	}
}

// A listener and its options in one word.
func TestListenerFlags(t *testing.T) {
	c, origins, err := parse(t, []string{"MQTTSN_MQTT_LISTENERS_0_SOCKET_MODE=0600", "MQTTSN_MQTT_LISTENERS_1_SOCKET_DOMAIN=ipv6"},
		"--mqtt", "unix:/run/a b/mqtt.sock,socket_mode=0666", "--mqtt", ":1883,socket_domain=ipv4,max_connections=-1,mount_point=site-1/")
	if err != nil {
		t.Fatal(err)
	}
	want := []embedded.ListenerOptions{embedded.DefaultListenerOptions(), embedded.DefaultListenerOptions()}
	want[0].Listen, want[0].SocketMode = "unix:/run/a b/mqtt.sock", "0666"
	want[1].Listen, want[1].SocketDomain, want[1].MountPoint = ":1883", "ipv4", "site-1/"
	if !reflect.DeepEqual(c.MQTT.Listeners, want) || origins["mqtt.listeners.1.socket_domain"] != "--mqtt" {
		t.Errorf("got %+v from %q", c.MQTT.Listeners, origins["mqtt.listeners.1.socket_domain"])
	}
	c, _, err = parse(t, []string{"MQTTSN_MQTT_LISTENERS_0_SOCKET_MODE=0600", "MQTTSN_MQTT_LISTENERS_0_LISTEN=unix:/x"})
	if err != nil || c.MQTT.Listeners[0].SocketMode != "0600" || c.MQTT.Listeners[0].Listen != "unix:/x" {
		t.Errorf("got %+v, %v", c.MQTT.Listeners, err)
	}
	for bad, key := range map[string]string{
		"unix:":                      "mqtt.listeners.0.listen",
		"unix:/x,socket_mode=999":    "mqtt.listeners.0.socket_mode",
		"unix:/x,socket_domain=ipv4": "mqtt.listeners.0.socket_domain",
		":1883,socket_domain=ip":     "mqtt.listeners.0.socket_domain",
		":1883,mount_point=site":     "mqtt.listeners.0.mount_point",
		":1883,max_connections=0":    "mqtt.listeners.0.max_connections",
		":1883,mode=0660":            "mqtt.listeners.0.mode",
	} {
		_, _, err := parse(t, nil, "--mqtt", bad)
		if got := lines(t, err, ""); len(got) != 1 || !strings.HasPrefix(got[0], "--mqtt: "+key+": ") {
			t.Errorf("--mqtt %s: got %q", bad, got)
		}
	}
}

// Lists of texts, in all forms, also of texts that YAML would take for something else.
func TestListsOfTexts(t *testing.T) {
	for value, want := range map[string][]string{
		"*":               {"*"},
		"*-${identity}":   {"*-${identity}"},
		"${identity}, *":  {"${identity}", "*"},
		"[a, b]":          {"a", "b"},
		`["*"]`:           {"*"},
		"- a\n- b":        {"a", "b"},
		"[ff1e::1]:1883":  {"[ff1e::1]:1883"},
		"[::1]:1,[::2]:2": {"[::1]:1", "[::2]:2"},
		"sensor: yes":     {"sensor: yes"},
	} {
		c, _, err := parse(t, nil, "--set", "gateway.identity_client_ids="+value)
		if err != nil || !slices.Equal(c.Gateway.IdentityClientIDs, want) {
			t.Errorf("%q: got %q, %v", value, c.Gateway.IdentityClientIDs, err)
		}
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
