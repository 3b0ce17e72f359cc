//go:build linux

package generator

import (
	"encoding/binary"
	"fmt"
	"time"

	"mqttsn-gateway/mqttsn"
)

// Scenario is what the clients do.
type Scenario string

// The scenarios.
const (
	Ping     Scenario = "ping"       // PINGREQ and PINGRESP
	UpQoS0   Scenario = "up QoS 0"   // clients publish, the MQTT client is subscribed to all
	UpQoS1   Scenario = "up QoS 1"   // the same at QoS 1, one message per client at a time
	DownQoS0 Scenario = "down QoS 0" // the MQTT client publishes to one client after another
	DownQoS1 Scenario = "down QoS 1" // the same, at QoS 1 all the way
)

// Scenarios are all of them.
var Scenarios = []Scenario{Ping, UpQoS0, UpQoS1, DownQoS0, DownQoS1}

// Result is what one run measured.
type Result struct {
	Messages   int           // that arrived while the clock ran, or pings answered
	Elapsed    time.Duration // on that clock
	Lost       int           // that had not arrived a second after the last one did
	Duplicates int           // that arrived again
	Refused    int           // PUBACKs that were no acceptance
	// P50 and P99 of the latency: request to answer for Ping and UpQoS1, else end to end.
	P50, P99 time.Duration
	// Server is the CPU time of the gateway while the clock ran, Other that of all
	// processes but gateway, broker and generator: much of it spoils a run.
	Server, Other time.Duration
}

// tally is what a run counts.
type tally struct {
	sent, arrived, answered, duplicates, refused int

	// The window bounds both: requests that wait for an answer, and messages that have
	// not arrived. A scenario may have one or the other.
	waiting, travelling int

	answers  bool      // the scenario has requests: their time is its latency
	arrivals bool      // the scenario has messages that arrive
	progress time.Time // of the last answer or arrival
	latency  histogram
}

// epoch is what the times in payloads are counted from.
var epoch = time.Now()

// Run puts the load of a scenario on the gateway for that long.
func (g *Generator) Run(s Scenario, length time.Duration) (Result, error) {
	if err := g.prepare(s); err != nil {
		return Result{}, fmt.Errorf("%s: %w", s, err)
	}
	defer g.closeMQTT()
	g.reset()
	g.tally.answers = s == Ping || s == UpQoS1
	g.tally.arrivals = s != Ping && !g.o.Bare
	send := map[Scenario]func(*device){
		Ping: g.ping, UpQoS0: g.publishQoS0, UpQoS1: g.publishQoS1, DownQoS0: g.deliverQoS0, DownQoS1: g.deliverQoS1,
	}[s]
	g.onPacket = g.settle
	before, err := g.usage()
	if err != nil {
		return Result{}, err
	}
	start := time.Now()
	g.tally.progress = start
	for check := start; time.Since(start) < length; {
		for g.tally.waiting < g.o.Window && g.tally.travelling < g.o.Window && g.ready.n > 0 {
			g.start(send)
		}
		if err := g.poll(10 * time.Millisecond); err != nil {
			return Result{}, fmt.Errorf("%s: %w", s, err)
		}
		if time.Since(check) > g.patience/4 {
			check = time.Now()
			g.giveUp()
		}
	}
	r := Result{Elapsed: time.Since(start), Messages: g.done()}
	after, err := g.usage()
	if err != nil {
		return Result{}, err
	}
	r.Server, r.Other = after.server-before.server, after.other()-before.other()
	for g.done() < g.tally.sent && time.Since(g.tally.progress) < g.patience {
		if err := g.poll(10 * time.Millisecond); err != nil {
			return Result{}, fmt.Errorf("%s: %w", s, err)
		}
	}
	r.Lost = max(g.tally.sent-g.done(), 0)
	r.Duplicates, r.Refused = g.tally.duplicates, g.tally.refused
	r.P50, r.P99 = g.tally.latency.percentile(0.5), g.tally.latency.percentile(0.99)
	return r, nil
}

// start gives the next device, or the MQTT client on its behalf, something to do.
func (g *Generator) start(send func(*device)) {
	d := g.ready.pop()
	g.tally.sent++
	if g.tally.arrivals {
		g.tally.travelling++
	}
	if g.tally.answers {
		d.waits, d.since = true, time.Now()
		g.tally.waiting++
	} else {
		g.ready.push(d)
	}
	send(d)
}

