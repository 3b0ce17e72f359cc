package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestReadings has readings of unclear clauses (section 5 of the reference) that no id of
// the checklist tests.
func TestReadings(t *testing.T) { run(t, readings, sleeperReadings, deliveryReadings) }

var readings = table{
	// WILLTOPIC with flags and no topic is the empty form.
	"A11": both(func(r *rig) {
		watcher := r.watch("#")
		d := r.device("cli-1")
		d.ask(d.connectFrame(cleanSession|withWill, brief), "02 06")
		d.ask("03 07 30", "03 05 00")
		d.vanishWithoutWill(watcher)
	}),
	// What is no will refuses the CONNECT: QoS -1, no UTF-8.
	"WillTopicIsInvalid": both(func(r *rig) {
		d := r.device("cli-1")
		for _, topic := range []string{"60 'w/dead1'", "00 'w/' C3 28", "00 'w/' 00"} {
			d.ask(d.connectFrame(cleanSession|withWill, minute), "02 06")
			d.ask("__ 07 "+topic, "03 05 03")
		}
		d.ask("02 16", "02 18")
	}),
	// DISCONNECT ends a handshake (3.1).
	"DISCONNECTDuringTheHandshake": both(func(r *rig) {
		d := r.device("cli-1")
		for _, step := range []func(){func() {}, func() { d.ask("0A 07 30 'w/dead1'", "02 08") }} {
			d.ask(d.connectFrame(cleanSession|withWill, minute), "02 06")
			step()
			d.disconnect()
			d.ask("02 16", "02 18")
		}
	}),
	// A subscription can be made anew with another QoS.
	"QoSOfASubscriptionChanges": both(func(r *rig) {
		d := r.client(cleanSession)
		for _, qos := range []int{1, 0, 2} {
			d.subscribe("s/temp", qos)
			r.publish("s/temp", "hi", 2)
			d.receive("s/temp", "hi", qos)
		}
	}),
	// Each message needs an answer of its own, however many are under way.
	"ManyMessagesUnderWay": both(func(r *rig) {
		d, watcher := registered(r)
		const window = 10
		answers := make([]string, window)
		for i := range window {
			d.tell(fmt.Sprintf("__ 0C 20 {s/temp} 00 %02X '%d'", i+1, i))
			answers[i] = fmt.Sprintf("07 0D {s/temp} 00 %02X 00", i+1)
		}
		d.expectAll(answers...)
		for i := range window {
			watcher.expect("s/temp", fmt.Sprint(i), 1)
		}
	}),
}

var sleeperReadings = table{
	// CONNECT with Will from a sleeper prompts.
	"A3": both(func(r *rig) {
		watcher := r.watch("w/#")
		d := asleep(r, keepSession)
		r.queue(1)
		d.connectWithWill(keepSession, brief, lastWill)
		d.receive("s/temp", "0", 1)
		d.vanish(watcher, brief, "w/dead1", "bye!", 1)
	}),
	// A sleeper may REGISTER, SUBSCRIBE and UNSUBSCRIBE: answered at once, and nothing else
	// is sent.
	"A14": both(func(r *rig) {
		r.publish("s/kept", "kept", 1, true)
		d := asleep(r, cleanSession)
		r.queue(1)
		d.register("s/up")
		d.subscribe("s/kept", 1)
		d.ask("0B 14 00 00 0A 's/temp'", "04 15 00 0A")
		d.silent(5 * moment)
		d.tell(d.wakeFrame())
		d.receive("s/temp", "0", 1)
		d.receive("s/kept", "kept", 1)
		d.expect("02 17")
	}),
	// PINGREQ again while REGISTER is unanswered: REGISTER again.
	"PINGREQDuringREGISTER": both(func(r *rig) {
		d := wild(r, 1)
		d.sleep(60)
		r.leave("s/x", "hi", 1)
		d.ask(d.wakeFrame(), "__ 0A {tid} {mid} 's/x'")
		d.ask(d.wakeFrame(), "__ 0A {tid} {mid} 's/x'")
		d.ask("07 0B {tid} {mid} 00", "__ 0C 20 {tid} {pub} 'hi'")
		d.ask("07 0D {tid} {pub} 00", "02 17")
		d.silent(moment)
	}),
	// What comes while the client is awake is delivered before PINGRESP.
	"ArrivesWhileAwake": both(func(r *rig) {
		d := asleep(r, cleanSession)
		r.queue(1)
		d.ask(d.wakeFrame(), "08 0C 20 {s/temp} {first} '0'")
		r.leave("s/temp", "late", 1)
		d.ask("07 0D {s/temp} {first} 00", "__ 0C 20 {s/temp} {second} 'late'")
		d.ask("07 0D {s/temp} {second} 00", "02 17")
	}),
	// Of QoS 0 a sleeper gets the newest, as many as the limit says (A15).
	"A15": both(func(r *rig) {
		d := subscribed(r, cleanSession, 0)
		d.sleep(60)
		for i := range 10 {
			r.publish("s/temp", fmt.Sprint(i), 0)
		}
		d.silent(2 * moment)
		d.tell(d.wakeFrame())
		d.drain(7, 0, 0, 0)
	}, key("session.max_queued_qos0", "3")),
}

