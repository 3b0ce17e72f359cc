package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Group S of the checklist: subscribe and delivery.
var subscribing = overMedia(nil, subscribes, subscriptionForms, refusedSubscribes, unsubscribes, deliveries, unacknowledged, deviceErrors, deliveryForms)

func TestSubscribe(t *testing.T) { run(t, subscribing...) }

var subscribes = table{
	"S01": both(func(r *rig) {
		r.client(cleanSession).ask("0B 12 20 00 03 's/temp'", "08 13 20 {tid} 00 03 00")
	}),
	"S02": both(func(r *rig) { // SUBACK was lost: the same answer (3.6)
		d := r.client(cleanSession)
		d.ask("0B 12 20 00 03 's/temp'", "08 13 20 {tid} 00 03 00")
		d.ask("0B 12 20 00 03 's/temp'", "08 13 20 {tid} 00 03 00")
	}),
	"S03": both(func(r *rig) { // one name, one id (A25)
		d := r.client(cleanSession)
		d.register("s/temp")
		d.ask("0B 12 20 00 03 's/temp'", "08 13 20 {s/temp} 00 03 00")
	}),
	"S13": both(func(r *rig) { // SUBACK first, then the retained message, marked so
		r.publish("s/temp", "kept", 1, true)
		d := r.client(cleanSession)
		d.subscribe("s/temp", 1)
		p := d.receive("s/temp", "kept", 1)
		if p.flags&0x10 == 0 {
			r.Errorf("flags %02X have no Retain", p.flags)
		}
		r.publish("s/temp", "live", 1, true)
		if p := d.receive("s/temp", "live", 1); p.flags&0x10 != 0 {
			r.Errorf("flags %02X of a live message have Retain", p.flags)
		}
	}),
	"S32": both(func(r *rig) { // DUP on the first SUBSCRIBE [SN-5.4.15]
		d := r.client(cleanSession)
		d.ask("0B 12 A0 00 03 's/temp'", "08 13 20 {s/temp} 00 03 00")
		d.names[d.vars["s/temp"]] = "s/temp"
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
	}),
}

var subscriptionForms = table{
	"S04": both(func(r *rig) { // wildcards have no id [SN-6.9]
		d := r.client(cleanSession)
		for i, filter := range []string{"s/#", "s/+", "#", "+"} {
			d.ask(fmt.Sprintf("__ 12 20 %04X %s", i, octets(filter)), fmt.Sprintf("08 13 20 00 00 %04X 00", i))
		}
	}),
	"S06": both(func(r *rig) { // predefined: known, unknown (A21)
		d := r.client(cleanSession)
		d.ask("07 12 21 00 05 00 0A", "08 13 20 00 0A 00 05 00")
		d.ask("07 12 21 00 06 00 63", "08 13 ?? 00 63 00 06 02")
		r.publish("pre/ten", "hi", 1)
		d.expect("__ 0C 21 00 0A {mid} 'hi'")
		d.tell("07 0D 00 0A {mid} 00")
		d.alive()
	}),
	"S07": both(func(r *rig) { // short
		d := r.client(cleanSession)
		d.ask("07 12 02 00 06 'ab'", "08 13 00 00 00 00 06 00")
		r.publish("ab", "hi", 1)
		d.expect("09 0C 02 'ab' 00 00 'hi'")
	}),
	"S08": both(func(r *rig) { // short, but a filter: mqtt-sn-tools (A23)
		d := r.client(cleanSession)
		d.ask("07 12 22 00 06 '/#'", "08 13 20 00 00 00 06 00")
		r.publish("/temp", "hi", 1)
		d.expect("__ 0A {tid} {mid} '/temp'")
		d.tell("07 0B {tid} {mid} 00")
		d.expect("__ 0C 20 {tid} {pub} 'hi'")
	}),
	"S31": both(func(r *rig) { // short, one character
		d := r.client(cleanSession)
		d.ask("07 12 22 00 06 C3 A9", "08 13 20 00 00 00 06 00")
		r.publish("é", "hi", 1)
		d.expect("09 0C 22 C3 A9 {mid} 'hi'")
	}),
}

