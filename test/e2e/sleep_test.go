package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Group Z of the checklist: sleep. Where a duration matters the reference's 10 s are 3 s.
var sleeping = overMedia(table{
	"Z27": everyMedium(does(overflow, key("session.max_queued_qos0", "10"), key("session.max_queued_bytes", "16384"))),
}, naps, drains, brokenDrains, sleepTimers, returns, sleepTalk)

func TestSleep(t *testing.T) { run(t, sleeping...) }

// asleep is cli-1 with a subscription to s/temp of QoS 2, asleep for a minute.
func asleep(r *rig, flags byte) *device {
	r.Helper()
	d := subscribed(r, flags, 2)
	d.sleep(60)
	return d
}

// queue publishes messages for a sleeper, one per QoS given: "0", "1", ...
func (r *rig) queue(qos ...byte) {
	r.Helper()
	for i, q := range qos {
		r.leave("s/temp", fmt.Sprint(i), q)
	}
}

// drain takes so many messages of queue, the first being number from, then PINGRESP.
func (d *device) drain(from int, qos ...int) {
	d.t.Helper()
	for i, q := range qos {
		d.receive("s/temp", fmt.Sprint(from+i), q)
	}
	for !d.next("02 17") {
		if p := d.take(); !p.isCopyOf(d.received) {
			d.t.Fatalf("%s got another message, %q, want PINGRESP", d.id, p.payload)
		}
	}
}

var naps = table{
	"Z01": both(func(r *rig) { // the client sleeps, its connection to the broker does not
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.connectWithWill(cleanSession, minute, lastWill)
		d.ask("04 18 00 3C", "02 18")
		watcher.nothing(moment)
		if r.mosquitto != nil && r.mosquitto.said("DISCONNECT from cli-1") != 0 {
			r.Error("the broker's client is disconnected")
		}
		d.ask(d.wakeFrame(), "02 17")
	}),
	"Z02": both(func(r *rig) {
		d := asleep(r, cleanSession)
		r.queue(0, 1, 2)
		d.silent(5 * moment)
	}),
	"Z03": both(func(r *rig) {
		asleep(r, cleanSession).ask("07 16 'cli-1'", "02 17")
	}),
	"Z12": both(func(r *rig) { // the radio is off after PINGRESP
		d := asleep(r, cleanSession)
		d.ask(d.wakeFrame(), "02 17")
		r.queue(1)
		d.silent(5 * moment)
		d.tell(d.wakeFrame())
		d.drain(0, 1)
	}),
	"Z28": both(func(r *rig) { // Duration 0 is no sleep (A13)
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.connectWithWill(keepSession, minute, lastWill)
		d.ask("04 18 00 00", "02 18")
		watcher.nothing(moment)
		d.ask(d.wakeFrame(), "02 18")
	}),
	"Z29": both(func(r *rig) { // half a Duration
		d := r.client(cleanSession)
		d.tell("03 18 3C")
		d.alive()
	}),
	"Z31": both(func(r *rig) { // the answer was lost
		d := asleep(r, cleanSession)
		d.sleep(60)
		r.queue(1)
		d.silent(moment)
		d.tell(d.wakeFrame())
		d.drain(0, 1)
	}),
}

