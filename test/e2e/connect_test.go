package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Group C of the checklist: connect and will.
var connecting = []table{connects, handshakes, wills, reconnects, refusedConnects}

func TestConnect(t *testing.T) { run(t, connecting...) }

var connects = table{
	"C01": both(func(r *rig) { // a clean session is a clean session at the broker
		d := r.client(cleanSession)
		d.disconnect()
		d.silent(moment) // until the broker knows
		if dialMQTT(r.T, r.gateway.mqtt, "cli-1", false).sessionPresent {
			r.Error("the broker kept a session of the clean client")
		}
		if r.mosquitto != nil && r.mosquitto.said(" as cli-1 (p5, c1,") != 1 {
			r.Error("mosquitto saw no clean start")
		}
	}),
	"C02": both(func(r *rig) { // and one that stays, stays there under the same client id
		d := r.client(keepSession)
		d.disconnect()
		if !dialMQTT(r.T, r.gateway.mqtt, "cli-1", false).sessionPresent {
			r.Error("the broker has no session of the client")
		}
	}),
	"C15": both(func(r *rig) { // 23 characters are the specification's limit, not ours (A17)
		for _, id := range []string{strings.Repeat("i", 23), strings.Repeat("i", 24)} {
			r.device(id).connect(cleanSession, minute)
		}
	}),
	"C17": both(func(r *rig) { // CONNECT twice: the first CONNACK was lost (A4)
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.ask(d.connectFrame(cleanSession, minute), "03 05 00")
		d.ask(d.connectFrame(cleanSession, minute), "03 05 00")
		d.alive()
		watcher.nothing(moment)
		if r.mosquitto != nil && r.mosquitto.said(" as cli-1 ") != 1 {
			r.Errorf("mosquitto saw %d connections of cli-1, want 1", r.mosquitto.said(" as cli-1 "))
		}
	}),
	"C19": both(func(r *rig) { // a known client at a new address
		here, there := moved(r)
		r.publish("s/temp", "hi", 1)
		there.receive("s/temp", "hi", 1)
		here.silent(moment)
	}),
	"C20": both(func(r *rig) { // the old address is nobody's [SN-6.12]
		here, there := moved(r)
		here.isStranger()
		there.alive()
	}),
	"C21": both(func(r *rig) { // another client at a known address
		watcher := r.watch("s/#")
		d := r.client(cleanSession)
		d.register("s/of-1")
		d.id = "cli-2"
		d.ask(d.connectFrame(cleanSession, minute), "03 05 00")
		d.ask("__ 0C 20 {s/of-1} 00 07 'hi'", "07 0D {s/of-1} 00 07 02")
		d.register("s/of-2")
		d.ask("__ 0C 20 {s/of-2} 00 07 'hi'", "07 0D {s/of-2} 00 07 00")
		watcher.expect("s/of-2", "hi", 1)
		r.mosquittoSays("Received PUBLISH from cli-2")
	}),
	"C31": both(func(r *rig) { // keep alive 0: no supervision; 10 minutes are 4 seconds here
		d := r.device("cli-1")
		d.connect(cleanSession, 0)
		d.silent(4 * time.Second)
		d.alive()
	}),
}

// moved is a client that has connected here, subscribed, and connected again there.
func moved(r *rig) (here, there *device) {
	here = r.client(keepSession)
	here.subscribe("s/temp", 1)
	there = here.twin()
	there.connect(keepSession, minute)
	return here, there
}

// isStranger shows that the gateway does not take what comes from this address.
func (d *device) isStranger() {
	d.t.Helper()
	d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "02 18")
}

var handshakes = table{
	"C03": both(func(r *rig) { // the full prompt [SN-6.2]
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
		d.alive()
	}),
	"C22": both(func(r *rig) { // WILLTOPICREQ was lost
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
	}),
	"C23": both(func(r *rig) { // WILLMSGREQ was lost
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
	}),
	"C24": both(func(r *rig) { // CONNACK is late: WILLMSG again
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.ask(d.connectFrame(cleanSession|withWill, brief), "02 06")
		d.ask("0A 07 30 'w/dead1'", "02 08")
		if r.mosquitto != nil {
			r.mosquitto.freeze()
		}
		d.tell("06 09 'bye!'")
		d.tell("06 09 'bye!'")
		if r.mosquitto != nil {
			d.silent(moment)
			r.mosquitto.thaw()
			d.expect("03 05 00")
			d.silent(moment)
		}
		d.discard("03 05 00") // the embedded broker accepts at once, and then CONNACK was lost
		watcher.expect("w/dead1", "bye!", 1)
		watcher.nothing(time.Second)
	}),
	"C25": both(func(r *rig) { // WILLMSG comes first
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.tell("06 09 'bye!'")
		d.silent(moment)
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
	}),
	"C26": both(func(r *rig) { // a will for a wildcard
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.ask("__ 07 30 'w/#'", "03 05 03")
		d.connect(cleanSession, minute)
	}),
	"C27": both(func(r *rig) { // SUBSCRIBE during the prompt
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.tell("0B 12 20 00 03 's/temp'")
		d.silent(moment)
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
	}),
	"C32": both(func(r *rig) { // the prompt is never answered
		d := r.device("cli-1")
		d.ask("0B 04 0C 01 00 3C 'cli-1'", "02 06")
		d.silent((nRetry + 2) * fastRetry)
		d.tell("0A 07 30 'w/dead1'")
		d.silent(moment)
		d.connect(cleanSession, minute)
		d.alive()
	}, retryFast),
	"C36": both(func(r *rig) { // a rebooted client waits for the prompt (A4)
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, minute, lastWill)
		d.connectWithWill(cleanSession, minute, lastWill)
		d.alive()
		watcher.nothing(moment)
	}),
}

