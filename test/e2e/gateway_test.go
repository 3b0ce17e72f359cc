package e2e

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

	"mqttsn-gateway/test/pki"
)

// gateway is a running gateway process and where it can be reached.
type gateway struct {
	*process
	udp, admin string
	// mqtt is the address of the broker: the embedded one's, or the upstream one's.
	mqtt string
	// state is the state directory; "" for none.
	state string
}

// plan is what a gateway is started with.
type plan struct {
	// keys are options of the configuration file by their full key, in YAML.
	keys map[string]string
	// predefined are the entries of predefined_topics, in YAML.
	predefined []string
	// args are further arguments of the command line.
	args []string
	// mosquitto are further lines of Mosquitto's configuration; {dir} in them is where
	// mosquittoFiles are.
	mosquitto      []string
	mosquittoFiles map[string]string
	// overTLS: the gateway has a certificate, and uses the broker over TLS, at brokerURL.
	overTLS   bool
	brokerURL string
	// brokerDown: there is no upstream broker yet.
	brokerDown bool
	// inGroup: the gateway has a multicast group, which gets a port when it starts.
	inGroup bool
	group   string
	// state: the gateway has a state directory, the same after a restart.
	state bool
}

// setting changes a plan.
type setting func(*plan)

// The retransmission timing of the tests. Tests that are not about it get time enough
// to answer on a busy machine.
const (
	calmRetry = 5 * time.Second
	fastRetry = 600 * time.Millisecond
	nRetry    = 3
)

func newPlan(settings ...setting) plan {
	p := plan{
		keys: map[string]string{"session.t_retry": calmRetry.String(), "session.n_retry": fmt.Sprint(nRetry)},
		predefined: []string{
			`{id: 10, topic: "pre/ten"}`,
			`{id: 11, topic: "pre/eleven"}`,
			`{id: 12, topic: "pre/own", client: "cli-1"}`,
		},
	}
	for _, set := range settings {
		set(&p)
	}
	return p
}

// key sets one option of the configuration file.
func key(name, value string) setting { return func(p *plan) { p.keys[name] = value } }

// setDefault sets an option that no setting has set.
func (p plan) setDefault(name, value string) {
	if _, set := p.keys[name]; !set {
		p.keys[name] = value
	}
}

// retryFast is for tests of retransmission.
func retryFast(p *plan) { p.keys["session.t_retry"] = fastRetry.String() }

// withState is for tests of what survives.
func withState(p *plan) { p.state = true }

// aggregating has the gateway connect all devices over a few connections.
func aggregating(p *plan) {
	p.state = true
	p.keys["broker.mode"] = "aggregating"
}

// overTLS has the gateway use TLS to the broker.
func overTLS(p *plan) { p.overTLS = true }

// secure gives Mosquitto a listener for TLS, at which only the gateway's certificate counts;
// the tests themselves use the other one.
func (p *plan) secure(t testing.TB) {
	ca := pki.New(t, "authority")
	broker, gateway := ca.Issue("broker", nil), ca.Issue("gateway", nil)
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	p.brokerURL = "mqtts://" + addr
	p.keys["broker.ca_file"] = ca.File
	p.keys["broker.certificate_file"], p.keys["broker.key_file"] = gateway.CertificateFile, gateway.KeyFile
	p.mosquitto = append(p.mosquitto, "listener "+port+" 127.0.0.1", "cafile "+ca.File,
		"certfile "+broker.CertificateFile, "keyfile "+broker.KeyFile, "require_certificate true")
}

func brokerDown(p *plan) { p.brokerDown = true }

// mosquittoLine adds lines to Mosquitto's configuration.
func mosquittoLine(lines ...string) setting {
	return func(p *plan) { p.mosquitto = append(p.mosquitto, lines...) }
}

// denyWrites makes Mosquitto refuse messages to no/#.
func denyWrites(p *plan) {
	p.mosquitto = append(p.mosquitto, "acl_file {dir}/acl")
	p.mosquittoFiles = map[string]string{"acl": "topic deny no/#\ntopic readwrite #\n"}
}

// denySubscriptions makes Mosquitto refuse all subscriptions, which its own ACL files
// cannot do.
func denySubscriptions(p *plan) {
	plugin := "mosquitto_dynamic_security.so"
	for _, pattern := range []string{"/usr/lib/*/", "/usr/lib/", "/usr/local/lib/"} {
		if found, _ := filepath.Glob(pattern + plugin); len(found) > 0 {
			plugin = found[0]
		}
	}
	p.mosquitto = append(p.mosquitto, "plugin "+plugin, "plugin_opt_config_file {dir}/roles.json")
	p.mosquittoFiles = map[string]string{"roles.json": `{"defaultACLAccess": {"publishClientSend": true,
		"publishClientReceive": true, "subscribe": false, "unsubscribe": true}, "clients": [], "groups": [], "roles": []}`}
}

