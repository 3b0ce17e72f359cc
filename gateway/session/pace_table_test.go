package session

import (
	"strings"
	"testing"
	"time"
)

// pauses are the situations in which the line still carries a QoS 0 message: 12 octets at
// 10 in a second.
var pauses = []setting{
	{"active, a pause, messages wait", Active, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`, `1s broker message ab "z"`, `1s broker message #2 ab "next" qos=1`}},
	{"active, a pause, nothing waits", Active, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`}},
	{"active, a pause, REGISTER is to come", Active, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 #",
		`1s broker message ab "0"`, `1s broker message #2 s/x "next" qos=1`}},
	{"active, a pause after congestion in a pause", Active, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`, `1s broker message ab "z"`, "1s device PUBACK topic=24930 msg=0 congestion"}},
	{"awake, a pause, messages wait", Awake, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		"1s device DISCONNECT duration=60", `2s broker message ab "0"`, `2s broker message #2 ab "next" qos=1`, "3s device PINGREQ dev"}},
	{"awake, the pause before PINGRESP", Awake, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		"1s device DISCONNECT duration=60", `2s broker message ab "0"`, "3s device PINGREQ dev"}},
	{"asleep, gone to sleep in a pause", Asleep, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`, `1s broker message ab "z"`, "1s device DISCONNECT duration=60"}},
	{"disconnected in a pause", Disconnected, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`, `1s broker message ab "z"`, "1s device DISCONNECT"}},
	{"awaiting_will_topic, in a pause", AwaitingWillTopic, []string{
		"0s rate 10", "0s device CONNECT duration=60", "0s device REGISTER msg=1 s/mine", "0s device SUBSCRIBE msg=1 qos=2 short=ab",
		`1s broker message ab "0"`, `1s broker message ab "z"`, "1s device CONNECT will duration=60"}},
}

// Whatever comes in a pause is answered at once as at any other time, and brings nothing
// of the queue, and no PINGRESP of a wake, before the line is free.
func TestTablePaced(t *testing.T) {
	checkTable(t, "testdata/table_paced.golden", pauses, func(what string, sc *scenario) {
		out := sc.out.String()
		ping := strings.Contains(what, "PINGREQ") && strings.HasPrefix(what, "active")
		if strings.Contains(out, "-> PUBLISH") || strings.Contains(out, "-> REGISTER") || strings.Contains(out, "-> PINGRESP") && !ping {
			t.Errorf("%s: the line is busy:\n%s", what, out)
		}
		sc.run(sc.now.Add(30 * 24 * time.Hour))
		if d := sc.s.Deadline(); !d.IsZero() {
			t.Errorf("%s: a month later the deadline is still %v:\n%s", what, d, sc.out)
		}
	})
}
