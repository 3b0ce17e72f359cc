package e2e

import (
	"net"
	"strings"
	"testing"
)

// TestMainJob is what the gateway is for, with programs that know nothing of it as
// witnesses: a device publishes and mosquitto_sub prints it, mosquitto_pub publishes and
// the device gets it.
func TestMainJob(t *testing.T) { run(t, mainJob) }

var mainJob = table{
	"MQTT5":      both(func(r *rig) { bridge(r, "mqttv5") }),
	"MQTT3.1.1":  both(func(r *rig) { bridge(r, "mqttv311") }),
	"PubSubTool": both(ownTools),
}

func bridge(r *rig, version string) {
	host, port, err := net.SplitHostPort(r.gateway.mqtt)
	if err != nil {
		r.Fatal(err)
	}
	tool := func(name string, args ...string) *process {
		return launch(r.T, name, name, append([]string{"-h", host, "-p", port, "-V", version}, args...)...)
	}
	d := subscribed(r, cleanSession, 1)
	d.register("s/up")
	sub := tool("mosquitto_sub", "-t", "s/up", "-q", "1", "-C", "1", "-v")
	r.Cleanup(sub.kill)
	eventually(r.T, "mosquitto_sub has a message", func() bool {
		d.ask("__ 0C 20 {s/up} 00 07 'from the device'", "07 0D {s/up} 00 07 00")
		return !sub.running()
	})
	if got := sub.log.String(); got != "s/up from the device\n" {
		r.Errorf("mosquitto_sub printed %q", got)
	}
	pub := tool("mosquitto_pub", "-t", "s/temp", "-q", "1", "-m", "to the device")
	d.receive("s/temp", "to the device", 1)
	<-pub.ended
	if pub.err != nil {
		r.Errorf("mosquitto_pub: %v: %s", pub.err, pub.log)
	}
}

// ownTools has gateway pub and gateway sub talk to each other and to the device.
func ownTools(r *rig) {
	host, port, err := net.SplitHostPort(r.gateway.udp)
	if err != nil {
		r.Fatal(err)
	}
	d := subscribed(r, cleanSession, 1)
	sub := launch(r.T, "gateway sub", gatewayBinary, "sub", "-h", host, "-p", port, "-t", "s/temp", "-q", "1", "-1", "-v")
	r.Cleanup(sub.kill)
	eventually(r.T, "gateway sub has a message", func() bool {
		pub := launch(r.T, "gateway pub", gatewayBinary, "pub", "-h", host, "-p", port, "-t", "s/temp", "-q", "1", "-m", "from the tool")
		<-pub.ended
		if pub.err != nil {
			r.Fatalf("gateway pub: %v: %s", pub.err, pub.log)
		}
		d.receive("s/temp", "from the tool", 1)
		return !sub.running()
	})
	if got := sub.log.String(); !strings.Contains(got, "s/temp") || !strings.Contains(got, "from the tool") {
		r.Errorf("gateway sub printed %q", got)
	}
}