var refusedSubscribes = table{
	"S05": both(func(r *rig) { // no filters (A32)
		d := r.client(cleanSession)
		d.ask("__ 12 20 00 03 's/#/x'", "08 13 ?? 00 00 00 03 03")
		d.ask("__ 12 20 00 04 'a+'", "08 13 ?? 00 00 00 04 03")
		d.tell("05 12 20 00 05")
		d.alive()
	}),
	"S09": both(func(r *rig) {
		r.client(cleanSession).ask("07 12 22 00 06 'a#'", "08 13 ?? ?? ?? 00 06 03")
	}),
	"S10": both(func(r *rig) { // the reserved topic id type and QoS -1 [SN-5.3.4]
		d := r.client(cleanSession)
		d.ask("07 12 23 00 06 'ab'", "08 13 ?? ?? ?? 00 06 03")
		d.ask("0B 12 60 00 07 's/temp'", "08 13 ?? ?? ?? 00 07 03")
	}),
	"S11": { // the QoS is the one granted [SN-5.4.16]
		embedded: absent("the embedded broker grants every QoS"),
		upstream: does(func(r *rig) {
			r.client(cleanSession).ask("0B 12 40 00 03 's/temp'", "08 13 20 {tid} 00 03 00")
		}, mosquittoLine("max_qos 1")),
		scripted: does(func(r *rig) {
			r.script.answers(0, 1, 0)
			r.client(cleanSession).ask("0B 12 40 00 03 's/temp'", "08 13 20 {tid} 00 03 00")
		}),
	},
	"S12": { // the broker refuses (A20)
		embedded: does(func(r *rig) { // too many levels: 0x8F; too many subscriptions: 0x97
			d := r.client(cleanSession)
			d.ask("__ 12 20 00 03 's/1/2/3'", "08 13 ?? ?? ?? 00 03 03")
			d.ask("__ 12 20 00 04 's/1'", "08 13 20 {1} 00 04 00")
			d.ask("__ 12 20 00 05 's/2'", "08 13 ?? ?? ?? 00 05 01")
		}, key("mqtt.max_topic_levels", "3"), key("mqtt.max_subscriptions", "1")),
		upstream: does(func(r *rig) {
			r.client(cleanSession).ask("0B 12 20 00 03 's/temp'", "08 13 ?? ?? ?? 00 03 03")
		}, denySubscriptions),
		scripted: does(func(r *rig) {
			r.script.answers(0, 0x80, 0)
			d := r.client(cleanSession)
			d.ask("0B 12 20 00 03 's/temp'", "08 13 ?? ?? ?? 00 03 03")
			r.script.answers(0, 0x97, 0) // quota: try again later
			d.ask("0B 12 20 00 04 's/temp'", "08 13 ?? ?? ?? 00 04 01")
		}),
	},
}

var unsubscribes = table{
	"S14": both(func(r *rig) {
		d := r.client(cleanSession)
		d.subscribe("s/temp", 1)
		d.ask("07 12 21 00 05 00 0A", "08 13 20 00 0A 00 05 00")
		d.ask("07 12 02 00 06 'ab'", "08 13 00 00 00 00 06 00")
		d.ask("0B 14 00 00 0A 's/temp'", "04 15 00 0A")
		d.ask("07 14 01 00 0B 00 0A", "04 15 00 0B")
		d.ask("07 14 02 00 0C 'ab'", "04 15 00 0C")
		for _, topic := range []string{"s/temp", "pre/ten", "ab"} {
			r.publish(topic, "hi", 1)
		}
		d.alive()
	}),
	"S15": both(func(r *rig) { // UNSUBACK has no return code
		d := r.client(cleanSession)
		d.ask("0B 14 00 00 0A 's/temp'", "04 15 00 0A")
		d.ask("07 14 01 00 0B 00 63", "04 15 00 0B")
		d.ask("07 14 02 00 0C 'ab'", "04 15 00 0C")
		d.ask("07 14 03 00 0D 'ab'", "04 15 00 0D")
	}),
	"S28": both(func(r *rig) { // an exchange outlives its subscription
		d := r.client(cleanSession)
		d.subscribe("s/temp", 1)
		r.publish("s/temp", "hi", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'hi'")
		d.ask("0B 14 00 00 0A 's/temp'", "04 15 00 0A")
		d.tell("07 0D {s/temp} {mid} 00")
		d.alive()
		d.silent(2 * fastRetry)
	}, retryFast),
}

// subscribed is cli-1 with a subscription to s/temp, of that QoS.
func subscribed(r *rig, flags byte, qos int) *device {
	r.Helper()
	d := r.client(flags)
	d.subscribe("s/temp", qos)
	return d
}

var deliveries = table{
	"S16": both(func(r *rig) { // acknowledged is done with, here and at the broker
		d := subscribed(r, keepSession, 1)
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
		d.silent(2 * fastRetry)
		d.disconnect()
		d.connect(keepSession, minute)
		d.alive()
	}, retryFast),
	"S25": both(func(r *rig) { // overlapping subscriptions: at least once
		d := r.client(cleanSession)
		d.subscribeAll("s/#", 1)
		d.subscribe("s/temp", 1)
		r.publish("s/temp", "hi", 1)
		d.receive("s/temp", "hi", 1)
		r.publish("s/last", "end", 1)
		for p := d.take(); ; p = d.take() {
			d.acknowledge(p)
			if p.payload == "end" {
				break
			}
		}
		d.alive()
	}),
	"S26": both(func(r *rig) { // 100 messages, one at a time, in order
		d := subscribed(r, cleanSession, 1)
		for i := range 100 {
			r.publish("s/temp", fmt.Sprint(i), 1)
		}
		for i := range 100 {
			p := d.take()
			if p.payload != fmt.Sprint(i) || p.flags != 0x20 {
				r.Fatalf("message %d is %q with flags %02X", i, p.payload, p.flags)
			}
			d.silent(5 * time.Millisecond)
			d.acknowledge(p)
		}
		d.alive()
	}),
	"S27": both(func(r *rig) { // its own subscription, and the same MsgId both ways (4.3)
		d := subscribed(r, cleanSession, 1)
		d.tell("__ 0C 20 {s/temp} 00 01 'hi'")
		d.expectAll("07 0D {s/temp} 00 01 00", "__ 0C 20 {s/temp} {mid} 'hi'")
		d.tell("07 0D {s/temp} {mid} 00")
		d.alive()
	}),
	"S22": both(func(r *rig) { // too long for a datagram: given up without a word [SN-6.10], and the broker is not held up
		d := subscribed(r, cleanSession, 1)
		fits := strings.Repeat("x", r.medium.largest())
		for range 70 { // more than any window
			r.publish("s/temp", fits+"xxx", 1)
		}
		r.publish("s/temp", fits, 1)
		d.receive("s/temp", fits, 1)
		d.alive()
	}),
}

var unacknowledged = table{
	"S17": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		before := time.Now()
		r.publish("s/temp", "hi", 1)
		d.expectRepeats(before, "__ 0C 20 {s/temp} {mid} 'hi'", "__ 0C A0 {s/temp} {mid} 'hi'")
	}, retryFast),
	"S18": both(func(r *rig) { // without PUBREC, and without PUBCOMP
		d := subscribed(r, cleanSession, 2)
		r.publish("s/temp", "hi", 2)
		d.expect("__ 0C 40 {s/temp} {mid} 'hi'")
		d.expect("__ 0C C0 {s/temp} {mid} 'hi'")
		d.tell("04 0F {mid}")
		d.expect("04 10 {mid}")
		d.expect("04 10 {mid}")
		d.tell("04 0E {mid}")
		d.settled("04 10 {mid}")
	}, retryFast),
	"S33": both(func(r *rig) { // PUBACK does not end a QoS 2 exchange (A50)
		d := subscribed(r, cleanSession, 2)
		r.publish("s/temp", "hi", 2)
		d.expect("__ 0C 40 {s/temp} {mid} 'hi'")
		d.tell("07 0D {s/temp} {mid} 00")
		d.expect("__ 0C C0 {s/temp} {mid} 'hi'")
		d.ask("04 0F {mid}", "04 10 {mid}")
		d.tell("04 0E {mid}")
		d.settled("04 10 {mid}")
	}, retryFast),
}

