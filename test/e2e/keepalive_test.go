package e2e

import (
	"testing"
	"time"
)

// Group K of the checklist: keep alive, disconnect, unknown peers. The reference's 10 s
// are 3 s here, its 9 s are 2.7 s.
var keepingAlive = []table{supervision, farewells, strangers}

func TestKeepAlive(t *testing.T) { run(t, keepingAlive...) }

// beat is how long a device pauses that says something in every brief keep alive.
const beat = brief * 900 * time.Millisecond

var supervision = table{
	"K01": both(onTime(func(r *rig) bool {
		d := r.device("cli-1")
		d.connect(cleanSession, brief)
		for range 5 {
			if !d.pause() {
				return false
			}
			d.ask("02 16", "02 17")
		}
		return true
	})),
	"K02": both(onTime(func(r *rig) bool { // any message counts [SN-6.14]
		watcher := r.watch("s/#")
		d := r.device("cli-1")
		d.connect(cleanSession, brief)
		d.register("s/temp")
		for range 5 {
			if !d.pause() {
				return false
			}
			d.tell("__ 0C 00 {s/temp} 00 00 'hi'")
			watcher.expect("s/temp", "hi", 0)
		}
		d.alive()
		return true
	})),
	"K16": both(onTime(func(r *rig) bool { // even a PINGRESP that nobody asked for
		d := r.device("cli-1")
		d.connect(cleanSession, brief)
		for range 5 {
			if !d.pause() {
				return false
			}
			d.tell("02 17")
		}
		d.alive()
		return true
	})),
	"K03": both(func(r *rig) { // lost, and the will fires
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, brief, lastWill)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
		watcher.nothing(moment)
	}),
	"K04": both(func(r *rig) { // 100 s are 6 s here: not before 6.6 s
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, 2*brief, lastWill)
		d.vanish(watcher, 2*brief, "w/dead1", "bye!", 1)
	}),
	"K05": both(func(r *rig) {
		d := lost(r, cleanSession)
		d.ask("02 16", "02 18")
	}),
	"K06": both(func(r *rig) { // a lost client comes back, and its subscriptions work
		d := lost(r, keepSession)
		d.connect(keepSession, minute)
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
	}),
	"K13": both(func(r *rig) { // the ClientID in PINGREQ of an active client
		r.client(cleanSession).ask("07 16 'cli-1'", "02 17")
	}),
}

// lost is cli-1 with a subscription to s/temp, after it has been silent for too long.
func lost(r *rig, flags byte) *device {
	r.Helper()
	watcher := r.watch("w/#")
	d := r.device("cli-1")
	d.connectWithWill(flags, brief, lastWill)
	d.subscribe("s/temp", 1)
	d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	d.discard("02 18") // a gateway may say so (3.8)
	return d
}

var farewells = table{
	"K07": both(func(r *rig) {
		d := r.client(cleanSession)
		d.ask("02 18", "02 18")
		d.ask("02 18", "02 18")
	}),
	"K15": both(func(r *rig) { // the gateway's DISCONNECT has no Duration [SN-5.4.21]
		d := r.client(cleanSession)
		d.ask("04 18 00 3C", "02 18")
		d.ask("02 18", "02 18")
		r.device("stranger").ask("04 18 00 3C", "02 18")
	}),
	"K12": { // the broker is killed and does not come back: within the grace the device hears of it (A37)
		embedded: absent("the embedded broker lives and dies with the gateway"),
		upstream: does(func(r *rig) {
			d := r.client(keepSession)
			r.mosquitto.kill()
			d.expect("02 18")
			d.ask("02 16", "02 18")
		}, key("broker.outage_grace", "1s")),
	},
	"K14": both(func(r *rig) { // the gateway has forgotten the client
		d := r.client(cleanSession)
		d.register("s/temp")
		r.gateway.checkedStop(r.T)
		d.discard("02 18") // it may say good-bye (3.8)
		r.restartGateway()
		d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "02 18")
	}),
}

var strangers = table{
	"K08": both(func(r *rig) { r.device("stranger").ask("02 18", "02 18") }),
	"K09": both(func(r *rig) { // never PINGRESP: that would say that all is well
		r.device("stranger").ask("02 16", "02 18")
	}),
	"K10": both(func(r *rig) { // answers are not answered (A2)
		d := r.device("stranger")
		for _, datagram := range []string{"07 0D 00 05 00 07 00", "02 17", "07 0B 00 05 00 01 00", "04 0F 00 08", "04 0E 00 08",
			"0A 07 30 'w/dead1'", "06 09 'bye!'"} {
			d.tell(datagram)
		}
		d.silent(2 * moment)
		d.ask("02 16", "02 18")
	}),
	"K11": both(func(r *rig) { // 1000 PUBLISH from one unknown address: few answers
		d := r.device("stranger")
		for range 1000 {
			d.tell("09 0C 20 00 05 00 07 'hi'")
		}
		answers := 0
		for b := d.read(2 * moment); b != nil; b = d.read(2 * moment) {
			if err := match("02 18", nil, b); err != nil {
				r.Fatalf("got %s, want DISCONNECT", shown(b))
			}
			answers++
		}
		if answers < 1 || answers > 20 {
			r.Errorf("%d answers, want 1 to 20", answers)
		}
		r.client(cleanSession).alive()
	}),
}
