package e2e

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// Group R of the checklist: registration, both ways.
var registering = []table{registersUp, registersDown, rejectedNames}

func TestRegister(t *testing.T) { run(t, registering...) }

var registersUp = table{
	"R01": both(func(r *rig) { // the id is valid: judge sees to it
		r.client(cleanSession).ask("0C 0A 00 00 00 01 's/temp'", "07 0B {tid} 00 01 00")
	}),
	"R02": both(func(r *rig) { // REGACK was lost: the same id again (A25)
		d := r.client(cleanSession)
		d.ask("0C 0A 00 00 00 01 's/temp'", "07 0B {tid} 00 01 00")
		d.ask("0C 0A 00 00 00 01 's/temp'", "07 0B {tid} 00 01 00")
		d.ask("0C 0A 00 00 00 02 's/temp'", "07 0B {tid} 00 02 00")
	}),
	"R03": both(func(r *rig) { // another name, another id
		d := r.client(cleanSession)
		d.register("s/temp")
		d.register("s/light")
		if d.vars["s/temp"] == d.vars["s/light"] {
			r.Errorf("two names have the id %04X", d.vars["s/temp"])
		}
	}),
	"R04": both(func(r *rig) { // ids belong to one client [SN-7.3]
		watcher := r.watch("s/#")
		a, b := r.client(cleanSession), r.device("cli-2")
		b.connect(cleanSession, minute)
		a.register("s/temp")
		b.vars["a's"] = a.vars["s/temp"]
		b.ask("__ 0C 20 {a's} 00 07 'hi'", "07 0D {a's} 00 07 02")
		b.register("s/temp")
		for _, d := range []*device{a, b} {
			d.ask("__ 0C 20 {s/temp} 00 08 "+octets(d.id), "07 0D {s/temp} 00 08 00")
			watcher.expect("s/temp", d.id, 1)
		}
	}),
	"R05": both(func(r *rig) { // wildcards are no names [SN-6.10]
		d := r.client(cleanSession)
		d.ask("09 0A 00 00 00 02 'a/#'", "07 0B 00 00 00 02 03")
		d.ask("09 0A 00 00 00 03 'a/+'", "07 0B 00 00 00 03 03")
	}),
	"R06": both(func(r *rig) { // nor is nothing
		d := r.client(cleanSession)
		d.ask("06 0A 00 00 00 03", "07 0B 00 00 00 03 03")
		d.alive()
	}),
	"R07": both(func(r *rig) { // nor what is not UTF-8, nor what has a NUL (A32)
		d := r.client(cleanSession)
		d.ask("__ 0A 00 00 00 04 's/' C3 28", "07 0B 00 00 00 04 03")
		d.ask("__ 0A 00 00 00 05 's/' 00 'x'", "07 0B 00 00 00 05 03")
		for _, code := range []string{"01", "1F", "7F", "C2 9F", "EF B7 90", "EFBFBF"} { // for which brokers close the connection
			d.ask("__ 0A 00 00 00 06 's/' "+code, "07 0B 00 00 00 06 03")
		}
		d.alive()
	}),
	"R08": both(func(r *rig) { // the TopicId of a client's REGISTER means nothing [SN-5.4.10]
		d := r.client(cleanSession)
		d.ask("0C 0A 12 34 00 01 's/temp'", "07 0B {tid} 00 01 00")
		d.ask("__ 0C 20 {tid} 00 07 'hi'", "07 0D {tid} 00 07 00")
	}),
	"R09": both(manyNames, key("session.max_topics", "65534")),
	"R10": both(func(r *rig) {
		r.device("stranger").ask("0C 0A 00 00 00 01 's/temp'", "02 18")
	}),
	"R11": both(func(r *rig) { // ids survive a sleep (A6)
		d := r.client(keepSession)
		d.register("s/temp")
		d.sleep(60)
		d.connect(keepSession, minute)
		d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
	}),
	"R12": both(func(r *rig) { // and do not survive a clean CONNECT
		d := r.client(keepSession)
		d.register("s/temp")
		d.ask(d.connectFrame(cleanSession, minute), "03 05 00")
		d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 02")
	}),
	"R13": both(func(r *rig) { // the name of a predefined topic gets a normal id too [SN-3.2]
		watcher := r.watch("pre/#")
		d := r.client(cleanSession)
		d.register("pre/ten")
		d.ask("__ 0C 20 {pre/ten} 00 07 'hi'", "07 0D {pre/ten} 00 07 00")
		watcher.expect("pre/ten", "hi", 1)
	}),
}

// manyNames registers 60,000 names: each id is new, or the gateway says that it is full.
func manyNames(r *rig) {
	const names, window = 60_000, 64
	d := r.client(cleanSession)
	ids := map[uint16]bool{}
	refused := 0
	for first := 0; first < names; first += window {
		for i := first; i < min(first+window, names); i++ {
			d.tell(fmt.Sprintf("__ 0A 00 00 %04X %s", i, octets(fmt.Sprintf("n/%d", i))))
		}
		for i := first; i < min(first+window, names); i++ {
			b := d.expect(fmt.Sprintf("07 0B ?? ?? %04X ??", i))
			id := binary.BigEndian.Uint16(b[2:])
			switch {
			case b[6] == 1:
				refused++
			case b[6] != 0 || ids[id]:
				r.Fatalf("name %d: return code %d, id %04X, which is given already: %v", i, b[6], id, ids[id])
			default:
				ids[id] = true
			}
		}
	}
	r.Logf("%d ids given, %d names refused", len(ids), refused)
	d.alive()
}