// The reference's C(08) cycle: a session that stays, with a will, then disconnected.
func storedWill(r *rig) *device {
	r.Helper()
	d := r.device("cli-1")
	d.connectWithWill(keepSession, minute, lastWill)
	return d
}

// lossLimits are when a client is lost that was silent for that long: not before the
// tolerance of 7.2 up to a minute, and not later than twice the duration (A19).
func lossLimits(seconds int) (from, to time.Duration) {
	silence := time.Duration(seconds) * time.Second
	return silence + silence/2, 2*silence + slack
}

// slack is what a busy machine may add to a time that a test measures.
const slack = 5 * time.Second

// vanish leaves the device silent and waits for its will. Its keep alive or
// sleep duration is in seconds.
func (d *device) vanish(watcher *mqttClient, seconds int, topic, payload string, qos byte) {
	d.t.Helper()
	from, to := lossLimits(seconds)
	m := watcher.expect(topic, payload, qos)
	if after := m.at.Sub(d.sent); after < from || after > to {
		d.t.Errorf("%s: will after %v of silence, want %v to %v", d.id, after, from, to)
	}
}

// vanishWithoutWill leaves the device, whose keep alive or sleep is brief, silent until it
// must be lost.
func (d *device) vanishWithoutWill(watcher *mqttClient) {
	d.t.Helper()
	watcher.nothing(time.Until(d.sent.Add(2*brief*time.Second + moment)))
}

var wills = table{
	"C04": both(func(r *rig) { // 60 s are 3 s here: not before 4.5 s, the same tolerance
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, brief, lastWill)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
		late := dialMQTT(r.T, r.gateway.mqtt, "late", true)
		late.subscribe("w/#", 2)
		if m := late.expect("w/dead1", "bye!", 1); !m.retain {
			r.Error("the will is not retained")
		}
	}),
	"C05": both(func(r *rig) { // DISCONNECT is no loss
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, brief, lastWill)
		d.disconnect()
		d.vanishWithoutWill(watcher)
	}),
	"C06": both(func(r *rig) { // the empty WILLTOPIC: no will, and no WILLMSGREQ (A11)
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.ask(d.connectFrame(cleanSession|withWill, brief), "02 06")
		d.ask("02 07", "03 05 00")
		d.vanishWithoutWill(watcher)
	}),
	"C07": both(func(r *rig) { // the stored will is active again [SN-6.3]
		watcher := r.watch("w/#")
		d := storedWill(r)
		d.disconnect()
		d.connect(keepSession, brief)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	}),
	"C08": both(func(r *rig) { // a clean CONNECT deletes it
		watcher := r.watch("#")
		d := storedWill(r)
		d.disconnect()
		d.connect(cleanSession, brief)
		d.vanishWithoutWill(watcher)
	}),
	"C09": both(func(r *rig) { // the empty WILLTOPIC deletes the will and nothing else
		watcher := r.watch("w/#")
		d := storedWill(r)
		d.subscribe("s/temp", 1)
		d.disconnect()
		d.ask(d.connectFrame(keepSession|withWill, brief), "02 06")
		d.ask("02 07", "03 05 00")
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
		d.vanishWithoutWill(watcher)
	}),
	"C10": both(func(r *rig) { // a new will takes the place of the stored one
		watcher := r.watch("w/#")
		d := storedWill(r)
		d.disconnect()
		d.connectWithWill(keepSession, brief, will{"00 'w/dead2'", "'so long'"})
		d.vanish(watcher, brief, "w/dead2", "so long", 0)
		watcher.nothing(moment)
	}),
	"C30": both(func(r *rig) { // an empty will message is one [SN-5.4.9]
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.ask(d.connectFrame(cleanSession|withWill, brief), "02 06")
		d.ask("0A 07 20 'w/dead1'", "02 08")
		d.ask("02 09", "03 05 00")
		d.vanish(watcher, brief, "w/dead1", "", 1)
	}),
	"C35": both(func(r *rig) { // the stored will deleted by WILLTOPICUPD
		watcher := r.watch("#")
		d := storedWill(r)
		d.disconnect()
		d.connect(keepSession, brief)
		d.ask("02 1A", "03 1B 00")
		d.vanishWithoutWill(watcher)
	}),
	"C37": both(func(r *rig) { // an unfinished prompt changes nothing
		watcher := r.watch("w/#")
		d := storedWill(r)
		d.disconnect()
		d.ask(d.connectFrame(keepSession|withWill, minute), "02 06")
		d.connect(keepSession, brief)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	}),
}

