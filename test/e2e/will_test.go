package e2e

import "testing"

// Group W of the checklist: will updates.
var willing = []table{willUpdates}

func TestWillUpdate(t *testing.T) { run(t, willing...) }

// mortal is cli-1 with its will and a brief keep alive, and a watcher of the will.
func mortal(r *rig) (*device, *mqttClient) {
	r.Helper()
	watcher := r.watch("w/#")
	d := r.device("cli-1")
	d.connectWithWill(cleanSession, brief, lastWill)
	return d, watcher
}

var willUpdates = table{
	"W01": both(func(r *rig) {
		d, watcher := mortal(r)
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.vanish(watcher, brief, "w/dead2", "bye!", 1)
	}),
	"W02": both(func(r *rig) {
		d, watcher := mortal(r)
		d.ask("05 1C 'new'", "03 1D 00")
		d.vanish(watcher, brief, "w/dead1", "new", 1)
	}),
	"W03": both(func(r *rig) {
		d, watcher := mortal(r)
		d.ask("02 1A", "03 1B 00")
		d.vanishWithoutWill(watcher)
	}),
	"W04": both(func(r *rig) { // refused, and the old one stays
		d, watcher := mortal(r)
		d.ask("__ 1A 20 'w/#'", "03 1B 03")
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	}),
	"W05": both(func(r *rig) { // a message without a topic goes nowhere (A53)
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.connect(cleanSession, brief)
		d.ask("05 1C 'new'", "03 1D 00")
		d.vanishWithoutWill(watcher)
	}),
	"W06": both(func(r *rig) {
		d, watcher := mortal(r)
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.vanish(watcher, brief, "w/dead2", "bye!", 1)
	}),
	"W07": both(func(r *rig) { // an update disturbs nothing
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, minute, lastWill)
		d.subscribe("s/temp", 1)
		r.publish("s/temp", "one", 1)
		p := d.take()
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.ask("05 1C 'new'", "03 1D 00")
		d.acknowledge(p)
		r.publish("s/temp", "two", 1)
		d.receive("s/temp", "two", 1)
		d.alive()
	}),
	"W08": both(func(r *rig) {
		r.device("stranger").ask("0A 1A 20 'w/dead2'", "02 18")
		r.device("stranger").ask("05 1C 'new'", "02 18")
	}),
	"W09": both(func(r *rig) { // message and topic in either order (A53)
		watcher := r.watch("w/#")
		d := r.device("cli-1")
		d.connect(cleanSession, brief)
		d.ask("05 1C 'new'", "03 1D 00")
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.vanish(watcher, brief, "w/dead2", "new", 1)
	}),
	"W10": both(func(r *rig) { // an empty message is one [SN-5.4.23]
		d, watcher := mortal(r)
		d.ask("02 1C", "03 1D 00")
		d.vanish(watcher, brief, "w/dead1", "", 1)
	}),
	"W11": both(func(r *rig) { // QoS and Retain belong to the topic [SN-5.4.22]
		d, watcher := mortal(r)
		d.ask("0A 1A 40 'w/dead2'", "03 1B 00")
		d.vanish(watcher, brief, "w/dead2", "bye!", 2)
		late := dialMQTT(r.T, r.gateway.mqtt, "late", true)
		late.subscribe("w/#", 2)
		late.nothing(moment)
	}),
	"W12": both(func(r *rig) { // the updated will is the stored one
		watcher := r.watch("w/#")
		d := storedWill(r)
		d.ask("0A 1A 20 'w/dead2'", "03 1B 00")
		d.disconnect()
		d.connect(keepSession, brief)
		d.vanish(watcher, brief, "w/dead2", "bye!", 1)
	}),
}
