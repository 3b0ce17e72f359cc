package session

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into the scenario files; commit it only if you understand the difference")

// A scenario file holds comments and scenarios. A scenario begins with "=== name" and
// has lines "time who what", each followed by what came of it, indented:
//
//	-> a packet to the client
//	=> a request to the broker
//	-- a state change with the next deadline, drops, retransmissions, "gone"
//
// Who and what can be:
//
//	device PACKET       the client sends a packet; its ClientID is "dev"
//	moved PACKET        the same, from another peer
//	broker ok #TOKEN    the broker grants a request; qos=, present
//	broker fail #TOKEN  it refuses one; code=
//	broker message      it delivers one: #TOKEN topic "payload"; qos=, retain, and
//	                    expires= in seconds from 0s
//	broker closed       the connection has ended; code=
//	run                 time passes, Expire is called whenever the deadline has come
//	queued, deadline    print Queued, Deadline
//	mtu N, rate N       SetPath with that MTU or Rate, and the other as it was
//	crash               the gateway is killed, and started again
//	rights              SetRights: publish=, receive= and subscribe= list topics and
//	                    filters, separated by commas; "any" gives all rights back
//	revoke              Revoke
//
// Before the first of them: "option key=value", "predefined ID topic client", "manual" (else
// the broker grants every request at once), "durable" (there is a store).
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenario files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text), false)
			if kept := replay(t, string(text), true); withoutPersist(kept) != withoutPersist(got) {
				t.Errorf("with a store: %s", difference(withoutPersist(got), withoutPersist(kept)))
			}
			if got == string(text) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Error(difference(string(text), got))
		})
	}
}

// withoutPersist is a replay without the one request that only a store leads to.
func withoutPersist(s string) string {
	return regexp.MustCompile(`(?m)^ +(\S+ )?=> persist\n( +\(nothing\)\n)?`).ReplaceAllString(s, "")
}

