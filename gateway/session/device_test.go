package session

import (
	"bytes"
	"strconv"
	"time"

	"mqttsn-gateway/mqttsn"
)

// device is a client that keeps the rules: it works off its tasks one by one, repeats
// what is not answered, connects again when it is told to or gets no answer, and does
// not listen while it sleeps. It knows QoS 2 messages that come twice even if the network
// brings one very late.
type device struct {
	w      *world
	on     bool // connected, as far as it knows
	asleep bool
	clean  bool
	will   bool
	tasks  []mqttsn.Packet
	task   mqttsn.Packet // waits for its answer
	tries  int
	serial int // counts tasks, for timers
	msgID  uint16

	topics map[uint16]string
	got    map[string]int
	order  []string             // QoS 1 and 2 payloads, as they were seen first
	open   map[uint16]string    // QoS 2 messages that wait for PUBREL
	done   map[string]bool      // those that are over, with their MsgId
	sent   map[string]time.Time // payloads, when they were last sent
	acked  []string             // payloads that the gateway acknowledged
	pings  int                  // PINGRESPs
	boot   int                  // counts restarts: they take longer than datagrams live
	strict bool                 // forgets a QoS 2 message with PUBREL, as the specification has it
}

const (
	deviceRetry = 1500 * time.Millisecond
	deviceTries = 5
	deviceAlive = 60
)

func (d *device) send(p mqttsn.Packet) {
	d.w.note("device %s", describe(p))
	d.w.transmit(p.Append(nil), d.boot, d.w.arrive)
}

func describe(p mqttsn.Packet) string {
	if p, ok := p.(*mqttsn.Publish); ok {
		return formatPacket(p)
	}
	return p.Type().String()
}

// add appends tasks, and begins if there is nothing to do.
func (d *device) add(ps ...mqttsn.Packet) {
	d.tasks = append(d.tasks, ps...)
	if d.task == nil {
		d.next()
	}
}

func (d *device) idle() bool { return d.task == nil && len(d.tasks) == 0 }

// next begins the next task.
func (d *device) next() {
	d.task = nil
	if len(d.tasks) == 0 {
		return
	}
	d.task, d.tasks = d.tasks[0], d.tasks[1:]
	d.tries = 0
	if _, connects := d.task.(*mqttsn.Connect); !connects && !d.on {
		d.reconnect()
		return
	}
	d.msgID++
	if d.msgID == 0 {
		d.msgID = 1
	}
	switch p := d.task.(type) {
	case *mqttsn.Publish:
		if p.MsgID == 0 && p.QoS > 0 {
			p.MsgID = d.msgID
		}
		if p.QoS == 0 {
			d.send(p)
			d.next()
			return
		}
	case *mqttsn.Subscribe:
		p.MsgID = d.msgID
	case *mqttsn.Register:
		p.MsgID = d.msgID
	}
	d.attempt()
}

// attempt sends the task in hand and sets the timer for its repetition.
func (d *device) attempt() {
	if d.task == nil {
		return
	}
	if d.tries++; d.tries > deviceTries {
		d.reconnect()
		return
	}
	if p, ok := d.task.(*mqttsn.Publish); ok && d.tries > 1 {
		p.DUP = true
	}
	if p, ok := d.task.(*mqttsn.Publish); ok {
		d.sent[string(p.Data)] = d.w.now
	}
	d.send(d.task)
	d.serial++
	serial := d.serial
	d.w.after(deviceRetry, func() {
		if d.serial == serial {
			d.attempt()
		}
	})
}

// reconnect puts a CONNECT before the task in hand.
func (d *device) reconnect() {
	d.on, d.asleep = false, false
	if _, connects := d.task.(*mqttsn.Connect); !connects && d.task != nil {
		if !d.isWill() {
			d.tasks = append([]mqttsn.Packet{d.task}, d.tasks...)
		}
	}
	d.task = &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: deviceAlive, ClientID: []byte("dev"), CleanSession: d.clean, Will: d.will}
	d.tries = 0
	d.attempt()
}

// finish ends the task in hand if ok.
func (d *device) finish(ok bool) {
	if ok {
		d.serial++
		d.next()
	}
}

// become goes on with another packet of the same procedure.
func (d *device) become(p mqttsn.Packet) {
	d.task, d.tries = p, 0
	d.attempt()
}

// restart is a device that forgets everything and wants a new session.
func (d *device) restart() {
	d.w.note("device restarts")
	d.boot++
	d.tasks, d.task = nil, nil
	clear(d.topics)
	clear(d.open)
	clear(d.done)
	d.msgID = 0
	d.clean = true
	d.reconnect()
}

