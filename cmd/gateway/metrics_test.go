package main

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/config"
)

var update = flag.Bool("update", false, "write docs/metrics.md instead of comparing it")

// shown is one metric as /metrics has it.
type shown struct {
	name, help, kind string
	labels           map[string][]string // with their values
}

var (
	sample = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? \S+$`)
	pair   = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// scrape adds the gateway's own metrics on a page to known.
func scrape(page string, known map[string]*shown) {
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP mqttsn_gateway_"); ok {
			name, help, _ := strings.Cut(rest, " ")
			name = "mqttsn_gateway_" + name
			if known[name] == nil {
				known[name] = &shown{name: name, help: help, labels: make(map[string][]string)}
			}
		} else if rest, ok := strings.CutPrefix(line, "# TYPE mqttsn_gateway_"); ok {
			name, kind, _ := strings.Cut(rest, " ")
			known["mqttsn_gateway_"+name].kind = kind
		} else if m := sample.FindStringSubmatch(line); m != nil && known[m[1]] != nil {
			for _, p := range pair.FindAllStringSubmatch(m[2], -1) {
				values := known[m[1]].labels
				if !slices.Contains(values[p[1]], p[2]) {
					values[p[1]] = append(values[p[1]], p[2])
				}
			}
		}
	}
}

const metricsHead = `# Metrics

<!-- Written by "go test ./cmd/gateway -run TestMetricsDocument -update" from a running gateway. -->

` + "`http://127.0.0.1:8080/metrics`" + ` has these metrics for Prometheus, and those of the Go runtime (` + "`go_`" + `) and of the
process (` + "`process_`" + `). No metric has a label for clients, topics or addresses of clients, so their number stays the same
however many devices there are. Counters start at 0 with the process.

What to watch:

- ` + "`mqttsn_gateway_ready`" + ` is 0 for more than a minute: devices are not served.
- ` + "`rate(mqttsn_gateway_drops_total[5m])`" + ` by reason: something is refused or lost, and why.
- ` + "`mqttsn_gateway_socket_drops_total`" + ` grows: the host is too slow, or ` + "`udp.receive_buffer`" + ` is too small.
- ` + "`mqttsn_gateway_queue_messages`" + ` grows without end: devices do not collect their messages.
- ` + "`mqttsn_gateway_state_level`" + ` above 1: the state directory fills up, or its disk has failed.
- ` + "`rate(mqttsn_gateway_state_sync_seconds_total[5m]) / rate(mqttsn_gateway_state_syncs_total[5m])`" + ` grows: the disk is
  slow, and so are acknowledgements.
- ` + "`rate(mqttsn_gateway_retransmissions_total[5m])`" + ` against packets sent: how bad the radio is.
- ` + "`rate(mqttsn_gateway_embedded_drops_total[5m])`" + ` by reason: an MQTT client or a device has lost messages, and why.
- ` + "`rate(mqttsn_gateway_embedded_disconnects_total[5m])`" + ` by reason: ` + "`session_taken_over`" + ` again and again are two
  clients with one client id, ` + "`keep_alive_timeout`" + ` a bad network.
`

// metricsDocument is docs/metrics.md.
func metricsDocument(known map[string]*shown) string {
	var b strings.Builder
	b.WriteString(metricsHead)
	prefix := func(p string) func(string) bool {
		return func(name string) bool { return strings.HasPrefix(name, "mqttsn_gateway_"+p+"_") }
	}
	inside, elsewhere, secure, line, kept := prefix("embedded"), prefix("upstream"), prefix("dtls"), prefix("serial"), prefix("state")
	for _, section := range []struct {
		title  string
		belong func(name string) bool
	}{
		{"Always", func(n string) bool { return !inside(n) && !elsewhere(n) && !secure(n) && !line(n) && !kept(n) }},
		{"With a state directory", kept},
		{"With DTLS", secure},
		{"With serial ports", line},
		{"With the broker inside", inside},
		{"With a broker elsewhere", elsewhere},
	} {
		var rows []*shown
		for name, m := range known {
			if section.belong(name) {
				rows = append(rows, m)
			}
		}
		slices.SortFunc(rows, func(a, b *shown) int { return cmp.Compare(a.name, b.name) })
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", section.title)
		for _, m := range rows {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labelsText(m), m.help)
		}
	}
	return b.String()
}

// labelsText lists the labels of a metric with their values, where those are the same
// for every gateway.
func labelsText(m *shown) string {
	var texts []string
	for _, label := range slices.Sorted(maps.Keys(m.labels)) {
		text := "`" + label + "`"
		values := m.labels[label]
		slices.Sort(values)
		switch label {
		case "link", "code", "version", "revision", "goversion":
		default:
			text += ": " + strings.Join(values, ", ")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// The document names every metric there is, and no other.
func TestMetricsDocument(t *testing.T) {
	known := make(map[string]*shown)
	t.Run("embedded", func(t *testing.T) {
		announced, _ := start(t,
			config.Setting{Key: "state.dir", Value: t.TempDir() + "/state"},
			config.Setting{Key: "dtls.listeners", Value: "127.0.0.1:0"},
			config.Setting{Key: "serial", Value: "[{device: /dev/not-plugged-in, required: false}]"})
		_, page := get(t, adminURL(announced)+"/metrics")
		scrape(page, known)
	})
	t.Run("upstream", func(t *testing.T) {
		announced, _ := start(t, config.Setting{Key: "broker.url", Value: "mqtt://" + closedPort(t)})
		_, page := get(t, adminURL(announced)+"/metrics")
		scrape(page, known)
	})
	const file = "../../docs/metrics.md"
	want := metricsDocument(known)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/metrics.md is not up to date: run go test ./cmd/gateway -run TestMetricsDocument -update")
	}
}
