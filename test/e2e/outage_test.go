package e2e

import (
	"net/http"
	"testing"
)

// TestUnreachableBroker: it does not stop the start, devices get congestion, and all is
// well as soon as the broker is there.
func TestUnreachableBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t, upstream, brokerDown)
	if got := httpStatus("http://" + r.gateway.admin + "/healthz"); got != http.StatusOK {
		t.Errorf("/healthz is %d without a broker, want 200: the process is well", got)
	}
	if got := httpStatus("http://" + r.gateway.admin + "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d without a broker, want 503", got)
	}
	d := r.device("cli-1")
	d.ask(d.connectFrame(cleanSession, minute), "03 05 01")
	r.mosquitto = startMosquittoAt(t, r.plan, r.gateway.mqtt)
	eventually(t, "CONNECT is accepted", func() bool {
		d.tell(d.connectFrame(cleanSession, minute))
		connack := d.expect("03 05 ??")
		return connack[2] == 0
	})
	d.subscribe("s/temp", 1)
	r.publish("s/temp", "hi", 1)
	d.receive("s/temp", "hi", 1)
	eventually(t, "gateway is ready", func() bool { return httpStatus("http://"+r.gateway.admin+"/readyz") == http.StatusOK })
}

// TestOutage: devices stay connected when the broker goes away and comes back, even one
// that has forgotten all. What they publish meanwhile is answered when the broker has it.
func TestOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, upstream, key("session.t_retry", "30s"))
	d := subscribed(r, keepSession, 1)
	d.register("s/up")
	r.mosquitto.kill()
	d.alive()
	d.tell("__ 0C 20 {s/up} 00 07 'up'")
	d.silent(moment)
	r.mosquitto.restart(r, "cli-1")
	d.expect("07 0D {s/up} 00 07 00")
	r.publish("s/temp", "down", 1)
	d.receive("s/temp", "down", 1)
	watcher := r.watch("s/#")
	d.ask("__ 0C 20 {s/up} 00 08 'up'", "07 0D {s/up} 00 08 00")
	watcher.expect("s/up", "up", 1)
}
