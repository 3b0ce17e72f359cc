package gateway_test

import (
	"encoding/binary"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// sleeper is a device that sleeps, as the specification has it, and the judge of what it
// gets. It knows nothing of crashes of the gateway.
type sleeper struct {
	world    *sleeping
	number   int
	clientID []byte
	addr     transports.Addr
	qos      byte
	state    sleeperState
	wake     int // counts
	left     int // packets until the radio is lost; negative: it holds
	ids      map[uint16]bool
	open     map[uint16]bool // QoS 2 messages that were not released yet
	owed     int             // messages that were sent to it and acknowledged
	due      int             // of these, before its last PINGREQ
	next     int             // the message that it gets next
}

type sleeperState byte

const (
	away sleeperState = iota // not connected yet
	joining
	asleep
	awake
)

// begin connects, subscribes and goes to sleep. What is lost on the way is begun anew.
func (d *sleeper) begin() {
	if d.state != away && d.state != joining {
		return
	}
	d.state, d.left = joining, -1
	d.ids, d.open = make(map[uint16]bool), make(map[uint16]bool)
	d.send(mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 3600, ClientID: d.clientID}.Append(nil))
	d.world.plan(time.Minute, d.begin)
}

// send sends a packet, unless the radio is lost.
func (d *sleeper) send(packet []byte) {
	if d.hears() {
		d.world.transmit(d, packet)
	}
}

// hears reports whether the radio holds for one more packet.
func (d *sleeper) hears() bool {
	if d.left > 0 {
		d.left--
	}
	return d.left != 0
}

// rouse wakes up, and loses the radio after a random number of packets every third time.
func (d *sleeper) rouse() {
	s := d.world
	s.wakes++
	d.wake++
	d.state, d.left, d.due = awake, -1, d.owed
	if s.rand.IntN(3) == 0 {
		d.left = 2 + s.rand.IntN(12) // PINGREQ gets through: the gateway hears from it in time
	}
	d.send(mqttsn.Pingreq{ClientID: d.clientID}.Append(nil))
	wake := d.wake
	s.plan(2*time.Minute, func() {
		if d.wake == wake && d.state == awake { // no PINGRESP: it gives up for now
			s.cut++
			if d.left < 0 && !d.disturbed() {
				s.Errorf("device %d: no PINGRESP at %v", d.number, time.Since(s.start))
			}
			d.sleep()
		}
	})
}

// disturbed reports whether the gateway may have crashed in this wake.
func (d *sleeper) disturbed() bool { return time.Since(d.world.launched) < 3*time.Minute }

func (d *sleeper) sleep() {
	d.state = asleep
	d.world.plan(d.world.nap(), d.rouse)
}

// packet takes a packet of the gateway.
func (d *sleeper) packet(data []byte) {
	s := d.world
	var decoder mqttsn.Decoder
	p, err := decoder.Decode(data)
	if err != nil {
		s.Errorf("device %d: %x: %v", d.number, data, err)
		return
	}
	if !d.hears() {
		return
	}
	switch d.state {
	case joining:
		d.join(p)
	case asleep:
		s.Errorf("device %d sleeps and gets %T at %v", d.number, p, time.Since(s.start))
	case awake:
		d.collect(p)
	}
}

func (d *sleeper) join(p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Connack:
		d.send(mqttsn.Subscribe{QoS: mqttsn.QoS(d.qos), MsgID: 1, TopicName: d.filter()}.Append(nil))
	case *mqttsn.Suback:
		if p.ReturnCode != mqttsn.Accepted {
			d.world.Errorf("device %d: SUBACK %v", d.number, p.ReturnCode)
		}
		d.send(mqttsn.Disconnect{HasDuration: true, Duration: uint16(longestNap / time.Second)}.Append(nil))
	case *mqttsn.Disconnect:
		d.world.write(d)
		d.sleep()
	}
}

func (d *sleeper) filter() []byte {
	return append(append([]byte("to/"), d.clientID[len("sleeper-"):]...), "/+"...)
}

// collect takes a packet while awake.
func (d *sleeper) collect(p mqttsn.Packet) {
	s := d.world
	switch p := p.(type) {
	case *mqttsn.Register:
		d.ids[p.TopicID] = true
		d.send(mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID}.Append(nil))
	case *mqttsn.Publish:
		d.publish(p)
	case *mqttsn.Pubrel:
		delete(d.open, p.MsgID)
		d.send(mqttsn.Pubcomp{MsgID: p.MsgID}.Append(nil))
	case *mqttsn.Pingresp:
		if d.next < d.due {
			s.Errorf("device %d: PINGRESP at %v, before message %d of %d", d.number, time.Since(s.start), d.next, d.due)
		}
		d.sleep()
	default:
		s.Errorf("device %d is awake and gets %T", d.number, p)
	}
}

// publish takes a message.
func (d *sleeper) publish(p *mqttsn.Publish) {
	s := d.world
	if !d.ids[p.TopicID] {
		s.Errorf("device %d: a message for topic id %d, which it does not know", d.number, p.TopicID)
	}
	if byte(p.QoS) != d.qos {
		s.Errorf("device %d: QoS %d", d.number, p.QoS)
	}
	if p.QoS == mqttsn.QoS2 && d.open[p.MsgID] {
		d.send(mqttsn.Pubrec{MsgID: p.MsgID}.Append(nil)) // it has that
		return
	}
	number := int(binary.BigEndian.Uint32(p.Data))
	switch {
	case number == d.next:
		d.next++
		s.delivered++
	case number < d.next && p.QoS == mqttsn.QoS1:
		s.repeated++
	default:
		s.Errorf("device %d: message %d instead of %d, QoS %d at %v", d.number, number, d.next, p.QoS, time.Since(s.start))
	}
	if p.QoS == mqttsn.QoS1 {
		d.send(mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}.Append(nil))
		return
	}
	d.open[p.MsgID] = true
	d.send(mqttsn.Pubrec{MsgID: p.MsgID}.Append(nil))
}
