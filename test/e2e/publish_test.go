package e2e

import (
	"fmt"
	"testing"
)

// Group P of the checklist: publish, device to broker.
var publishing = overMedia(table{"P29": {string(overXBee): does(anyOctetsInParts)}},
	publishes, topicForms, repeatedPublishes, refusedPublishes, brokerVerdicts)

func TestPublish(t *testing.T) { run(t, publishing...) }

// registered is cli-1 with the topic id {s/temp}, and a watcher of s/#.
func registered(r *rig) (*device, *mqttClient) {
	r.Helper()
	watcher := r.watch("s/#")
	d := r.client(cleanSession)
	d.register("s/temp")
	return d, watcher
}

var publishes = table{
	"P01": both(func(r *rig) { // QoS 0 is not answered
		d, watcher := registered(r)
		d.tell("__ 0C 00 {s/temp} 00 00 'hi'")
		watcher.expect("s/temp", "hi", 0)
		d.alive()
	}),
	"P02": both(func(r *rig) {
		d, watcher := registered(r)
		d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", "hi", 1)
	}),
	"P03": both(func(r *rig) {
		d, watcher := registered(r)
		d.ask("__ 0C 40 {s/temp} 00 08 'hi'", "04 0F 00 08")
		d.ask("04 10 00 08", "04 0E 00 08")
		watcher.expect("s/temp", "hi", 2)
		watcher.nothing(moment)
	}),
	"P18": both(func(r *rig) { // retained
		d, watcher := registered(r)
		d.ask("__ 0C 30 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", "hi", 1)
		late := dialMQTT(r.T, r.gateway.mqtt, "late", true)
		late.subscribe("s/#", 2)
		if m := late.expect("s/temp", "hi", 1); !m.retain {
			r.Error("the message is not retained")
		}
	}),
	"P19": both(func(r *rig) { // and cleared
		d, watcher := registered(r)
		d.ask("__ 0C 30 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
		d.ask("__ 0C 30 {s/temp} 00 08", "07 0D {s/temp} 00 08 00")
		watcher.expect("s/temp", "hi", 1)
		watcher.expect("s/temp", "", 1)
		late := dialMQTT(r.T, r.gateway.mqtt, "late", true)
		late.subscribe("s/#", 2)
		late.nothing(moment)
	}),
	"P20": both(func(r *rig) { // the MsgId of QoS 0 is no concern (A8)
		d, watcher := registered(r)
		d.tell("__ 0C 00 {s/temp} 00 05 'hi'")
		watcher.expect("s/temp", "hi", 0)
		d.alive()
	}),
	"P21": both(func(r *rig) { // MsgId 0 is one (A22)
		d, watcher := registered(r)
		d.ask("__ 0C 20 {s/temp} 00 00 'hi'", "07 0D {s/temp} 00 00 00")
		watcher.expect("s/temp", "hi", 1)
	}),
	"P22": both(func(r *rig) { // two at a time are more than a client may have, and accepted
		d, watcher := registered(r)
		d.tell("__ 0C 20 {s/temp} 00 07 'one'")
		d.tell("__ 0C 20 {s/temp} 00 08 'two'")
		d.expectAll("07 0D {s/temp} 00 07 00", "07 0D {s/temp} 00 08 00")
		watcher.expect("s/temp", "one", 1)
		watcher.expect("s/temp", "two", 1)
	}),
	"P29": both(func(r *rig) { // any octets
		d, watcher := registered(r)
		payload := make([]byte, 256)
		for i := range payload {
			payload[i] = byte(i)
		}
		d.ask("__ 0C 20 {s/temp} 00 07 "+octets(payload), "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", string(payload), 1)
	}),
}

// anyOctetsInParts is P29 over a medium whose packets are too small for all 256 octets.
func anyOctetsInParts(r *rig) {
	const part = 64
	d, watcher := registered(r)
	d.subscribe("s/temp", 1)
	for first := 0; first < 256; first += part {
		payload := make([]byte, part)
		for i := range payload {
			payload[i] = byte(255 - first - i) // tshark takes nothing after a zero for text
		}
		d.tell("__ 0C 20 {s/temp} 00 07 " + octets(payload))
		d.expectAll("07 0D {s/temp} 00 07 00", fmt.Sprintf("__ 0C 20 {s/temp} {%d} %s", first, octets(payload)))
		d.tell(fmt.Sprintf("07 0D {s/temp} {%d} 00", first))
		watcher.expect("s/temp", string(payload), 1)
	}
}

var topicForms = table{
	"P12": both(func(r *rig) {
		watcher := r.watch("pre/#")
		d := r.client(cleanSession)
		d.ask("09 0C 21 00 0A 00 07 'hi'", "07 0D 00 0A 00 07 00")
		watcher.expect("pre/ten", "hi", 1)
		d.ask("09 0C 21 00 0C 00 08 'hi'", "07 0D 00 0C 00 08 00") // cli-1's own
		watcher.expect("pre/own", "hi", 1)
	}),
	"P13": both(func(r *rig) {
		d := r.client(cleanSession)
		d.ask("09 0C 21 00 63 00 07 'hi'", "07 0D 00 63 00 07 02")
		other := r.device("cli-2")
		other.connect(cleanSession, minute)
		other.ask("09 0C 21 00 0C 00 08 'hi'", "07 0D 00 0C 00 08 02") // cli-1's own
	}),
	"P14": both(func(r *rig) {
		watcher := r.watch("ab")
		r.client(cleanSession).ask("09 0C 22 'ab' 00 07 'hi'", "07 0D 'ab' 00 07 00")
		watcher.expect("ab", "hi", 1)
	}),
	"P28": both(func(r *rig) { // normal and predefined ids are two spaces (2.4)
		d := r.client(cleanSession)
		// Ids of names until one is no predefined one.
		for i := 0; d.vars["tid"] == 0 || predefined[d.vars["tid"]] != ""; i++ {
			delete(d.vars, "tid")
			d.ask(fmt.Sprintf("__ 0A 00 00 00 01 %s", octets(fmt.Sprintf("n/%d", i))), "07 0B {tid} 00 01 00")
		}
		d.ask("__ 0C 21 {tid} 00 07 'hi'", "07 0D {tid} 00 07 02")
		other := r.device("cli-2") // has no normal ids at all
		other.connect(cleanSession, minute)
		other.ask("09 0C 20 00 0A 00 07 'hi'", "07 0D 00 0A 00 07 02")
	}),
	"P30": both(func(r *rig) { // two octets, one character
		watcher := r.watch("é")
		r.client(cleanSession).ask("09 0C 22 C3 A9 00 07 'hi'", "07 0D C3 A9 00 07 00")
		watcher.expect("é", "hi", 1)
	}),
}

var repeatedPublishes = table{
	"P04": both(func(r *rig) { publishTwice(r, "A0") }),
	"P05": { // as P04, without DUP, which emcute never sets (A35)
		embedded: absent("the embedded broker answers within the step that publishes, so nothing comes before the ack; after it a MsgId without DUP is a new message (3.4)"),
		upstream: does(func(r *rig) { publishTwice(r, "20") }),
	},
	"P06": both(func(r *rig) {
		d, watcher := registered(r)
		for range 3 {
			d.ask("__ 0C 40 {s/temp} 00 08 'hi'", "04 0F 00 08")
		}
		d.ask("04 10 00 08", "04 0E 00 08")
		watcher.expect("s/temp", "hi", 2)
		watcher.nothing(moment)
	}),
	"P07": both(func(r *rig) {
		d, watcher := registered(r)
		d.ask("__ 0C 40 {s/temp} 00 08 'hi'", "04 0F 00 08")
		d.ask("04 10 00 08", "04 0E 00 08")
		d.ask("04 10 00 08", "04 0E 00 08")
		watcher.expect("s/temp", "hi", 2)
		watcher.nothing(moment)
	}),
	"P08": both(func(r *rig) { // PUBREL of an exchange that is over, or never was (A29)
		r.client(cleanSession).ask("04 10 12 34", "04 0E 12 34")
	}),
	"P25": both(func(r *rig) { // QoS 2 goes on after a reconnect (4.3)
		watcher := r.watch("s/#")
		d := r.client(keepSession)
		d.register("s/temp")
		d.ask("__ 0C 40 {s/temp} 00 08 'hi'", "04 0F 00 08")
		d.connect(keepSession, minute)
		d.ask("__ 0C C0 {s/temp} 00 08 'hi'", "04 0F 00 08")
		d.ask("04 10 00 08", "04 0E 00 08")
		watcher.expect("s/temp", "hi", 2)
		watcher.nothing(moment)
	}),
}

// publishTwice sends a QoS 1 message again before it is acknowledged: the broker gets
// one. Mosquitto is made to wait; the embedded broker cannot be.
func publishTwice(r *rig, againFlags string) {
	r.Helper()
	d, watcher := registered(r)
	if r.mosquitto != nil {
		r.mosquitto.freeze()
	}
	d.tell("__ 0C 20 {s/temp} 00 07 'hi'")
	d.tell("__ 0C " + againFlags + " {s/temp} 00 07 'hi'")
	if r.mosquitto != nil {
		d.silent(moment)
		r.mosquitto.thaw()
	}
	d.expect("07 0D {s/temp} 00 07 00")
	d.discard("07 0D {s/temp} 00 07 00")
	watcher.expect("s/temp", "hi", 1)
	watcher.nothing(moment)
}

var refusedPublishes = table{
	"P09": both(func(r *rig) { // an unknown id, even with QoS 0 [SN-5.4.13], and the link to the broker is well
		d, watcher := registered(r)
		d.ask("09 0C 00 7F FF 00 00 'hi'", "07 0D 7F FF 00 00 02")
		d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", "hi", 1)
	}),
	"P10": both(func(r *rig) {
		d := r.client(cleanSession)
		d.ask("09 0C 20 7F FF 00 07 'hi'", "07 0D 7F FF 00 07 02")
		d.ask("09 0C 40 7F FF 00 08 'hi'", "07 0D 7F FF 00 08 02")
	}),
	"P11": both(func(r *rig) { // the reserved ids (A46)
		d := r.client(cleanSession)
		for _, flags := range []string{"20", "21"} {
			d.ask("09 0C "+flags+" 00 00 00 07 'hi'", "07 0D 00 00 00 07 02")
			d.ask("09 0C "+flags+" FFFF 00 08 'hi'", "07 0D FFFF 00 08 02")
		}
	}),
	"P15": both(func(r *rig) { // wildcards as short names (A23)
		d := r.client(cleanSession)
		d.ask("09 0C 22 'a#' 00 07 'hi'", "07 0D 'a#' 00 07 03")
		d.ask("09 0C 22 '+b' 00 08 'hi'", "07 0D '+b' 00 08 03")
	}),
	"P16": both(func(r *rig) {
		d := r.client(cleanSession)
		d.ask("09 0C 22 61 00 00 07 'hi'", "07 0D 61 00 00 07 03")
		d.alive()
	}),
	"P17": both(func(r *rig) { // the reserved topic id type
		d := r.client(cleanSession)
		d.ask("09 0C 23 'ab' 00 07 'hi'", "07 0D 'ab' 00 07 03")
		d.ask("09 0C 43 'ab' 00 08 'hi'", "07 0D 'ab' 00 08 03")
	}),
	"P23": both(func(r *rig) {
		for _, flags := range []string{"00", "20", "40"} {
			r.device("stranger").ask("09 0C "+flags+" 00 05 00 00 'hi'", "02 18")
		}
	}),
	"P31": both(func(r *rig) { // two octets that are no UTF-8; the link to the broker lives
		watcher := r.watch("ab")
		d := r.client(cleanSession)
		d.ask("09 0C 22 C3 28 00 07 'hi'", "07 0D C3 28 00 07 03")
		d.ask("09 0C 22 'ab' 00 08 'hi'", "07 0D 'ab' 00 08 00")
		watcher.expect("ab", "hi", 1)
	}),
}

var brokerVerdicts = table{
	"P24": { // no PUBACK before the broker's [SN-4.1]
		embedded: absent("the embedded broker cannot stall: it takes a message within the step that acknowledges it"),
		upstream: does(func(r *rig) {
			d, watcher := registered(r)
			r.mosquitto.freeze()
			d.tell("__ 0C 20 {s/temp} 00 07 'hi'")
			d.silent(2 * moment)
			r.mosquitto.thaw()
			d.expect("07 0D {s/temp} 00 07 00")
			watcher.expect("s/temp", "hi", 1)
		}),
	},
	"P26": { // the broker refuses a QoS 1 message
		embedded: does(func(r *rig) { // too many levels: 0x90
			d, watcher := registered(r)
			d.register("s/1/2/3")
			d.ask("__ 0C 20 {s/1/2/3} 00 07 'hi'", "07 0D {s/1/2/3} 00 07 03")
			d.ask("__ 0C 20 {s/temp} 00 08 'hi'", "07 0D {s/temp} 00 08 00")
			watcher.expect("s/temp", "hi", 1)
		}, key("mqtt.max_topic_levels", "3")),
		upstream: does(func(r *rig) {
			d, watcher := registered(r)
			d.register("no/write")
			d.ask("__ 0C 20 {no/write} 00 07 'hi'", "07 0D {no/write} 00 07 03")
			d.ask("__ 0C 20 {s/temp} 00 08 'hi'", "07 0D {s/temp} 00 08 00")
			watcher.expect("s/temp", "hi", 1)
		}, denyWrites),
		scripted: does(func(r *rig) {
			d := r.client(cleanSession)
			d.register("s/temp")
			r.script.answers(0, 2, 0x87)
			d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 03")
			r.script.answers(0, 2, 0x10) // nobody listens: success
			d.ask("__ 0C 20 {s/temp} 00 08 'hi'", "07 0D {s/temp} 00 08 00")
		}),
	},
	"P27": { // the broker refuses a QoS 2 message: PUBACK is the only way to say so (A36)
		embedded: does(func(r *rig) { // no room for retained messages: 0x97
			d, watcher := registered(r)
			d.ask("__ 0C 50 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 01")
			d.ask("__ 0C 40 {s/temp} 00 07 'hi'", "04 0F 00 07")
			d.ask("04 10 00 07", "04 0E 00 07")
			watcher.expect("s/temp", "hi", 2)
		}, key("mqtt.max_retained_messages", "0")),
		upstream: does(func(r *rig) { // mosquitto has no quota to give 0x97; 0x87 closes the exchange as well
			d, _ := registered(r)
			d.register("no/write")
			d.ask("__ 0C 40 {no/write} 00 07 'hi'", "07 0D {no/write} 00 07 03")
			d.alive()
		}, denyWrites),
		scripted: does(func(r *rig) {
			d := r.client(cleanSession)
			d.register("s/temp")
			r.script.answers(0, 2, 0x97)
			d.ask("__ 0C 40 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 01")
			d.alive()
			r.script.answers(0, 2, 0)
			d.ask("__ 0C 40 {s/temp} 00 07 'hi'", "04 0F 00 07")
			d.ask("04 10 00 07", "04 0E 00 07")
		}),
	},
}