// yaml is the configuration file of the plan.
func (p plan) yaml() string {
	sections := map[string][]string{}
	for name, value := range p.keys {
		section, option, _ := strings.Cut(name, ".")
		sections[section] = append(sections[section], "  "+option+": "+value)
	}
	var b strings.Builder
	for section, options := range sections {
		slices.Sort(options)
		fmt.Fprintf(&b, "%s:\n%s\n", section, strings.Join(options, "\n"))
	}
	b.WriteString("predefined_topics:\n")
	for _, entry := range p.predefined {
		b.WriteString("  - " + entry + "\n")
	}
	return b.String()
}

// startGateway starts the binary at free addresses, or at those of old, and waits until
// it answers. upstream is the address of the broker; "" means the embedded one.
func startGateway(t testing.TB, p plan, upstream string, old *gateway) *gateway {
	t.Helper()
	g := &gateway{mqtt: upstream}
	if old != nil {
		g.udp, g.admin, g.mqtt, g.state = old.udp, old.admin, old.mqtt, old.state
	} else {
		g.udp, g.admin = freeAddr(t), freeAddr(t)
		if p.state {
			g.state = filepath.Join(t.TempDir(), "state")
		}
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(p.yaml()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", file, "--udp", g.udp, "--admin", g.admin, "--log-level", "debug"}
	switch {
	case upstream != "":
		url := "mqtt://" + upstream
		if p.brokerURL != "" {
			url = p.brokerURL
		}
		args = append(args, "--broker", url)
	case g.mqtt == "":
		g.mqtt = freeAddr(t)
		fallthrough
	default:
		args = append(args, "--mqtt", g.mqtt)
	}
	if g.state != "" {
		args = append(args, "--state", g.state)
	}
	g.process = launch(t, "gateway", gatewayBinary, append(args, p.args...)...)
	eventually(t, "gateway answers over UDP", func() bool { return !g.running() || answersStranger(g.udp) })
	if old == nil && !g.running() && g.log.tellsOfTakenAddress() {
		return startGateway(t, p, upstream, nil) // another run was faster
	}
	t.Cleanup(func() { g.checkedStop(t) })
	if !g.running() {
		t.Fatalf("gateway ended: %v\n%s", g.err, g.log)
	}
	if !p.brokerDown {
		eventually(t, "gateway is ready", func() bool { return httpStatus("http://"+g.admin+"/readyz") == http.StatusOK })
	}
	return g
}

// answersStranger asks from an address of its own, so that no limit for one peer is
// used up by it.
func answersStranger(addr string) bool {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("\x02\x16")); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	n, err := conn.Read(make([]byte, 16))
	return err == nil && n == 2
}

func httpStatus(url string) int {
	client := http.Client{Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// checkedStop ends the gateway and fails the test if it did not end well, or if its log
// tells of something that must not happen.
func (g *gateway) checkedStop(t testing.TB) {
	t.Helper()
	if g.running() {
		if err := g.terminate(patience); err != nil {
			t.Errorf("gateway after SIGTERM: %v", err)
		}
	}
	log := g.log.String()
	for _, bad := range []string{"panic", "DATA RACE", "fatal error"} {
		if strings.Contains(log, bad) {
			t.Errorf("the gateway's log has %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("the gateway's log:\n%s", log)
	}
}

// memory is the resident memory of the gateway in octets.
func (g *gateway) memory(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func httpBody(t testing.TB, url string) string {
	t.Helper()
	client := http.Client{Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

// metric sums one of the gateway's own metrics over all labels.
func (g *gateway) metric(t testing.TB, name string) float64 {
	t.Helper()
	return g.labelled(t, name, "")
}

// labelled sums those that have a label, written as name="value".
func (g *gateway) labelled(t testing.TB, name, label string) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.SplitSeq(httpBody(t, "http://"+g.admin+"/metrics"), "\n") {
		labelled, value, _ := strings.Cut(line, " ")
		if bare, _, _ := strings.Cut(labelled, "{"); bare != "mqttsn_gateway_"+name || !strings.Contains(labelled, label) {
			continue
		}
		n, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		sum += n
	}
	return sum
}