var deliveryReadings = table{
	// A message comes in the form of its subscription, also after a reconnect.
	"A24": both(func(r *rig) {
		d := r.client(keepSession)
		d.ask("07 12 21 00 05 00 0A", "08 13 20 00 0A 00 05 00")
		d.ask("07 12 22 00 06 'ab'", "08 13 20 00 00 00 06 00")
		d.subscribe("pre/eleven", 1) // the name of a predefined topic, and it is the name that counts
		d.subscribe("xy", 1)
		for range 2 {
			r.publish("pre/ten", "hi", 1)
			d.expect("__ 0C 21 000A {ten} 'hi'")
			d.tell("07 0D 000A {ten} 00")
			r.publish("ab", "hi", 1)
			d.expect("__ 0C 22 'ab' {ab} 'hi'")
			d.tell("07 0D 'ab' {ab} 00")
			for _, name := range []string{"pre/eleven", "xy"} {
				r.publish(name, "hi", 1)
				if p := d.receive(name, "hi", 1); p.flags&3 != 0 {
					r.Errorf("%s came with the topic id type of flags %02X, want a normal id", name, p.flags)
				}
			}
			clear(d.vars)
			d.disconnect()
			d.connect(keepSession, minute)
		}
	}),
	// PUBACK 01: hold, and again after T_retry.
	"A28": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		r.publish("s/temp", "hi", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'hi'")
		refused := time.Now()
		d.tell("07 0D {s/temp} {mid} 01")
		d.expect("__ 0C ?? {s/temp} {again} 'hi'")
		if after := time.Since(refused); after < fastRetry {
			r.Errorf("PUBLISH again after %v, T_retry is %v", after, fastRetry)
		}
		d.tell("07 0D {s/temp} {again} 00")
		d.settled("__ 0C ?? {s/temp} {again} 'hi'")
	}, retryFast),
	// PUBACK with an error ends a QoS 2 exchange (A50).
	"A50": both(func(r *rig) {
		d := subscribed(r, cleanSession, 2)
		r.publish("s/temp", "one", 2)
		d.expect("__ 0C 40 {s/temp} {mid} 'one'")
		d.tell("07 0D {s/temp} {mid} 03")
		r.publish("s/temp", "two", 2)
		d.receive("s/temp", "two", 2)
		d.silent(2 * fastRetry)
	}, retryFast),
	// An empty message is a message.
	"EmptyPayload": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		r.publish("s/temp", "", 1)
		d.expect("07 0C 20 {s/temp} {mid}")
		d.tell("07 0D {s/temp} {mid} 00")
		d.alive()
	}),
}
