package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
)

// The usual procedures of a device, for tests that are about something else.

// The flags of CONNECT [SN-5.3.4].
const (
	keepSession  = 0x00
	cleanSession = 0x04
	withWill     = 0x08
)

// connectFrame is CONNECT with the device's id; the keep alive is in seconds.
func (d *device) connectFrame(flags byte, keepAlive int) string {
	return fmt.Sprintf("__ 04 %02X 01 %04X %s", flags, keepAlive, octets(d.id))
}

// Keep alives and sleep durations in seconds: minute plays no part in a test, brief is
// what the reference's 10 s are here.
const (
	minute = 60
	brief  = 3
)

// connect connects, with the stored will if any. A clean session forgets topic ids.
func (d *device) connect(flags byte, keepAlive int) {
	d.t.Helper()
	if flags&cleanSession != 0 {
		clear(d.vars)
		clear(d.names)
	}
	d.ask(d.connectFrame(flags, keepAlive), "03 05 00")
}

// will is what a device leaves behind: WILLTOPIC and WILLMSG without type and Length.
type will struct{ topic, message string }

// lastWill is the will of the reference's examples: QoS 1, retain.
var lastWill = will{"30 'w/dead1'", "'bye!'"}

// connectWithWill connects with the Will flag and answers the prompts.
func (d *device) connectWithWill(flags byte, keepAlive int, w will) {
	d.t.Helper()
	d.ask(d.connectFrame(flags|withWill, keepAlive), "02 06")
	d.ask("__ 07 "+w.topic, "02 08")
	d.ask("__ 09 "+w.message, "03 05 00")
}

func (d *device) disconnect() {
	d.t.Helper()
	d.ask("02 18", "02 18")
}

// sleep announces a sleep of so many seconds.
func (d *device) sleep(seconds int) {
	d.t.Helper()
	d.ask(fmt.Sprintf("04 18 %04X", seconds), "02 18")
}

// wakeFrame is the PINGREQ of a sleeper.
func (d *device) wakeFrame() string { return "__ 16 " + octets(d.id) }

// register gets the topic id of a name; {name} stands for it from then on.
func (d *device) register(name string) {
	d.t.Helper()
	delete(d.vars, name)
	d.ask("__ 0A 00 00 01 01 "+octets(name), "07 0B {"+name+"} 01 01 00")
	d.names[d.vars[name]] = name
}

// subscribe subscribes to a plain name; {name} stands for its topic id from then on.
func (d *device) subscribe(name string, qos int) {
	d.t.Helper()
	delete(d.vars, name)
	flags := qos << 5
	d.ask(fmt.Sprintf("__ 12 %02X 01 02 %s", flags, octets(name)), fmt.Sprintf("08 13 %02X {%s} 01 02 00", flags, name))
	d.names[d.vars[name]] = name
}

// subscribeAll subscribes to a filter with wildcards.
func (d *device) subscribeAll(filter string, qos int) {
	d.t.Helper()
	flags := qos << 5
	d.ask(fmt.Sprintf("__ 12 %02X 01 03 %s", flags, octets(filter)), fmt.Sprintf("08 13 %02X 00 00 01 03 00", flags))
}

// predefined are the names that newPlan gives to topic ids.
var predefined = map[uint16]string{10: "pre/ten", 11: "pre/eleven", 12: "pre/own"}

// delivery is a PUBLISH from the gateway.
type delivery struct {
	flags          byte
	topic, payload string
	topicID, msgID uint16
}

// isCopyOf reports whether p repeats a QoS 1 delivery.
func (p delivery) isCopyOf(earlier delivery) bool {
	earlier.flags |= 0x80
	return p.qos() == 1 && p == earlier
}

func (p delivery) qos() int { return int(p.flags >> 5 & 3) }

// take is the next delivery. A REGISTER before it is accepted; the PUBLISH is not
// acknowledged.
func (d *device) take() delivery {
	d.t.Helper()
	for {
		b := d.read(patience)
		if b == nil {
			d.t.Fatalf("%s: nothing came, want a PUBLISH", d.id)
		}
		m, _ := body(b)
		switch m[0] {
		case 0x0A:
			d.accept(m)
		case 0x0C:
			return d.delivery(m)
		default:
			d.t.Fatalf("%s got %s, want REGISTER or PUBLISH", d.id, shown(b))
		}
	}
}

// accept answers a REGISTER.
func (d *device) accept(m []byte) {
	d.t.Helper()
	name := string(m[5:])
	id := binary.BigEndian.Uint16(m[1:])
	d.names[id], d.vars[name] = name, id
	d.tell(fmt.Sprintf("07 0B %s 00", octets(m[1:5])))
}

func (d *device) delivery(m []byte) delivery {
	d.t.Helper()
	p := delivery{flags: m[1], topicID: binary.BigEndian.Uint16(m[2:]), msgID: binary.BigEndian.Uint16(m[4:]), payload: string(m[6:])}
	switch p.flags & 3 {
	case 0:
		p.topic = d.names[p.topicID]
	case 1:
		p.topic = predefined[p.topicID]
	case 2:
		p.topic = string(m[2:4])
	}
	if p.topic == "" {
		d.t.Fatalf("%s got a PUBLISH with topic id %04X, which nobody has told it", d.id, p.topicID)
	}
	return p
}

// acknowledge ends the exchange of a delivery as its QoS demands.
func (d *device) acknowledge(p delivery) {
	d.t.Helper()
	switch p.qos() {
	case 1:
		d.tell(fmt.Sprintf("07 0D %04X %04X 00", p.topicID, p.msgID))
	case 2:
		d.ask(fmt.Sprintf("04 0F %04X", p.msgID), fmt.Sprintf("04 10 %04X", p.msgID))
		d.tell(fmt.Sprintf("04 0E %04X", p.msgID))
	}
}

// receive takes and acknowledges the next delivery, which has to be the one described.
func (d *device) receive(topic, payload string, qos int) delivery {
	d.t.Helper()
	p := d.take()
	for p.isCopyOf(d.received) { // it left before the acknowledgement arrived
		p = d.take()
	}
	if p.topic != topic || p.payload != payload || p.qos() != qos {
		d.t.Fatalf("%s got %s=%q QoS %d, want %s=%q QoS %d", d.id, p.topic, p.payload, p.qos(), topic, payload, qos)
	}
	d.acknowledge(p)
	d.received = p
	return p
}

// twin is the same client at another address.
func (d *device) twin() *device {
	d.t.Helper()
	other := newDeviceOn(d.t, d.dial, d.id)
	maps.Copy(other.vars, d.vars)
	maps.Copy(other.names, d.names)
	return other
}
