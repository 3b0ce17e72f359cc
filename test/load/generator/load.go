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
	UpQoS1   Scenario = "up QoS 1"   // the same, at QoS 1 all the way
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

	outstanding int
	byAnswer    bool      // an answer makes room in the window, not an arrival
	progress    time.Time // of the last of either
	latency     histogram
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
	g.tally.byAnswer = s == Ping || s == UpQoS1
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
		for g.tally.outstanding < g.o.Window && g.ready.n > 0 {
			g.tally.sent++
			g.tally.outstanding++
			send(g.ready.pop())
		}
		if err := g.poll(10 * time.Millisecond); err != nil {
			return Result{}, fmt.Errorf("%s: %w", s, err)
		}
		if time.Since(check) > patience/4 {
			check = time.Now()
			g.giveUp()
		}
	}
	r := Result{Elapsed: time.Since(start), Messages: g.done(s)}
	after, err := g.usage()
	if err != nil {
		return Result{}, err
	}
	r.Server, r.Other = after.server-before.server, after.other()-before.other()
	for g.done(s) < g.tally.sent && time.Since(g.tally.progress) < patience {
		if err := g.poll(10 * time.Millisecond); err != nil {
			return Result{}, fmt.Errorf("%s: %w", s, err)
		}
	}
	r.Lost = max(g.tally.sent-g.done(s), 0)
	r.Duplicates, r.Refused = g.tally.duplicates, g.tally.refused
	r.P50, r.P99 = g.tally.latency.percentile(0.5), g.tally.latency.percentile(0.99)
	return r, nil
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
		if err := g.openMQTT("L/#", 1); err != nil {
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
func (g *Generator) done(s Scenario) int {
	if s == Ping || g.o.Bare {
		return g.tally.answered
	}
	return g.tally.arrived
}

func (g *Generator) ping(d *device) {
	d.waits, d.since = true, time.Now()
	g.send(d, &mqttsn.Pingreq{})
}

func (g *Generator) publishQoS0(d *device) {
	g.stamp(d)
	g.publish.QoS, g.publish.TopicID, g.publish.MsgID = mqttsn.QoS0, d.topicID, 0
	g.send(d, &g.publish)
	g.ready.push(d)
}

func (g *Generator) publishQoS1(d *device) {
	g.stamp(d)
	d.waits, d.since = true, time.Now()
	g.publish.QoS, g.publish.TopicID, g.publish.MsgID = mqttsn.QoS1, d.topicID, d.nextMsgID()
	g.send(d, &g.publish)
}

func (g *Generator) deliverQoS0(d *device) {
	g.stamp(d)
	g.mqtt.publish(d.topic, g.publish.Data, 0)
	g.ready.push(d)
}

func (g *Generator) deliverQoS1(d *device) {
	g.stamp(d)
	g.mqtt.publish(d.topic, g.publish.Data, 1)
	g.ready.push(d)
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
		g.tally.outstanding--
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
	if !g.tally.byAnswer {
		g.tally.outstanding = max(g.tally.outstanding-1, 0)
		g.tally.latency.add(g.tally.progress.Sub(epoch) - time.Duration(binary.BigEndian.Uint64(payload[8:])))
	}
}

// giveUp lets the window open again for what will not come any more.
func (g *Generator) giveUp() {
	if !g.tally.byAnswer && time.Since(g.tally.progress) > patience {
		g.tally.outstanding = 0
	}
	for _, d := range g.late() {
		d.waits = false
		g.ready.push(d)
		g.tally.outstanding--
	}
}