// wild is cli-1 with a subscription to s/#, of that QoS.
func wild(r *rig, qos int) *device {
	r.Helper()
	d := r.client(cleanSession)
	d.subscribeAll("s/#", qos)
	return d
}

var registersDown = table{
	"R14": both(func(r *rig) { // PUBLISH only after REGACK [SN-6.10]
		d := wild(r, 0)
		r.publish("s/x", "hi", 0)
		d.expect("__ 0A {tid} {mid} 's/x'")
		d.silent(moment)
		d.tell("07 0B {tid} {mid} 00")
		d.expect("__ 0C 00 {tid} 00 00 'hi'")
	}),
	"R15": both(func(r *rig) { // without REGACK: REGISTER again, and no PUBLISH
		d := wild(r, 1)
		before := time.Now()
		r.publish("s/x", "hi", 1)
		d.expectRepeats(before, "__ 0A {tid} {mid} 's/x'")
	}, retryFast),
	"R17": both(func(r *rig) { // once is enough
		d := wild(r, 0)
		r.publish("s/x", "one", 0)
		d.receive("s/x", "one", 0)
		r.publish("s/x", "two", 0)
		d.expect("__ 0C 00 {s/x} 00 00 'two'")
	}),
	"R18": both(func(r *rig) {
		d := r.client(cleanSession)
		d.tell("07 0B 00 01 77 77 00")
		d.alive()
	}),
	"R19": both(func(r *rig) { // one REGISTER at a time, order kept
		d := wild(r, 0)
		r.publish("s/x", "one", 0)
		r.publish("s/y", "two", 0)
		d.expect("__ 0A {x} {mid} 's/x'")
		d.silent(moment)
		d.tell("07 0B {x} {mid} 00")
		d.expect("__ 0C 00 {x} 00 00 'one'")
		d.expect("__ 0A {y} {next} 's/y'")
		d.tell("07 0B {y} {next} 00")
		d.expect("__ 0C 00 {y} 00 00 'two'")
	}),
	"R20": both(func(r *rig) { // REGACK twice, PUBLISH once
		d := wild(r, 0)
		r.publish("s/x", "hi", 0)
		d.expect("__ 0A {tid} {mid} 's/x'")
		d.tell("07 0B {tid} {mid} 00")
		d.tell("07 0B {tid} {mid} 00")
		d.expect("__ 0C 00 {tid} 00 00 'hi'")
		d.alive()
	}),
	"R22": both(func(r *rig) { // congestion: later, not never (A27)
		d := wild(r, 1)
		r.publish("s/x", "hi", 1)
		d.expect("__ 0A {tid} {mid} 's/x'")
		rejected := time.Now()
		d.tell("07 0B {tid} {mid} 01")
		d.expect("__ 0A {tid} {again} 's/x'")
		if after := time.Since(rejected); after < fastRetry {
			r.Errorf("REGISTER again after %v, T_retry is %v", after, fastRetry)
		}
		d.tell("07 0B {tid} {again} 00")
		for d.next("__ 0A {tid} {again} 's/x'") {
			d.note("a copy that left before the answer")
		}
		d.expect("__ 0C 20 {tid} {pub} 'hi'")
		d.tell("07 0D {tid} {pub} 00")
		d.alive()
	}, retryFast),
}

var rejectedNames = table{
	"R16": both(func(r *rig) { // rejected: never again, and everything else goes on
		d := wild(r, 1)
		r.publish("s/x", "one", 1)
		d.expect("__ 0A {tid} {mid} 's/x'")
		d.tell("07 0B {tid} {mid} 03")
		r.publish("s/x", "two", 1)
		r.publish("s/y", "three", 1)
		d.receive("s/y", "three", 1)
		d.alive()
	}),
	"R21": both(func(r *rig) { // rejecting a name that it subscribed to is an UNSUBSCRIBE
		d := r.client(keepSession)
		d.subscribe("s/x", 1)
		d.subscribe("s/y", 1)
		d.disconnect()
		d.connect(keepSession, minute)
		r.publish("s/x", "one", 1)
		d.expect("__ 0A {tid} {mid} 's/x'")
		d.tell("07 0B {tid} {mid} 03")
		r.publish("s/x", "two", 1)
		r.publish("s/y", "three", 1)
		d.receive("s/y", "three", 1)
		d.subscribe("s/x", 1)
		r.publish("s/x", "four", 1)
		d.receive("s/x", "four", 1)
	}),
}

// expectRepeats is a datagram that comes once and, unanswered, nRetry times more, with
// T_retry between, and then no more. since is a time before the first copy was sent; the
// first notation is of that copy, the last of the others.
func (d *device) expectRepeats(since time.Time, notations ...string) {
	d.t.Helper()
	for i := range 1 + nRetry {
		d.expect(notations[min(i, len(notations)-1)])
		if after := d.got.Sub(since); after < time.Duration(i)*fastRetry {
			d.t.Errorf("%s: repetition %d after %v, T_retry is %v", d.id, i, after, fastRetry)
		}
	}
	d.silent(2 * fastRetry)
}
