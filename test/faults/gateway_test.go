package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gateway is the gateway under test over all its lives: each starts with the same
// options, at the same addresses and with the same state directory.
type gateway struct {
	t testing.TB
	*process
	// options are those of the configuration file by their full key, in YAML.
	options map[string]string
	// before is what the binary is run by, such as strace and its arguments; env are
	// variables of its environment.
	before, env []string
	binary      string
	// state is the state directory; "" runs the gateway without one.
	state            string
	udp, admin, mqtt string
	// broker is the URL of a broker elsewhere; "" means the one inside, at mqtt.
	broker string
	lives  int
	// slowest is the longest time from a start to the first answer.
	slowest time.Duration
}

// newGateway is a gateway that is yet to start, with a state directory.
func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{t: t, binary: gatewayBinary, udp: freeAddr(t), admin: freeAddr(t), mqtt: freeAddr(t),
		state: filepath.Join(t.TempDir(), "state"), options: map[string]string{
			"gateway.advertise": "0s", "session.t_retry": "300ms", "session.n_retry": "10",
			"broker.reconnect_min": "100ms", "broker.reconnect_max": "1s", "broker.health_interval": "1s",
		}}
	t.Cleanup(func() {
		if g.process == nil {
			return
		}
		if g.running() {
			g.kill()
		}
		g.inspect()
	})
	return g
}

// inspect looks for what no gateway may say.
func (g *gateway) inspect() {
	log := g.log.String()
	for _, bad := range []string{"panic: ", "DATA RACE", "fatal error: "} {
		if strings.Contains(log, bad) {
			g.t.Errorf("the gateway's log has %q", bad)
		}
	}
	if g.t.Failed() {
		g.t.Logf("the gateway's log ends with:\n%s", log[max(0, len(log)-20_000):])
	}
}

func (g *gateway) yaml() string {
	sections := map[string][]string{}
	for name, value := range g.options {
		section, option, _ := strings.Cut(name, ".")
		sections[section] = append(sections[section], "  "+option+": "+value)
	}
	var b strings.Builder
	for section, options := range sections {
		slices.Sort(options)
		fmt.Fprintf(&b, "%s:\n%s\n", section, strings.Join(options, "\n"))
	}
	return b.String()
}

// start starts the gateway and waits until it serves.
func (g *gateway) start() {
	g.t.Helper()
	began := time.Now()
	g.begin()
	eventually(g.t, "gateway answers over UDP", func() bool { return !g.running() || answersStranger(g.udp) })
	if !g.running() {
		g.t.Fatalf("gateway ended:\n%s", g.log)
	}
	g.slowest = max(g.slowest, time.Since(began))
}

// begin starts the gateway and does not wait.
func (g *gateway) begin() {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(g.yaml()), 0o600); err != nil {
		g.t.Fatal(err)
	}
	command := append(slices.Clone(g.before), g.binary, "--config", file, "--udp", g.udp, "--admin", g.admin, "--log-level", "info")
	if g.state != "" {
		command = append(command, "--state", g.state)
	}
	if g.broker != "" {
		command = append(command, "--broker", g.broker)
	} else {
		command = append(command, "--mqtt", g.mqtt)
	}
	if g.process != nil {
		g.inspect()
	}
	g.process = launch(g.t, "gateway", g.env, command[0], command[1:]...)
	g.lives++
}

// ready waits until the gateway says that it can serve: links and broker are up.
func (g *gateway) ready() {
	g.t.Helper()
	eventually(g.t, "gateway is ready", func() bool {
		resp, err := http.Get("http://" + g.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// answersStranger asks from an address of its own, so that no limit for one peer is used
// up by it.
func answersStranger(addr string) bool {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("\x02\x16")); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := conn.Read(make([]byte, 16))
	return err == nil && n == 2
}

// metric sums those of the gateway's own metrics that have all the labels, each written
// as name="value".
func (g *gateway) metric(name string, labels ...string) float64 {
	g.t.Helper()
	return g.metrics().sum(g.t, name, labels...)
}

// metrics are all of the gateway's, at one instant.
type metrics string

func (g *gateway) metrics() metrics {
	g.t.Helper()
	resp, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		g.t.Fatalf("metrics: %s, %v", resp.Status, err)
	}
	return metrics(text)
}

// sum is that of metric.
func (m metrics) sum(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.SplitSeq(string(m), "\n") {
		key, value, _ := strings.Cut(line, " ")
		bare, _, _ := strings.Cut(key, "{")
		missing := func(label string) bool { return !strings.Contains(key, label) }
		if bare != "mqttsn_gateway_"+name || slices.ContainsFunc(labels, missing) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// counters are the fates of messages for clients, at one instant: a message that is delivered
// between two looks would be missing.
func (g *gateway) counters() Counters {
	g.t.Helper()
	m := g.metrics()
	fate := func(name string) float64 { return m.sum(g.t, "messages_total", `fate="`+name+`"`) }
	return Counters{Received: fate("received"), Delivered: fate("delivered"), Returned: fate("returned"),
		Dropped: fate("dropped"), Queued: m.sum(g.t, "queue_messages")}
}