// difference shows where two texts part.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	scenario := ""
	for i := range min(len(w), len(g)) {
		if strings.HasPrefix(w[i], "===") {
			scenario = w[i]
		}
		if w[i] != g[i] {
			near := strings.Join(g[max(0, i-4):i], "\n")
			return fmt.Sprintf("%s, line %d:\n%s\nwant %s\ngot  %s", scenario, i+1, near, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// replay plays a scenario file and returns it with what happened. If the session is
// durable, its records are checked after each step.
func replay(t *testing.T, text string, durable bool) string {
	var out strings.Builder
	var sc *scenario
	name := ""
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
			out.WriteString(line + "\n")
		case strings.HasPrefix(line, "==="):
			name, sc = line, newScenario(&out)
			sc.options.Durable = sc.options.Durable || durable
			out.WriteString(line + "\n")
		case strings.HasPrefix(line, " "): // what happened before
		case sc == nil:
			t.Fatalf("line %d: no scenario: %s", n+1, line)
		default:
			out.WriteString(line + "\n")
			if err := sc.line(line); err != nil {
				t.Fatalf("%s, line %d: %s: %v", name, n+1, line, err)
			}
			for _, err := range sc.wrong {
				t.Errorf("%s, line %d: %s: %v", name, n+1, line, err)
			}
			sc.wrong = nil
		}
	}
	return out.String()
}

// scenario is one session and those around it.
type scenario struct {
	out        *strings.Builder
	options    Options
	predefined []PredefinedTopic
	manual     bool
	s          *Session
	path       Path
	rights     Rights
	fx         Effects
	start, now time.Time
	state      State
	durable    bool // the broker has a session
	persisted  bool // which ends with its connection all the same
	kept       *mirror
	wrong      []error
}

// scenarioStart is 0s in the files.
var scenarioStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newScenario(out *strings.Builder) *scenario {
	return &scenario{out: out, options: DefaultOptions(), start: scenarioStart, now: scenarioStart, kept: newMirror()}
}

func (sc *scenario) session() *Session {
	if sc.s == nil {
		sc.s = New("dev", &sc.options, 0)
		sc.s.SetPath(sc.path)
		sc.s.SetRights(sc.rights)
	}
	return sc.s
}

func (sc *scenario) line(line string) error {
	parts, err := split(line)
	if err != nil {
		return err
	}
	switch parts[0] {
	case "manual":
		sc.manual = true
		return nil
	case "durable":
		sc.options.Durable = true
		return nil
	case "option":
		return setOption(&sc.options, parts[1])
	case "predefined":
		w := newWords(append(parts[1:], ""))
		var id uint16
		if _, err := fmt.Sscan(w.text(), &id); err != nil {
			return err
		}
		sc.predefined = append(sc.predefined, PredefinedTopic{ID: id, Topic: w.text(), Client: w.text()})
		sc.options.Predefined, err = NewPredefined(sc.predefined)
		return err
	}
	at, err := time.ParseDuration(parts[0])
	if err != nil {
		return err
	}
	to := sc.start.Add(at)
	if to.Before(sc.now) {
		return fmt.Errorf("time runs backwards")
	}
	if parts[1] == "run" {
		sc.run(to)
		return nil
	}
	if d := sc.session().Deadline(); !d.IsZero() && d.Before(to) && parts[1] != "crash" {
		return fmt.Errorf("deadline %v has passed: add a run", d.Sub(sc.start))
	}
	sc.now = to
	return sc.step(parts[1], parts[2:])
}

func (sc *scenario) step(who string, what []string) error {
	before := sc.out.Len()
	switch who {
	case "device", "moved":
		p, err := parsePacket(what)
		if err != nil {
			return err
		}
		// What a step keeps of a packet has to be its own.
		wire := p.Append(nil)
		decoded, err := mqttsn.Decode(wire)
		if err != nil {
			return err
		}
		if who == "moved" {
			sc.session().Moved()
		}
		sc.session().Packet(sc.now, decoded, &sc.fx)
		sc.effects("")
		clear(wire)
	case "broker":
		ev, err := parseEvent(what)
		if err != nil {
			return err
		}
		sc.session().Broker(sc.now, ev, &sc.fx)
		sc.effects("")
	case "crash":
		if err := sc.crash(); err != nil {
			return err
		}
	case "queued":
		n, bytes := sc.session().Queued()
		sc.print("", "-- %d messages, %d octets", n, bytes)
	case "deadline":
		sc.print("", "-- deadline %s", sc.deadline())
	case "rights":
		var err error
		sc.rights, err = parseRights(what)
		sc.session().SetRights(sc.rights)
		return err
	case "revoke":
		sc.session().Revoke(sc.now, &sc.fx)
		sc.effects("")
	case "mtu", "rate":
		n := &sc.path.MTU
		if who == "rate" {
			n = &sc.path.Rate
		}
		if _, err := fmt.Sscan(newWords(what).text(), n); err != nil {
			return err
		}
		sc.session().SetPath(sc.path)
		return nil
	default:
		return fmt.Errorf("%s: not understood", who)
	}
	if sc.out.Len() == before {
		sc.print("", "(nothing)")
	}
	return nil
}

// crash puts in the place of the session the one that its records make.
func (sc *scenario) crash() error {
	sc.s = nil
	err := Load(sc.kept.store, &sc.options, sc.now, func(s *Session) error {
		sc.s = s
		return nil
	})
	if err != nil {
		return err
	}
	sc.session().SetPath(sc.path)
	sc.s.SetRights(sc.rights)
	sc.s.msgID, sc.s.stride = 100, 1 // instead of what nobody can guess
	sc.state = sc.s.State()
	sc.print("", "-- %s, stored %v", sc.state, sc.s.Stored())
	sc.s.Resume(sc.now, &sc.fx)
	sc.effects("")
	return nil
}

// run lets time pass.
func (sc *scenario) run(to time.Time) {
	before := sc.out.Len()
	for steps := 0; steps < 1000; steps++ {
		d := sc.session().Deadline()
		if d.IsZero() || d.After(to) {
			break
		}
		if d.Before(sc.now) {
			d = sc.now
		}
		sc.now = d
		sc.s.Expire(d, &sc.fx)
		at := d.Sub(sc.start).String()
		seen := sc.out.Len()
		sc.effects(at)
		if sc.out.Len() == seen {
			sc.print(at, "(nothing)")
		}
		if d := sc.s.Deadline(); !d.IsZero() && !d.After(sc.now) {
			sc.print(at, "deadline %v is in the past", d.Sub(sc.start))
			break
		}
	}
	sc.now = to
	if sc.out.Len() == before {
		sc.print("", "(nothing)")
	}
}

// effects prints the effects of a step and lets the broker grant what was asked for.
func (sc *scenario) effects(at string) {
	for b := range sc.fx.Packets() {
		p, err := mqttsn.Decode(b)
		if err != nil {
			sc.print(at, "-> malformed %x: %v", b, err)
			continue
		}
		sc.print(at, "-> %s", formatPacket(p))
	}
	for why, n := range sc.fx.Drops {
		if n > 0 {
			sc.print(at, "-- dropped: %s %d", Reason(why), n)
		}
	}
	if sc.fx.Retransmissions > 0 {
		sc.print(at, "-- sent again %d", sc.fx.Retransmissions)
	}
	if sc.fx.Returned > 0 {
		sc.print(at, "-- returned %d", sc.fx.Returned)
	}
	var answers []broker.Event
	for i := range sc.fx.Requests {
		r := &sc.fx.Requests[i]
		sc.print(at, "=> %s", formatRequest(r))
		answers = append(answers, sc.answer(r)...)
	}
	if st := sc.s.State(); st != sc.state {
		sc.state = st
		sc.print(at, "-- %s, deadline %s", st, sc.deadline())
	}
	if err := sc.kept.step(sc.s, &sc.fx, sc.now); err != nil {
		sc.print(at, "-- records: %v", err)
		sc.wrong = append(sc.wrong, err)
	}
	if sc.fx.Gone {
		sc.print(at, "-- gone")
		sc.s = nil
		sc.state = Disconnected
		sc.session()
	}
	sc.fx.Reset()
	for _, ev := range answers {
		sc.s.Broker(sc.now, ev, &sc.fx)
		sc.effects(at)
	}
}

// answer is what a broker says that grants everything.
func (sc *scenario) answer(r *broker.Request) []broker.Event {
	ev := broker.Event{Kind: broker.Answered, Token: r.Token, QoS: r.QoS}
	switch r.Op {
	case broker.Connect:
		ev.SessionPresent = sc.durable && !r.CleanSession
		sc.durable, sc.persisted = !r.CleanSession, false
	case broker.Publish:
		if r.QoS == 0 {
			return nil
		}
	case broker.Subscribe, broker.Unsubscribe:
	case broker.Persist:
		sc.durable, sc.persisted = true, true
		return nil
	case broker.Disconnect, broker.Abandon:
		sc.durable = sc.durable && !sc.persisted
		return nil
	default:
		return nil
	}
	if sc.manual {
		return nil
	}
	return []broker.Event{ev}
}

func (sc *scenario) deadline() string {
	d := sc.s.Deadline()
	if d.IsZero() {
		return "never"
	}
	return d.Sub(sc.start).String()
}

func (sc *scenario) print(at, format string, args ...any) {
	if at != "" {
		at += " "
	}
	sc.out.WriteString("      " + at + fmt.Sprintf(format, args...) + "\n")
}

func parseEvent(parts []string) (ev broker.Event, err error) {
	w := newWords(parts[1:])
	ev.Token = w.token()
	ev.QoS = byte(w.num("qos"))
	ev.Code = broker.Code(w.num("code"))
	switch parts[0] {
	case "ok", "fail":
		ev.Kind = broker.Answered
		ev.SessionPresent = w.flag("present")
		if parts[0] == "fail" && ev.Code == 0 {
			ev.Code = broker.CodeUnspecified
		}
	case "message":
		ev.Kind = broker.Delivered
		expires := w.num("expires")
		ev.Retain = w.flag("retain")
		m := &broker.Message{QoS: ev.QoS, Topic: w.text()}
		size := w.num("size")
		m.Payload = []byte(w.text())
		if size > 0 {
			m.Payload = []byte(strings.Repeat("x", size))
		}
		if expires > 0 {
			m.Expires = scenarioStart.Add(time.Duration(expires) * time.Second)
		}
		ev.Message = m
	case "closed":
		ev.Kind = broker.Closed
	default:
		return ev, fmt.Errorf("%s: not understood", parts[0])
	}
	if w.err == nil && (len(w.bare) > 0 || len(w.kv) > 0) {
		w.err = fmt.Errorf("%v %v not understood", w.bare, w.kv)
	}
	return ev, w.err
}
