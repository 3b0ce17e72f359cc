package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The set-ups in which tests run.
const (
	embedded = "embedded"  // the gateway's own broker
	upstream = "mosquitto" // a real Mosquitto
	scripted = "scripted"  // a broker that does what the test says
)

// rig is one test's gateway with its broker and its medium.
type rig struct {
	*testing.T
	setup    string
	settings []setting
	plan     plan
	medium   medium
	// network has the devices; nil if they come over UDP.
	network   network
	gateway   *gateway
	mosquitto *mosquitto
	script    *script
	publisher *mqttClient
}

// newRig starts what the set-up and the settings ask for. Devices come over UDP.
func newRig(t *testing.T, setup string, settings ...setting) *rig {
	t.Helper()
	return newRigOver(t, overUDP, setup, settings...)
}

// newRigOver starts the same for devices that come over another medium.
func newRigOver(t *testing.T, m medium, setup string, settings ...setting) *rig {
	t.Helper()
	return newRigOn(t, m, newNetwork(t, m), setup, settings...)
}

func newRigOn(t *testing.T, m medium, n network, setup string, settings ...setting) *rig {
	t.Helper()
	r := &rig{T: t, setup: setup, settings: settings, plan: newPlan(settings...), medium: m, network: n}
	if n != nil {
		r.plan.args = append(r.plan.args, n.args()...)
		r.plan.setDefault("session.t_retry_min", r.plan.keys["session.t_retry"]) // else it follows
		r.plan.setDefault("session.t_retry_max", r.plan.keys["session.t_retry"]) // the round trips
	}
	r.plan.setDefault("gateway.advertise", "0s") // else an ADVERTISE comes when it likes
	if r.plan.inGroup {
		r.plan.group = freeGroup(t)
		r.plan.args = append(r.plan.args, groupArgs(r.plan.group)...)
	}
	upstreamAddr := ""
	if setup != embedded {
		// A broker that comes back is found soon.
		for name, value := range map[string]string{"reconnect_min": "100ms", "reconnect_max": "500ms", "health_interval": "1s"} {
			r.plan.keys["broker."+name] = value
		}
	}
	if r.plan.overTLS {
		r.plan.secure(t)
	}
	switch {
	case setup == scripted:
		r.script = startScript(t)
		upstreamAddr = r.script.addr
	case setup == upstream && r.plan.brokerDown:
		upstreamAddr = freeAddr(t)
	case setup == upstream:
		r.mosquitto = startMosquitto(t, r.plan)
		upstreamAddr = r.mosquitto.addr
	}
	r.gateway = startGateway(t, r.plan, upstreamAddr, nil)
	return r
}

// onTime is a test in which the device keeps a promise about time. On a machine too busy
// for that the test returns false, and is done again.
func onTime(test func(*rig) bool) func(*rig) {
	return func(r *rig) {
		const attempts = 5
		for range attempts {
			if test(r) {
				return
			}
			r = newRigOver(r.T, r.medium, r.setup, r.settings...)
		}
		r.Fatalf("the machine was too busy %d times", attempts)
	}
}

// restartGateway starts the gateway again, at the same addresses.
func (r *rig) restartGateway() {
	r.Helper()
	upstreamAddr := ""
	if r.mosquitto != nil {
		upstreamAddr = r.mosquitto.addr
	}
	r.gateway = startGateway(r.T, r.plan, upstreamAddr, r.gateway)
}

// device is a client that the gateway has not heard of.
func (r *rig) device(id string) *device {
	r.Helper()
	return newDeviceOn(r.T, r.dial, id)
}

// dial is a device's connection, from an address of its own.
func (r *rig) dial() net.Conn {
	r.Helper()
	if r.network != nil {
		return r.network.dial(r.T)
	}
	return dialUDP(r.T, r.gateway.udp)
}

// client is the reference's cli-1, connected with the flags of CONNECT.
func (r *rig) client(flags byte) *device {
	r.Helper()
	d := r.device("cli-1")
	d.connect(flags, minute)
	return d
}

// watch subscribes an MQTT client to the filter.
func (r *rig) watch(filter string) *mqttClient {
	r.Helper()
	c := dialMQTT(r.T, r.gateway.mqtt, "watcher", true)
	c.subscribe(filter, 2)
	return c
}

// publish publishes at the broker.
func (r *rig) publish(topic, payload string, qos byte, retain ...bool) {
	r.Helper()
	if r.publisher == nil {
		r.publisher = dialMQTT(r.T, r.gateway.mqtt, "publisher", true)
	}
	r.publisher.publish(topic, payload, qos, retain...)
}