func (d *device) arrive(b []byte) {
	p, err := mqttsn.Decode(b)
	if err != nil || d.asleep && d.task == nil {
		return // the radio is off
	}
	switch p := p.(type) {
	case *mqttsn.Connack:
		if _, ok := d.task.(*mqttsn.Connect); ok || d.isWill() {
			d.on, d.asleep, d.clean = true, false, false
			d.finish(true)
		}
	case *mqttsn.WillTopicReq:
		if _, ok := d.task.(*mqttsn.Connect); ok {
			d.become(&mqttsn.WillTopic{QoS: 1, Topic: []byte("w/dead")})
		}
	case *mqttsn.WillMsgReq:
		if _, ok := d.task.(*mqttsn.WillTopic); ok {
			d.become(&mqttsn.WillMsg{Message: []byte("dead")})
		}
	case *mqttsn.Disconnect:
		d.disconnected()
	case *mqttsn.Pingresp:
		if _, ok := d.task.(*mqttsn.Pingreq); ok {
			d.pings++
			d.finish(true)
		}
	case *mqttsn.Register:
		if d.on {
			d.topics[p.TopicID] = string(p.TopicName)
			d.send(&mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID})
		}
	case *mqttsn.Publish:
		if d.on {
			d.published(p)
		}
	case *mqttsn.Pubrel:
		if payload, ok := d.open[p.MsgID]; ok {
			delete(d.open, p.MsgID)
			d.done[key(p.MsgID, payload)] = !d.strict
		}
		d.send(&mqttsn.Pubcomp{MsgID: p.MsgID})
	default:
		d.answered(p)
	}
}

func (d *device) isWill() bool {
	switch d.task.(type) {
	case *mqttsn.WillTopic, *mqttsn.WillMsg:
		return true
	}
	return false
}

func (d *device) disconnected() {
	if p, ok := d.task.(*mqttsn.Disconnect); ok {
		d.asleep = p.HasDuration
		d.on = p.HasDuration
		d.finish(true)
		return
	}
	d.w.note("device is told to connect")
	if d.isWill() {
		d.task = nil
	}
	if _, connecting := d.task.(*mqttsn.Connect); !connecting {
		d.reconnect()
	}
}

// answered takes the answer to the task in hand.
func (d *device) answered(p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Puback:
		t, ok := d.task.(*mqttsn.Publish)
		if ok && t.MsgID == p.MsgID && t.QoS == 1 && p.ReturnCode == mqttsn.Accepted {
			d.acked = append(d.acked, string(t.Data))
			d.check(t)
			d.finish(true)
		}
	case *mqttsn.Pubrec:
		if t, ok := d.task.(*mqttsn.Publish); ok && t.MsgID == p.MsgID && t.QoS == 2 {
			d.acked = append(d.acked, string(t.Data))
			d.check(t)
			d.become(&mqttsn.Pubrel{MsgID: p.MsgID})
		}
	case *mqttsn.Pubcomp:
		t, ok := d.task.(*mqttsn.Pubrel)
		d.finish(ok && t.MsgID == p.MsgID)
	case *mqttsn.Suback:
		if t, ok := d.task.(*mqttsn.Subscribe); ok && t.MsgID == p.MsgID {
			if p.TopicID != 0 {
				d.topics[p.TopicID] = string(t.TopicName)
			}
			d.finish(true)
		}
	case *mqttsn.Regack:
		if t, ok := d.task.(*mqttsn.Register); ok && t.MsgID == p.MsgID {
			d.topics[p.TopicID] = string(t.TopicName)
			d.finish(true)
		}
	}
}

// check holds the gateway to its promise: what it acknowledges is safe with the broker.
func (d *device) check(p *mqttsn.Publish) {
	if d.w.broker.got[string(p.Data)] == 0 {
		d.w.failf("%q is acknowledged, and the broker does not have it", p.Data)
	}
}

// published takes a message.
func (d *device) published(p *mqttsn.Publish) {
	payload := string(p.Data)
	if p.TopicIDType == mqttsn.TopicNormal && d.topics[p.TopicID] == "" {
		d.send(&mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: mqttsn.InvalidTopicID})
		return
	}
	if p.TopicIDType == mqttsn.TopicNormal && !bytes.HasPrefix(p.Data, []byte(d.topics[p.TopicID]+" ")) {
		d.w.failf("topic id %d is %q to the device, and %q came with it", p.TopicID, d.topics[p.TopicID], p.Data)
	}
	first := d.got[payload] == 0
	switch p.QoS {
	case mqttsn.QoS0:
		d.got[payload]++
		return
	case mqttsn.QoS1:
		d.got[payload]++
		d.send(&mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID})
	case mqttsn.QoS2:
		d.send(&mqttsn.Pubrec{MsgID: p.MsgID})
		if old, ok := d.open[p.MsgID]; ok && old != payload {
			d.w.failf("%q comes with MsgId %d, which stands for %q until PUBREL", payload, p.MsgID, old)
		}
		if d.open[p.MsgID] == payload || d.done[key(p.MsgID, payload)] {
			return
		}
		d.open[p.MsgID] = payload
		d.got[payload]++
		if d.got[payload] > 1 {
			d.w.failf("QoS 2 message %q came twice, now with MsgId %d", payload, p.MsgID)
		}
	}
	if first {
		d.order = append(d.order, payload)
	}
}

func key(msgID uint16, payload string) string { return strconv.Itoa(int(msgID)) + " " + payload }
