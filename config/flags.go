package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the flags of the command line that stand for options.
type Flags struct {
	set      *pflag.FlagSet
	file     string
	udp      []string
	dtls     []string
	serial   []string
	mqtt     []string
	broker   []string
	state    string
	admin    string
	logLevel string
	options  []string
	to       string
	local    string
}

// AddFlags declares the flags in set.
func AddFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set}
	f.addLinks()
	set.StringArrayVar(&f.dtls, "dtls", nil, "listen for MQTT-SN over DTLS at this UDP `ADDR`ess, such as :8883 (may be repeated)")
	set.StringArrayVar(&f.mqtt, "mqtt", nil, "the embedded broker listens for MQTT at this TCP `ADDR`ess[,KEY=VALUE]..., such as :1883 or unix:/run/gateway/mqtt.sock (may be repeated)")
	set.StringArrayVar(&f.broker, "broker", nil, "connect clients with the MQTT broker at `URL`, such as mqtt://localhost:1884, instead of the embedded one (may be repeated, for brokers that stand in for each other)")
	set.StringVar(&f.state, "state", "", "keep sessions and messages in this `DIR`ectory, so that they survive a restart; without it nothing does")
	set.StringVar(&f.admin, "admin", "", "serve health checks and metrics at this TCP `ADDR`ess; \"\" for none")
	f.addCommon()
	return f
}

// AddForwardFlags declares the flags of a forwarder in set.
func AddForwardFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set}
	set.StringVar(&f.to, "to", "", "`HOST:PORT` of the gateway")
	f.addLinks()
	set.StringVar(&f.local, "local", "", "UDP `ADDR`ess that packets to the gateway leave from, such as :1884; without it any port")
	f.addCommon()
	return f
}

// addLinks declares the flags of links that clients may be on.
func (f *Flags) addLinks() {
	f.set.StringArrayVar(&f.udp, "udp", nil, "listen for MQTT-SN at this UDP `ADDR`ess[,KEY=VALUE]..., such as :1883 (may be repeated)")
	f.set.StringArrayVar(&f.serial, "serial", nil, "clients or a radio module on this serial port, `DEV`[,baud=N][,framing=raw|slip|cobs|xbee][,KEY=VALUE]... (may be repeated)")
}

// addCommon declares the flags that every program with a configuration has.
func (f *Flags) addCommon() {
	f.set.StringVar(&f.file, "config", "", "read this `FILE`; \"gateway config sample\" prints one")
	f.set.StringVar(&f.logLevel, "log-level", "", "log from this `LEVEL` on: debug, info, warn or error")
	f.set.StringArrayVar(&f.options, "set", nil, "set any option of the file: `KEY=VALUE` (may be repeated)")
}

// Input is what the configuration is to be read from: the flags, once they are parsed,
// and the environment.
func (f *Flags) Input(environ []string) Input {
	in := Input{File: f.file, Environ: environ}
	if !f.set.Changed("config") {
		for _, e := range environ {
			if name, value, _ := strings.Cut(e, "="); name == EnvFile {
				in.File = value
			}
		}
	}
	if len(f.udp) > 0 {
		in.Flags = append(in.Flags, Setting{"udp", elements("udp", "listen", f.udp), "--udp"})
		in.Problems = append(in.Problems, bareWords("--udp", "mtu=500", f.udp)...)
	}
	if len(f.dtls) > 0 {
		in.Flags = append(in.Flags, Setting{"dtls.listeners", asYAML(f.dtls), "--dtls"})
	}
	if len(f.serial) > 0 {
		in.Flags = append(in.Flags, Setting{"serial", elements("serial", "device", f.serial), "--serial"})
		in.Problems = append(in.Problems, bareWords("--serial", "framing=xbee", f.serial)...)
	}
	if len(f.mqtt) > 0 {
		in.Flags = append(in.Flags, Setting{"mqtt.listeners", elements("mqtt.listeners", "listen", f.mqtt), "--mqtt"})
		in.Problems = append(in.Problems, bareWords("--mqtt", "max_connections=100", f.mqtt)...)
	}
	for _, s := range []struct{ flag, key, value string }{
		{"broker", "broker.url", strings.Join(f.broker, ",")},
		{"state", "state.dir", f.state},
		{"admin", "admin.listen", f.admin},
		{"log-level", "log.level", f.logLevel},
		{"to", "forward.to", f.to},
		{"local", "forward.local", f.local},
	} {
		if f.set.Changed(s.flag) {
			in.Flags = append(in.Flags, Setting{s.key, s.value, "--" + s.flag})
		}
	}
	for _, o := range f.options {
		key, value, _ := strings.Cut(o, "=")
		in.Flags = append(in.Flags, Setting{key, value, "--set"})
	}
	return in
}

// elements is a list of sections as YAML, each given as FIRST[,KEY=VALUE]...
func elements(list, first string, texts []string) string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = element(list, first, text)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// element is FIRST[,KEY=VALUE]... as YAML: one section of a list, whose option first is
// named by its place. An option that is a list gets one more with each value.
func element(list, first, text string) string {
	head, rest, _ := strings.Cut(text, ",")
	options := []string{asYAML(first) + ": " + asYAML(head)}
	lists := make(map[string][]string)
	for part := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(part, "=")
		t, known := find(keys(configType, ""), list+"."+listIndex+"."+key)
		switch {
		case !ok: // see bareWords
		case known && t.Kind() == reflect.Slice:
			lists[key] = append(lists[key], value)
		case known && t.Kind() == reflect.String, !plainValue.MatchString(value):
			options = append(options, asYAML(key)+": "+asYAML(value))
		default:
			options = append(options, asYAML(key)+": "+value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(lists)) {
		options = append(options, asYAML(key)+": "+asYAML(lists[key]))
	}
	return "{" + strings.Join(options, ", ") + "}"
}

// bareWords complains of parts of FIRST[,KEY=VALUE]... that are no KEY=VALUE.
func bareWords(flag, example string, texts []string) []Problem {
	var wrong []Problem
	for _, text := range texts {
		_, rest, more := strings.Cut(text, ",")
		for part := range strings.SplitSeq(rest, ",") {
			if more && !strings.Contains(part, "=") {
				wrong = append(wrong, Problem{Where: flag, What: fmt.Sprintf("%q in %q is no KEY=VALUE, such as %s", part, text, example)})
			}
		}
	}
	return wrong
}

// plainValue is a value that YAML takes for what it is without quotes.
var plainValue = regexp.MustCompile(`^-?[A-Za-z0-9_][A-Za-z0-9_.]*$`)

// asYAML writes texts and lists of them; JSON is YAML.
func asYAML(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // not for the types given here
	}
	return string(text)
}