var drains = table{
	"Z04": both(func(r *rig) {
		d := asleep(r, cleanSession)
		r.queue(0, 0, 0)
		d.tell(d.wakeFrame())
		for i := range 3 {
			d.expect(fmt.Sprintf("08 0C 00 {s/temp} 00 00 '%d'", i))
		}
		d.expect("02 17")
		d.silent(moment)
	}),
	"Z05": both(func(r *rig) { // each is acknowledged before the next
		d := asleep(r, cleanSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		for i := range 3 {
			d.expect(fmt.Sprintf("08 0C 20 {s/temp} {%d} '%d'", i, i))
			d.silent(moment)
			d.tell(fmt.Sprintf("07 0D {s/temp} {%d} 00", i))
		}
		d.expect("02 17")
		d.silent(moment)
	}),
	"Z06": both(func(r *rig) {
		d := asleep(r, cleanSession)
		r.queue(2)
		d.ask(d.wakeFrame(), "08 0C 40 {s/temp} {mid} '0'")
		d.ask("04 0F {mid}", "04 10 {mid}")
		d.ask("04 0E {mid}", "02 17")
	}),
	"Z07": both(func(r *rig) { // one order for all QoS (A15)
		d := asleep(r, cleanSession)
		r.queue(0, 1, 0, 2)
		d.tell(d.wakeFrame())
		d.drain(0, 0, 1, 0, 2)
	}),
	"Z08": both(func(r *rig) { // REGISTER is part of it [SN-6.10]
		d := wild(r, 1)
		d.sleep(60)
		r.leave("s/x", "hi", 1)
		d.silent(moment)
		d.ask(d.wakeFrame(), "__ 0A {tid} {mid} 's/x'")
		d.silent(moment)
		d.ask("07 0B {tid} {mid} 00", "__ 0C 20 {tid} {pub} 'hi'")
		d.ask("07 0D {tid} {pub} 00", "02 17")
	}),
	"Z10": both(func(r *rig) { // PINGRESP was lost
		d := asleep(r, cleanSession)
		r.queue(1)
		d.tell(d.wakeFrame())
		d.drain(0, 1)
		d.ask(d.wakeFrame(), "02 17")
	}),
	"Z25": both(func(r *rig) { // PINGREQ without the ClientID (3.10)
		d := asleep(r, cleanSession)
		r.queue(1)
		d.tell("02 16")
		d.drain(0, 1)
	}),
	"Z32": both(func(r *rig) { // a clean session sleeps as well as any
		for _, flags := range []byte{cleanSession, keepSession} {
			d := asleep(r, flags)
			r.queue(0, 1, 2)
			d.tell(d.wakeFrame())
			d.drain(0, 0, 1, 2)
			d.disconnect()
		}
	}),
}

var brokenDrains = table{
	"Z09": both(func(r *rig) { // PINGREQ again: the message in hand again, and one PINGRESP
		d := asleep(r, cleanSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "0", 1)
		d.expect("08 0C 20 {s/temp} {mid} '1'")
		d.ask(d.wakeFrame(), "08 0C A0 {s/temp} {mid} '1'")
		d.tell("07 0D {s/temp} {mid} 00")
		d.drain(2, 1)
		d.silent(moment)
	}),
	"Z11": both(func(r *rig) { // N retries, then quiet, and nothing is lost
		d := asleep(r, cleanSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "0", 1)
		d.expectRepeats(d.sent, "08 0C 20 {s/temp} {mid} '1'", "08 0C A0 {s/temp} {mid} '1'")
		d.silent(2 * fastRetry)
		d.tell(d.wakeFrame())
		d.drain(1, 1, 1)
	}, retryFast),
	"Z13": both(func(r *rig) { // inflow without end: PINGRESP all the same (3.10)
		d := asleep(r, cleanSession)
		r.queue(1)
		sent, got := 1, 0
		for range 2 {
			d.tell(d.wakeFrame())
			for !d.next("02 17") {
				p := d.take()
				if p.isCopyOf(d.received) {
					continue
				}
				if p.payload != fmt.Sprint(got) {
					r.Fatalf("got message %q, want %d", p.payload, got)
				}
				r.leave("s/temp", fmt.Sprint(sent), 1)
				sent, got = sent+1, got+1
				d.acknowledge(p)
				d.received = p
				if got > 100 {
					r.Fatal("no PINGRESP after 100 messages")
				}
			}
			d.silent(moment)
		}
	}, key("session.max_awake_messages", "20")),
	"Z21": both(func(r *rig) { // CONNECT in the middle: none lost
		d := asleep(r, keepSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		d.take()
		d.connect(keepSession, minute)
		for i := range 3 {
			d.receive("s/temp", fmt.Sprint(i), 1)
		}
		d.alive()
	}),
	"Z22": both(func(r *rig) { // DISCONNECT in the middle: silence
		d := asleep(r, keepSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		d.take()
		d.disconnect()
		d.silent(5 * time.Second / 2)
		d.ask(d.wakeFrame(), "02 18")
	}, key("session.t_retry", "2s")),
	"Z37": both(func(r *rig) { // sleep again in the middle: silence, and the rest next time (A39)
		d := asleep(r, cleanSession)
		r.queue(1, 1, 1)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "0", 1)
		d.take()
		d.sleep(60)
		d.silent(5 * time.Second / 2)
		d.tell(d.wakeFrame())
		d.drain(1, 1, 1)
	}, key("session.t_retry", "2s")),
	"Z27": both(overflow, key("session.max_queued_qos0", "10")),
	"Z33": { // the broker dies under a sleeper, who is told, or gets its messages later (A37)
		embedded: absent("the embedded broker lives and dies with the gateway"),
		upstream: does(func(r *rig) {
			d := asleep(r, keepSession)
			r.mosquitto.kill()
			d.silent(moment)
			d.ask(d.wakeFrame(), "02 17")
			r.mosquitto.restart(r, "cli-1")
			r.queue(1)
			d.tell(d.wakeFrame())
			d.drain(0, 1)
		}),
		scripted: does(func(r *rig) {
			d := asleep(r, keepSession)
			r.script.leave()
			d.silent(2 * time.Second)
			d.ask(d.wakeFrame(), "02 18")
		}, key("broker.outage_grace", "1s")),
	},
}

// overflow gives a sleeper more than its queue holds, in number of QoS 0 messages and in
// octets of the others. Of QoS 0 the newest stay. QoS 1 is all there: what the gateway
// does not take the broker keeps.
func overflow(r *rig) {
	const qos0, qos0Limit, qos1 = 50, 10, 600
	d := asleep(r, keepSession)
	for i := range qos0 {
		r.publish("s/temp", fmt.Sprint(i), 0)
	}
	padding := strings.Repeat(" ", min(1000, r.medium.largest()-3)) // after three digits
	for i := range qos1 {
		r.publish("s/temp", fmt.Sprint(i)+padding, 1)
	}
	next := map[int]int{0: qos0 - qos0Limit, 1: 0}
	for start := time.Now(); next[1] < qos1; {
		if time.Since(start) > patience {
			r.Fatalf("%d of %d messages after %v of PINGREQ", next[1], qos1, patience)
		}
		d.silent(moment / 10)
		d.tell(d.wakeFrame())
		for !d.next("02 17") {
			p := d.take()
			if number := strings.TrimSpace(p.payload); number != fmt.Sprint(next[p.qos()]) {
				r.Fatalf("QoS %d: got message %s, want %d", p.qos(), number, next[p.qos()])
			}
			next[p.qos()]++
			d.acknowledge(p)
		}
	}
	if next[0] != qos0 {
		r.Errorf("of QoS 0 the messages from %d on are missing", next[0])
	}
}

var sleepTimers = table{
	"Z14": both(func(r *rig) { // no PINGREQ: lost, and the will fires
		d, watcher := sleeperWithWill(r, minute, brief)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	}),
	"Z15": both(onTime(func(r *rig) bool { // each PINGRESP starts the timer anew
		d, watcher := sleeperWithWill(r, minute, brief)
		for range 5 {
			if !d.pause() {
				return false
			}
			d.ask(d.wakeFrame(), "02 17")
		}
		watcher.nothing(moment)
		return true
	})),
	"Z16": both(func(r *rig) { // a sleep longer than the keep alive (A38)
		d, watcher := sleeperWithWill(r, brief, 3*brief)
		d.silent(3*brief*time.Second + brief*time.Second/3)
		watcher.nothing(time.Millisecond)
		d.ask(d.wakeFrame(), "02 17")
	}),
	"Z17": both(onTime(func(r *rig) bool { // a longer sleep from within (A39)
		d, watcher := sleeperWithWill(r, minute, brief)
		r.leave("s/temp", "hi", 1)
		if time.Since(d.sent) > brief*time.Second {
			return false
		}
		d.sleep(3 * brief)
		d.silent(3*brief*time.Second + brief*time.Second/3)
		watcher.nothing(time.Millisecond)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "hi", 1)
		d.expect("02 17")
		return true
	})),
	"Z35": both(onTime(func(r *rig) bool { // any message counts, and none but PINGREQ empties the queue (A14)
		d, watcher := sleeperWithWill(r, minute, brief)
		r.leave("s/temp", "hi", 1)
		for range 5 {
			if !d.pause() {
				return false
			}
			d.tell("__ 0C 00 {s/temp} 00 00 'up'")
		}
		eventually(r.T, "its own messages wait for it", func() bool { return r.metric("queue_messages") == 6 })
		if time.Since(d.sent) > brief*time.Second {
			return false
		}
		watcher.nothing(time.Millisecond)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "hi", 1)
		for range 5 { // its own
			d.receive("s/temp", "up", 0)
		}
		d.expect("02 17")
		return true
	})),
	"Z36": both(func(r *rig) { // awake and gone: asleep again after N retries, then lost (3.0)
		d, watcher := sleeperWithWill(r, minute, brief)
		r.leave("s/temp", "hi", 1)
		d.tell(d.wakeFrame())
		d.expectRepeats(d.sent, "__ 0C 20 {s/temp} {mid} 'hi'", "__ 0C A0 {s/temp} {mid} 'hi'")
		from, to := lossLimits(brief)
		m := watcher.expect("w/dead1", "bye!", 1)
		from, to = from+nRetry*fastRetry, to+(nRetry+1)*fastRetry
		if after := m.at.Sub(d.sent); after < from || after > to {
			r.Errorf("will %v after PINGREQ, want %v to %v", after, from, to)
		}
	}, retryFast),
}