// prepare registers, subscribes and connects over MQTT what the scenario needs.
func (g *Generator) prepare(s Scenario) error {
	if g.o.Bare {
		return nil
	}
	switch s {
	case UpQoS0:
		if err := g.openMQTT("L/#", 0); err != nil {
			return err
		}
		return g.register()
	case UpQoS1:
		if err := g.openMQTT("L/#", g.o.SubscriberQoS); err != nil {
			return err
		}
		return g.register()
	case DownQoS0, DownQoS1:
		qos := mqttsn.QoS0
		if s == DownQoS1 {
			qos = mqttsn.QoS1
		}
		if err := g.subscribe(qos); err != nil {
			return err
		}
		return g.openMQTT("", 0)
	}
	return nil
}

func (g *Generator) reset() {
	g.tally = tally{}
	g.ready.head, g.ready.n = 0, 0
	for _, d := range g.devices {
		d.waits, d.got = false, d.sent
		g.ready.push(d)
	}
}

// done is how many messages or pings have come to their end.
func (g *Generator) done() int {
	if g.tally.arrivals {
		return g.tally.arrived
	}
	return g.tally.answered
}

func (g *Generator) ping(d *device) {
	g.send(d, &mqttsn.Pingreq{})
}

func (g *Generator) publishQoS0(d *device) {
	g.stamp(d)
	g.publish.QoS, g.publish.TopicID, g.publish.MsgID = mqttsn.QoS0, d.topicID, 0
	g.send(d, &g.publish)
}

func (g *Generator) publishQoS1(d *device) {
	g.stamp(d)
	g.publish.QoS, g.publish.TopicID, g.publish.MsgID = mqttsn.QoS1, d.topicID, d.nextMsgID()
	g.send(d, &g.publish)
}

func (g *Generator) deliverQoS0(d *device) {
	g.stamp(d)
	g.mqtt.publish(d.topic, g.publish.Data, 0)
}

func (g *Generator) deliverQoS1(d *device) {
	g.stamp(d)
	g.mqtt.publish(d.topic, g.publish.Data, 1)
}

// stamp writes into the payload whose message it is, its number and the time.
func (g *Generator) stamp(d *device) {
	d.sent++
	binary.BigEndian.PutUint32(g.publish.Data, uint32(d.index))
	binary.BigEndian.PutUint32(g.publish.Data[4:], d.sent)
	binary.BigEndian.PutUint64(g.publish.Data[8:], uint64(time.Since(epoch)))
}

// settle takes the answer that a device waits for.
func (g *Generator) settle(d *device, p mqttsn.Packet) bool {
	switch p := p.(type) {
	case *mqttsn.Pingresp:
	case *mqttsn.Puback:
		if p.ReturnCode != mqttsn.Accepted {
			g.tally.refused++
		}
		if p.MsgID != d.msgID {
			return true // late
		}
	default:
		return false
	}
	if d.waits {
		now := time.Now()
		d.waits = false
		g.ready.push(d)
		g.tally.answered++
		g.tally.waiting--
		g.tally.progress = now
		g.tally.latency.add(now.Sub(d.since))
	}
	return true
}

// arrive takes a message at the other end, the MQTT client's or a device's.
func (g *Generator) arrive(payload []byte) {
	if len(payload) < 16 {
		return
	}
	index, number := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])
	if int(index) >= len(g.devices) {
		return
	}
	d := g.devices[index]
	if number <= d.got {
		g.tally.duplicates++
		return
	}
	d.got = number
	g.tally.arrived++
	g.tally.progress = time.Now()
	g.tally.travelling = max(g.tally.travelling-1, 0)
	if !g.tally.answers {
		g.tally.latency.add(g.tally.progress.Sub(epoch) - time.Duration(binary.BigEndian.Uint64(payload[8:])))
	}
}

// giveUp lets the window open again for what will not come any more.
func (g *Generator) giveUp() {
	if time.Since(g.tally.progress) > g.patience {
		g.tally.travelling = 0
	}
	for _, d := range g.late() {
		d.waits = false
		g.ready.push(d)
		g.tally.waiting--
	}
}