var reconnects = table{
	"C11": both(func(r *rig) { // what came in between is delivered, announced by REGISTER [SN-6.3, SN-6.10]
		d := r.client(keepSession)
		d.subscribe("s/temp", 1)
		d.disconnect()
		r.publish("s/temp", "hi", 1)
		d.connect(keepSession, minute)
		d.expect("__ 0A {tid} {mid} 's/temp'")
		d.tell("07 0B {tid} {mid} 00")
		d.expect("__ 0C 20 {tid} {pub} 'hi'")
		d.tell("07 0D {tid} {pub} 00")
		d.alive()
	}),
	"C12": both(func(r *rig) { // a clean CONNECT wants none of it
		d := r.client(keepSession)
		d.subscribe("s/temp", 1)
		d.disconnect()
		r.publish("s/temp", "hi", 1)
		d.connect(cleanSession, minute)
		d.alive()
		r.publish("s/temp", "again", 1)
		d.alive()
	}),
	"C18": both(func(r *rig) { // a really new CONNECT of an active client
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, minute, lastWill)
		d.subscribe("s/temp", 1)
		d.connect(cleanSession, brief)
		r.publish("s/temp", "hi", 1)
		d.silent(moment)
		d.vanishWithoutWill(watcher)
	}),
	"C33": both(func(r *rig) { // nothing goes before CONNACK [SN-6.2]
		d := r.client(keepSession)
		d.subscribe("s/temp", 1)
		d.disconnect()
		for i := range 3 {
			r.publish("s/temp", fmt.Sprint(i), 1)
		}
		d.connect(keepSession, minute)
		for i := range 3 {
			d.receive("s/temp", fmt.Sprint(i), 1)
		}
	}),
	"C34": both(func(r *rig) { // a clean session ends with its connection (A49)
		d := r.client(cleanSession)
		d.subscribe("s/temp", 1)
		d.disconnect()
		r.publish("s/temp", "hi", 1)
		d.connect(keepSession, minute)
		d.alive()
		r.publish("s/temp", "again", 1)
		d.alive()
	}),
}

var refusedConnects = table{
	"C13": both(func(r *rig) { // ProtocolId 2
		d := r.device("cli-1")
		d.ask("0B 04 04 02 00 3C 'cli-1'", "03 05 03")
		d.ask("02 16", "02 18")
	}),
	"C14": both(func(r *rig) { // no client id (A17)
		r.device("nobody").ask("06 04 04 01 00 3C", "03 05 03")
	}),
	"C16": both(func(r *rig) { // a client id that is no UTF-8
		r.device("nobody").ask("08 04 04 01 00 3C C3 28", "03 05 03")
		r.client(cleanSession).alive()
	}),
	"C28": { // no broker to be had
		embedded: does(func(r *rig) { // the embedded one is always there; full is full (2.2)
			r.device("cli-1").connect(cleanSession, minute)
			two := r.device("cli-2")
			two.ask(two.connectFrame(cleanSession, minute), "03 05 01")
		}, key("gateway.max_clients", "1")),
		upstream: does(func(r *rig) {
			r.device("cli-1").ask("0B 04 04 01 00 3C 'cli-1'", "03 05 01")
		}, brokerDown),
		scripted: does(func(r *rig) { // 0x89: server busy
			r.script.answers(0x89, 0, 0)
			r.device("cli-1").ask("0B 04 04 01 00 3C 'cli-1'", "03 05 01")
		}),
	},
	"C29": { // the broker lets nobody in
		embedded: absent("this version of the embedded broker knows no credentials"),
		upstream: does(func(r *rig) {
			r.device("cli-1").ask("0B 04 04 01 00 3C 'cli-1'", "03 05 03")
		}, mosquittoLine("allow_anonymous false")),
		scripted: does(func(r *rig) { // 0x86: bad user name or password
			r.script.answers(0x86, 0, 0)
			r.device("cli-1").ask("0B 04 04 01 00 3C 'cli-1'", "03 05 03")
		}),
	},
}