// sleeperWithWill is cli-1 with a will and a subscription to s/temp of QoS 1, asleep for
// so many seconds, and a watcher of the will.
func sleeperWithWill(r *rig, keepAlive, seconds int) (*device, *mqttClient) {
	r.Helper()
	watcher := r.watch("w/#")
	d := r.device("cli-1")
	d.connectWithWill(keepSession, keepAlive, lastWill)
	d.subscribe("s/temp", 1)
	d.sleep(seconds)
	return d, watcher
}

var returns = table{
	"Z18": both(func(r *rig) { // DISCONNECT from within: no loss
		d, watcher := sleeperWithWill(r, minute, brief)
		d.disconnect()
		d.vanishWithoutWill(watcher)
		d.ask(d.wakeFrame(), "02 18")
	}),
	"Z19": both(func(r *rig) { // CONNECT: CONNACK, the messages, and no PINGRESP
		d := asleep(r, keepSession)
		r.queue(0, 1, 2)
		d.connect(keepSession, minute)
		for i := range 3 {
			d.receive("s/temp", fmt.Sprint(i), i)
		}
		d.silent(moment)
		d.alive()
	}),
	"Z20": both(func(r *rig) { // a clean CONNECT: nothing (A3)
		d := asleep(r, keepSession)
		r.queue(0, 1, 2)
		d.connect(cleanSession, minute)
		d.silent(moment)
		d.alive()
	}),
	"Z23": both(func(r *rig) { // from a new address: the ClientID counts (A16)
		here := asleep(r, cleanSession)
		r.queue(1)
		there := here.twin()
		there.tell(there.wakeFrame())
		there.drain(0, 1)
		here.silent(moment)
	}),
	"Z24": both(func(r *rig) { r.device("cli-1").ask("07 16 'cli-1'", "02 18") }),
	"Z30": both(func(r *rig) { // who is not connected cannot fall asleep [SN-6.12]
		d := r.client(keepSession)
		d.disconnect()
		d.ask("04 18 00 3C", "02 18")
		d.ask(d.wakeFrame(), "02 18")
	}),
	"Z34": both(func(r *rig) { // a lost sleeper has to CONNECT
		d, watcher := sleeperWithWill(r, minute, brief)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
		r.publish("s/temp", "hi", 1)
		d.discard("02 18")
		d.ask(d.wakeFrame(), "02 18")
		d.connect(keepSession, minute)
		d.receive("s/temp", "hi", 1)
	}),
}

var sleepTalk = table{
	"Z26": both(func(r *rig) { // PUBLISH without CONNECT: taken, and the client sleeps on (A14)
		watcher := r.watch("s/#")
		d := asleep(r, cleanSession)
		d.ask("__ 0C 20 {s/temp} 00 07 'up'", "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", "up", 1)
		d.silent(2 * moment)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "up", 1)
		d.expect("02 17")
	}),
}