// leave publishes for somebody who does not take messages now, and waits until the
// gateway has the message in its queue.
func (r *rig) leave(topic, payload string, qos byte) {
	r.Helper()
	before := r.metric("queue_messages")
	r.publish(topic, payload, qos)
	eventually(r.T, "the message waits in the gateway", func() bool { return r.metric("queue_messages") > before })
}

// metric is one of the gateway's.
func (r *rig) metric(name string) float64 {
	r.Helper()
	return r.gateway.metric(r.T, name)
}

// table has the tests of a group by id and set-up.
type table map[string]map[string]check

// check is one test in one set-up, or the reason why there is none.
type check struct {
	run      func(*rig)
	settings []setting
	reason   string
	// medium and broker are given where the set-up is a medium; else devices come over
	// UDP, and the set-up is the broker.
	medium medium
	broker string
}

// rig starts what the check needs.
func (c check) rig(t *testing.T, setup string) *rig {
	t.Helper()
	if c.medium != "" {
		return newRigOver(t, c.medium, c.broker, c.settings...)
	}
	return newRig(t, setup, c.settings...)
}

// both runs the same test with the embedded broker and with Mosquitto.
func both(run func(*rig), settings ...setting) map[string]check {
	c := check{run: run, settings: settings}
	return map[string]check{embedded: c, upstream: c}
}

// does is a test for one set-up.
func does(run func(*rig), settings ...setting) check { return check{run: run, settings: settings} }

// absent says why an id means nothing in one set-up.
func absent(reason string) check { return check{reason: reason} }

// run runs the tables of a group as TestGroup/ID/set-up, where the set-up is a broker,
// or a medium.
func run(t *testing.T, tables ...table) {
	t.Parallel()
	for _, group := range tables {
		for id, setups := range group {
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				for setup, check := range setups {
					t.Run(setup, func(t *testing.T) {
						t.Parallel()
						if check.run == nil {
							t.Logf("%s does not apply here: %s", id, check.reason)
							return
						}
						check.run(check.rig(t, setup))
					})
				}
				for _, v := range variants {
					v.run(t, id, setups[v.setup])
				}
			})
		}
	}
}

// groups are the tables of all ids.
func groups() []table {
	return slices.Concat(framing, connecting, registering, publishing, subscribing, keepingAlive, sleeping, willing, minusOne, discovering, forwarding)
}

// groupsOverMedia are the first letters of those that run over every medium.
const groupsOverMedia = "PSZDX"

// TestEveryIDHasItsTest compares the tables with the committed list of ids.
func TestEveryIDHasItsTest(t *testing.T) {
	t.Parallel()
	listed := readIDs(t)
	tests := map[string]map[string]check{}
	for _, group := range groups() {
		for id, setups := range group {
			if _, twice := tests[id]; twice {
				t.Errorf("%s is in two tables", id)
			}
			if !listed[id] {
				t.Errorf("%s is not in testdata/ids.txt", id)
			}
			tests[id] = setups
		}
	}
	for id := range listed {
		ran := 0
		required := []string{embedded, upstream}
		if strings.Contains(groupsOverMedia, id[:1]) {
			for _, m := range media {
				required = append(required, string(m))
			}
		}
		for _, setup := range append(required, scripted) {
			check, ok := tests[id][setup]
			switch {
			case !ok && setup != scripted:
				t.Errorf("%s has no test in the set-up %s, and no reason for it", id, setup)
			case check.run != nil:
				ran++
			case ok && check.reason == "":
				t.Errorf("%s in the set-up %s has neither test nor reason", id, setup)
			}
		}
		if ran == 0 {
			t.Errorf("%s runs in no set-up", id)
		}
	}
}

func readIDs(t *testing.T) map[string]bool {
	file, err := os.Open("testdata/ids.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ids := map[string]bool{}
	form := regexp.MustCompile(`^[FCRPSKZWQDX]\d\d$`)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case form.MatchString(line):
			ids[line] = true
		case line != "" && line[0] != '#':
			t.Errorf("testdata/ids.txt: %q is no id", line)
		}
	}
	return ids
}

// reportAbsent prints the ids that do not apply in a set-up, and why.
func reportAbsent() {
	var lines []string
	for _, group := range groups() {
		for id, setups := range group {
			for setup, check := range setups {
				if check.run == nil {
					lines = append(lines, fmt.Sprintf("e2e: %s does not apply in the set-up %s: %s", id, setup, check.reason))
				}
			}
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}
