package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// outpost is a running `gateway forward`, with devices on serial lines, on radios and on
// UDP.
type outpost struct {
	t *testing.T
	*process
	args []string
	// udp is where devices on UDP find it, line and radio are the others; each may be none.
	udp   string
	line  *line
	radio *radio
}

// The ways of an outpost's devices.
type ways byte

const (
	byLine ways = 1 << iota
	byRadio
	byUDP
)

// newOutpost starts a forwarder to the gateway at to, with these ways and further arguments.
func newOutpost(t *testing.T, to string, w ways, args ...string) *outpost {
	t.Helper()
	o := &outpost{t: t, args: append([]string{"forward", "--to", to, "--log-level", "debug"}, args...)}
	if w&byLine != 0 {
		o.line = newLine(t, lineOptions{codec: rawCodec(), baud: swift})
		o.args = append(o.args, "--serial", o.line.flag(overRaw))
	}
	if w&byRadio != 0 {
		o.radio = newRadio(t, swift)
		o.args = append(o.args, o.radio.args()...)
	}
	if w&byUDP != 0 {
		o.udp = freeAddr(t)
		o.args = append(o.args, "--udp", o.udp)
	}
	o.start()
	t.Cleanup(func() {
		if o.running() {
			if err := o.terminate(patience); err != nil {
				t.Errorf("the forwarder after SIGTERM: %v", err)
			}
		}
	})
	return o
}

// start starts it, again if it has ended.
func (o *outpost) start() {
	o.t.Helper()
	o.process = launch(o.t, "forwarder", gatewayBinary, o.args...)
	log := o.log
	o.t.Cleanup(func() {
		if o.t.Failed() || strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "DATA RACE") {
			o.t.Errorf("the forwarder's log:\n%s", log)
		}
	})
	eventually(o.t, "the forwarder has a socket", func() bool { return !o.running() || o.says("a socket to the gateway") })
	if !o.running() {
		o.t.Fatalf("the forwarder has ended: %v", o.err)
	}
}

func (o *outpost) says(text string) bool { return strings.Contains(o.log.String(), text) }

// kill ends it without a chance to tidy up. A terminal would stay locked then, unlike a
// real port, so the line gets another one.
func (o *outpost) kill() {
	o.t.Helper()
	o.process.kill()
	o.line.unplug()
	o.line.plug()
}

func (o *outpost) onLine(id string) *device {
	o.t.Helper()
	return newDeviceOn(o.t, func() net.Conn { return o.line.attach(o.t) }, id)
}

func (o *outpost) onRadio(id string) *device {
	o.t.Helper()
	return newDeviceOn(o.t, func() net.Conn { return o.radio.node(o.t) }, id)
}

func (o *outpost) onUDP(id string) *device {
	o.t.Helper()
	return newDevice(o.t, o.udp, id)
}

// patient is for tests in which somebody is away for a while.
var patient = []setting{key("session.t_retry", "1s"), key("session.n_retry", "60")}

// TestForward has devices of all kinds behind one forwarder do all that devices do, and
// lets tshark read what goes between forwarder and gateway.
func TestForward(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{embedded, upstream} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup)
			w := newWire(t, r.gateway.udp)
			o := newOutpost(t, w.addr, byLine|byRadio|byUDP)
			watcher := r.watch("up/#")
			all := []*device{o.onLine("on-line"), o.onRadio("on-radio-1"), o.onRadio("on-radio-2"), o.onUDP("on-udp-1"), o.onUDP("on-udp-2")}
			for _, d := range all {
				ready(d, cleanSession)
			}
			for _, d := range all {
				up := "up/" + d.id
				d.register(up)
				d.tell("__ 0C 00 {" + up + "} 00 00 'zero'")
				watcher.expect(up, "zero", 0)
				d.ask("__ 0C 20 {"+up+"} 00 07 'one'", "07 0D {"+up+"} 00 07 00")
				watcher.expect(up, "one", 1)
				d.ask("__ 0C 40 {"+up+"} 00 08 'two'", "04 0F 00 08")
				d.ask("04 10 00 08", "04 0E 00 08")
				watcher.expect(up, "two", 2)
				r.stillThere(d)
			}
			for _, d := range all {
				d.sleep(minute)
				r.leave(d.own(), "while "+d.id+" slept", 1)
			}
			for _, d := range all {
				d.silent(moment / 4)
				d.tell(d.wakeFrame())
				d.receive(d.own(), "while "+d.id+" slept", 1)
				d.expect("02 17")
				d.connect(keepSession, minute)
				r.stillThere(d)
			}
			o.search(all[0], all[1], all[2], all[3])
			for _, d := range all {
				d.alive()
				d.disconnect()
			}
			w.judge([]int{2, 7, 9}, []byte{0x01, 0x04, 0x0A, 0x0C, 0x0D, 0x10, 0x12, 0x16, 0x18},
				[]byte{0x02, 0x05, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x13, 0x17, 0x18})
		})
	}
}