var deviceErrors = table{
	"S19": both(func(r *rig) { // the id is unknown to the device: REGISTER, and once more (A28)
		d := subscribed(r, cleanSession, 1)
		r.publish("s/temp", "hi", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'hi'")
		d.tell("07 0D {s/temp} {mid} 02")
		d.expect("__ 0A {tid} {reg} 's/temp'")
		d.tell("07 0B {tid} {reg} 00")
		d.expect("__ 0C ?? {tid} {again} 'hi'")
		d.tell("07 0D {tid} {again} 00")
		d.alive()
	}),
	"S20": both(func(r *rig) { // refused for good
		d := subscribed(r, cleanSession, 1)
		r.publish("s/temp", "one", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'one'")
		d.tell("07 0D {s/temp} {mid} 03")
		d.silent(2 * fastRetry)
		r.publish("s/temp", "two", 1)
		d.receive("s/temp", "two", 1)
	}, retryFast),
	"S21": both(func(r *rig) { // an unknown id in QoS 0
		d := subscribed(r, cleanSession, 0)
		r.publish("s/temp", "one", 0)
		d.expect("__ 0C 00 {s/temp} 00 00 'one'")
		d.tell("07 0D {s/temp} 00 00 02")
		d.ask("02 16", "02 17") // the mapping is deleted or corrected only when it is needed
		r.publish("s/temp", "two", 0)
		d.expect("__ 0A {tid} {reg} 's/temp'")
		d.tell("07 0B {tid} {reg} 00")
		d.expect("__ 0C 00 {tid} 00 00 'two'")
	}),
	"S29": both(func(r *rig) { // lets the device finish (A29)
		r.client(cleanSession).ask("04 0F 12 34", "04 10 12 34")
	}),
	"S30": both(func(r *rig) {
		d := r.client(cleanSession)
		d.tell("07 0D 00 05 12 34 00")
		d.tell("04 0E 12 34")
		d.alive()
	}),
}

var deliveryForms = table{
	"S23": both(func(r *rig) { // two octets that matched a wildcard: short, no REGISTER (A24)
		d := r.client(cleanSession)
		d.subscribeAll("#", 1)
		r.publish("ab", "hi", 1)
		d.expect("09 0C 22 'ab' {mid} 'hi'")
	}),
	"S24": both(func(r *rig) { // one octet is no short name
		d := r.client(cleanSession)
		d.subscribeAll("#", 1)
		r.publish("x", "hi", 1)
		d.expect("__ 0A {tid} {mid} 'x'")
		d.tell("07 0B {tid} {mid} 00")
		d.expect("__ 0C 20 {tid} {pub} 'hi'")
	}),
}
