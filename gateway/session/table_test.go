package session

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/mqttsn"
)

// The table of states and packets has no empty cell: for each situation a client can be
// in and each packet that can come, testdata/table.golden lists what comes of it. A cell
// that is not listed fails the test, and so does a listed one that is not there any more.

// setting is a situation that a client can be in, and the steps that lead to it.
type setting struct {
	name  string
	state State
	steps []string
}

// situations lead to each state, some states by several ways.
var situations = []setting{
	{"disconnected, never seen", Disconnected, nil},
	{"disconnected, session stored", Disconnected, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "1s device DISCONNECT"}},
	{"lost, session stored", Lost, []string{
		"0s device CONNECT duration=60", "90s run"}},
	{"awaiting_will_topic", AwaitingWillTopic, []string{
		"0s device CONNECT will duration=60"}},
	{"awaiting_will_topic, a connection is open", AwaitingWillTopic, []string{
		"0s device CONNECT duration=60", "1s device CONNECT will duration=60"}},
	{"awaiting_will_msg", AwaitingWillMsg, []string{
		"0s device CONNECT will duration=60", "1s device WILLTOPIC w/dead qos=1"}},
	{"connecting", Connecting, []string{
		"manual", "0s device CONNECT duration=60"}},
	{"active, just accepted", Active, []string{
		"0s device CONNECT duration=60"}},
	{"active, just accepted with a will", Active, []string{
		"0s device CONNECT will duration=60", "0s device WILLTOPIC w/dead qos=1", "0s device WILLMSG dead"}},
	{"active, a QoS 1 message is in hand", Active, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message #1 ab "down" qos=1`, `1s broker message #2 ab "next" qos=1`}},
	{"active, a QoS 2 message is in hand", Active, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message #1 ab "down" qos=2`}},
	{"active, PUBREL is not answered", Active, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message #1 ab "down" qos=2`, "1s device PUBREC msg=1"}},
	{"active, REGISTER is not answered", Active, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 s/+",
		`1s broker message #1 s/x "down" qos=1`}},
	{"active, the client does not answer any more", Active, []string{
		"0s device CONNECT duration=600", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message #1 ab "down" qos=1`, "60s run"}},
	{"active, the broker has not answered PUBLISH and SUBSCRIBE", Active, []string{
		"manual", "0s device CONNECT duration=60", "0s broker ok #1", "0s device REGISTER msg=1 s/mine",
		`1s device PUBLISH topic=1 qos=2 msg=7 "up"`, "1s device SUBSCRIBE msg=7 qos=1 s/temp",
		`1s broker message #1 s/temp "down" qos=1`}},
	{"active, QoS 2 of the client waits for PUBREL", Active, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", `1s device PUBLISH topic=1 qos=2 msg=7 "up"`}},
	{"asleep, nothing waits", Asleep, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "1s device DISCONNECT duration=60"}},
	{"asleep, messages wait", Asleep, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		"1s device DISCONNECT duration=60", `2s broker message ab "zero"`, `2s broker message #2 ab "one" qos=1`}},
	{"asleep, a message in hand was not acknowledged", Asleep, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message #1 ab "down" qos=1`, "1s device DISCONNECT duration=60"}},
	{"awake, a message is in hand", Awake, []string{
		"0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		"1s device DISCONNECT duration=60", `2s broker message #1 ab "down" qos=1`, "3s device PINGREQ dev"}},
	{"awake, SUBSCRIBE is not answered", Awake, []string{
		"manual", "0s device CONNECT duration=60", "0s broker ok #1", "0s device REGISTER msg=1 s/mine",
		"1s device DISCONNECT duration=60", "2s device SUBSCRIBE msg=1 qos=2 short=ab", "3s device PINGREQ dev"}},
}

// packets are what can come, each type in the forms that differ.
var packets = []string{
	"ADVERTISE", "SEARCHGW", "GWINFO",
	"CONNECT duration=60", "CONNECT clean duration=60", "CONNECT will duration=60", "CONNECT clean will duration=60",
	"CONNECT duration=60 protocol=9",
	"CONNACK accepted", "WILLTOPICREQ", "WILLMSGREQ",
	"WILLTOPIC w/new qos=1", "WILLTOPIC", "WILLTOPIC w/# qos=1", "WILLMSG new",
	"REGISTER msg=7 s/new", "REGISTER msg=7 a/#",
	"REGACK topic=2 msg=1 accepted", "REGACK topic=2 msg=1 congestion", "REGACK topic=2 msg=1 not-supported", "REGACK topic=9 msg=99 accepted",
	"PUBLISH topic=1 up", "PUBLISH topic=1 qos=1 msg=7 up", "PUBLISH topic=1 qos=2 msg=7 up", "PUBLISH topic=1 qos=2 msg=7 dup up",
	"PUBLISH topic=99 qos=1 msg=7 up", "PUBLISH predefined=99 up", "PUBLISH short=cd qos=-1 up", "PUBLISH reserved=1 qos=1 msg=7 up",
	"PUBACK topic=24930 msg=1 accepted", "PUBACK topic=24930 msg=1 congestion", "PUBACK topic=24930 msg=1 invalid-topic-id",
	"PUBACK topic=24930 msg=1 not-supported", "PUBACK topic=24930 msg=99 accepted", "PUBACK topic=1 msg=0 congestion",
	"PUBREC msg=1", "PUBREC msg=99", "PUBREL msg=7", "PUBREL msg=99", "PUBCOMP msg=1", "PUBCOMP msg=99",
	"SUBSCRIBE msg=7 qos=1 s/temp", "SUBSCRIBE msg=8 qos=1 s/#", "SUBSCRIBE msg=8 qos=1 a+", "SUBSCRIBE msg=8 qos=1 predefined=99",
	"SUBACK topic=1 msg=1 accepted",
	"UNSUBSCRIBE msg=7 s/temp", "UNSUBSCRIBE msg=8 predefined=99", "UNSUBACK msg=1",
	"PINGREQ", "PINGREQ dev", "PINGRESP",
	"DISCONNECT", "DISCONNECT duration=30", "DISCONNECT duration=0",
	"WILLTOPICUPD w/new qos=1", "WILLTOPICUPD", "WILLTOPICUPD w/#", "WILLTOPICRESP accepted",
	"WILLMSGUPD new", "WILLMSGRESP accepted",
	"ENCAPSULATED",
}

func TestTable(t *testing.T) {
	checkTable(t, "testdata/table.golden", situations, nil)
}

// checkTable compares what comes of each packet in each of the situations with a file.
// after looks at each session then.
func checkTable(t *testing.T, file string, in []setting, after func(string, *scenario)) {
	t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "# What comes of each packet in each situation. Written by go test -run %s -rewrite.\n", t.Name())
	for _, sit := range in {
		fmt.Fprintf(&out, "\n== %s\n", sit.name)
		for _, p := range packets {
			text, sc := cell(t, sit.steps, sit.state, p)
			fmt.Fprintf(&out, "%-48s %s\n", p, text)
			if after != nil {
				after(sit.name+", "+p, sc)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != out.String() {
		t.Error(difference(string(want), out.String()))
	}
}

// cell brings a session into a situation and returns what it does with a packet.
func cell(t *testing.T, steps []string, state State, packet string) (string, *scenario) {
	t.Helper()
	sc := situation(t, steps, state)
	sc.manual = true // what the broker answers is another step
	if err := sc.step("device", strings.Fields(packet)); err != nil {
		t.Fatalf("%s: %v", packet, err)
	}
	checkCell(t, state, sc, packet)
	lines := strings.Split(strings.TrimSpace(sc.out.String()), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; "), sc
}

func situation(t *testing.T, steps []string, state State) *scenario {
	t.Helper()
	var out strings.Builder
	sc := newScenario(&out)
	for _, step := range steps {
		if err := sc.line(step); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	if got := sc.session().State(); got != state {
		t.Fatalf("the steps lead to %v, not to %v:\n%s", got, state, out.String())
	}
	out.Reset()
	return sc
}

// checkCell holds the rules that no listing may override.
func checkCell(t *testing.T, state State, sc *scenario, packet string) {
	t.Helper()
	out := sc.out.String()
	kind := strings.Fields(packet)[0]
	sends := strings.Count(out, "-> ")
	fail := func(rule string) { t.Errorf("%v, %s: %s:\n%s", state, packet, rule, out) }
	switch kind {
	case "ADVERTISE", "GWINFO", "SEARCHGW", "CONNACK", "WILLTOPICREQ", "WILLMSGREQ", "SUBACK", "UNSUBACK", "WILLTOPICRESP",
		"WILLMSGRESP", "ENCAPSULATED":
		if state != Active && (sends > 0 || strings.Contains(out, "=> ")) {
			fail("what only gateways send is not answered")
		}
		if sc.s.State() != state {
			fail("what only gateways send changes nothing")
		}
	case "PUBACK", "REGACK", "PUBCOMP", "WILLTOPIC", "WILLMSG", "PINGRESP":
		if (state == Disconnected || state == Lost) && sends > 0 {
			fail("an answer without a connection is not answered")
		}
	}
	if state == Asleep && sends > 1 && kind != "CONNECT" && kind != "PINGREQ" {
		fail("a sleeper is sent nothing but the answer")
	}
	if state == Asleep && kind != "CONNECT" && kind != "PINGREQ" && strings.Contains(out, "-> PUBLISH") {
		fail("a sleeper is sent a message")
	}
	if (state == AwaitingWillTopic || state == AwaitingWillMsg || state == Connecting) &&
		(strings.Contains(out, "-> PUB") || strings.Contains(out, "-> REG")) && !strings.Contains(out, "-> CONNACK accepted") {
		fail("something is sent before CONNACK")
	}
	if i := strings.Index(out, "-> PINGRESP"); i >= 0 && state == Asleep && strings.Contains(out[i+1:], "-> ") {
		fail("something follows PINGRESP")
	}
	if d := sc.s.Deadline(); !d.IsZero() && d.Before(sc.now) {
		fail("the deadline is in the past")
	}
}

// Every state and every type of packet has to be in the table.
func TestTableIsComplete(t *testing.T) {
	for st := range States {
		if !slices.ContainsFunc(situations, func(s setting) bool { return s.state == State(st) }) {
			t.Errorf("no situation for state %v", State(st))
		}
	}
	for typ := range 256 {
		if mqttsn.Type(typ).Reserved() {
			continue
		}
		name := mqttsn.Type(typ).String()
		if !slices.ContainsFunc(packets, func(p string) bool { return strings.Fields(p)[0] == name }) {
			t.Errorf("no packet of type %s", name)
		}
	}
}

// The broker can say anything at any time, and time can pass at any time.
func TestEventsInEverySituation(t *testing.T) {
	events := []string{
		"ok #1", "ok #2", "ok #3", "fail #1 code=0x87", "fail #2 code=0x97", "ok #77", "fail #77 code=0x80",
		`message #9 s/any "x" qos=1`, `message #1 ab "x" qos=2`, `message ab "x"`, `message s/any "x"`,
		"closed code=0x8b", "closed code=0x8e", "closed code=0x00",
	}
	for _, sit := range slices.Concat(situations, pauses) {
		for _, ev := range events {
			sc := situation(t, sit.steps, sit.state)
			parts, err := split(ev)
			if err != nil {
				t.Fatal(err)
			}
			if err := sc.step("broker", parts); err != nil {
				t.Fatal(err)
			}
			checkCell(t, sit.state, sc, "event")
			sc.run(sc.now.Add(30 * 24 * 3600e9))
			if d := sc.s.Deadline(); !d.IsZero() {
				t.Errorf("%s, %s: a month later the deadline is still %v:\n%s", sit.name, ev, d, sc.out)
			}
		}
	}
}