// search has a device on each way look for a gateway. On the radio the answer is for all
// who are as near as was asked for.
func (o *outpost) search(onLine, onRadio, neighbour, onUDP *device) {
	o.t.Helper()
	onLine.ask("03 01 01", "03 02 01")
	onUDP.ask("03 01 01", "03 02 01")
	onRadio.ask("03 01 02", "03 02 01")
	neighbour.expect("03 02 01")
	o.radio.mu.Lock()
	defer o.radio.mu.Unlock()
	if !slices.Equal(o.radio.broadcasts, []byte{2}) {
		o.t.Errorf("broadcasts on the radio have the radii %v, want 2", o.radio.broadcasts)
	}
}

// TestForwarderIsRestarted: it keeps nothing, so whoever is behind it notices nothing but
// the time that it was away, if it has the same address again.
func TestForwarderIsRestarted(t *testing.T) {
	t.Parallel()
	r := newRig(t, embedded, patient...)
	w := newWire(t, r.gateway.udp)
	o := newOutpost(t, w.addr, byLine|byUDP, "--local", freeAddr(t))
	awake, sleeper := o.onLine("awake"), o.onUDP("sleeper")
	ready(awake, keepSession)
	ready(sleeper, keepSession)
	for i, end := range []func(){o.kill, func() {
		if err := o.terminate(patience); err != nil {
			t.Error(err)
		}
	}, o.kill} {
		sleeper.sleep(minute)
		end()
		r.leave(sleeper.own(), fmt.Sprint(i), 1)
		r.leave(awake.own(), fmt.Sprint(i), 1)
		o.start()
		awake.receive(awake.own(), fmt.Sprint(i), 1) // the gateway has repeated it, perhaps once more
		awake.tell("02 16")
		awake.drain(0)
		sleeper.tell(sleeper.wakeFrame())
		sleeper.receive(sleeper.own(), fmt.Sprint(i), 1)
		sleeper.drain(0)
	}
	if r.connects() != 2 {
		t.Errorf("%v CONNECTs have come, want 2", r.connects())
	}
}

// TestForwarderHasAnotherAddress: without --local it has another one after a restart. Who
// is awake has to connect again, who slept wakes up as if nothing was.
func TestForwarderHasAnotherAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, embedded)
	w := newWire(t, r.gateway.udp)
	o := newOutpost(t, w.addr, byLine|byUDP)
	awake, sleeper := o.onLine("awake"), o.onUDP("sleeper")
	ready(awake, keepSession)
	ready(sleeper, keepSession)
	sleeper.sleep(minute)
	o.kill()
	r.leave(sleeper.own(), "hi", 1)
	o.start()
	awake.ask("02 16", "02 18")
	awake.connect(keepSession, minute)
	r.stillThere(awake)
	sleeper.tell(sleeper.wakeFrame())
	sleeper.receive(sleeper.own(), "hi", 1)
	sleeper.expect("02 17")
}

// TestForwarderOutlivesTheGateway: it says once that the gateway is away, and once that it
// is back, and goes on by itself.
func TestForwarderOutlivesTheGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t, embedded)
	o := newOutpost(t, r.gateway.udp, byLine|byUDP)
	all := []*device{o.onLine("on-line"), o.onUDP("on-udp")}
	for range 2 {
		for _, d := range all {
			ready(d, keepSession)
			r.stillThere(d)
		}
		r.gateway.kill()
		r.publisher = nil
		for _, d := range all {
			d.tell("02 16")
			d.silent(moment)
		}
		r.restartGateway()
		for _, d := range all {
			d.ask("02 16", "02 18") // it keeps nothing either, without a state directory
		}
	}
	for text, want := range map[string]int{"the gateway cannot be reached": 2, "the gateway answers again": 2} {
		eventually(t, fmt.Sprintf("the forwarder's log says %q %d times", text, want), func() bool {
			return strings.Count(o.log.String(), text) == want
		})
	}
}

// TestForwarderIsNotAllowed: a gateway that does not know the forwarder does not answer,
// so the forwarder's log says where to look. It goes on once it is allowed.
func TestForwarderIsNotAllowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, embedded, key("gateway.forwarders", `["127.0.0.1"]`))
	w := newWire(t, r.gateway.udp)
	o := newOutpost(t, w.addr, byLine)
	d := o.onLine("cli-1")
	asked := 0
	for start := time.Now(); !o.says("gateway.forwarders"); asked++ {
		if time.Since(start) > 3*patience {
			t.Fatalf("the forwarder's log does not say what to do after %v", 3*patience)
		}
		d.tell(d.connectFrame(cleanSession, minute))
		d.silent(2 * time.Second)
	}
	if refused := r.gateway.labelled(t, "drops_total", `reason="forwarder_refused"`); refused != float64(asked) {
		t.Errorf("%v packets are counted as refused, want %d", refused, asked)
	}
	newDevice(t, r.gateway.udp, "cli-1").connect(cleanSession, minute) // without a forwarder it is welcome
	r.plan.keys["gateway.forwarders"] = `["` + outpostIP.String() + `"]`
	r.gateway.checkedStop(t)
	r.restartGateway()
	ready(d, cleanSession)
	r.stillThere(d)
	eventually(t, "the forwarder's log says that the gateway answers again", func() bool { return o.says("the gateway answers again") })
	w.judge([]int{1}, []byte{0x04, 0x12, 0x0D, 0x16}, []byte{0x05, 0x13, 0x0C, 0x17})
}
