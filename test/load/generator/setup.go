//go:build linux

package generator

import (
	"fmt"
	"time"

	"mqttsn-gateway/mqttsn"
)

// tries is how often the preparations repeat requests that are not answered.
const tries = 10

// Connect connects all clients, with a keep alive beyond any run.
func (g *Generator) Connect() error {
	return g.all("CONNECT", func(d *device) mqttsn.Packet {
		return &mqttsn.Connect{CleanSession: !g.o.Lasting, ProtocolID: mqttsn.ProtocolID, Duration: 3600, ClientID: []byte("load-" + d.topic[2:])}
	})
}

// register gives each client the id of its topic, to publish to.
func (g *Generator) register() error {
	return g.all("REGISTER", func(d *device) mqttsn.Packet {
		return &mqttsn.Register{MsgID: d.nextMsgID(), TopicName: []byte(d.topic)}
	})
}

// subscribe subscribes each client to its topic.
func (g *Generator) subscribe(qos mqttsn.QoS) error {
	return g.all("SUBSCRIBE", func(d *device) mqttsn.Packet {
		return &mqttsn.Subscribe{QoS: qos, MsgID: d.nextMsgID(), TopicName: []byte(d.topic)}
	})
}

// disconnect disconnects all clients and waits for the answers, lest they come to the next
// socket with the same port.
func (g *Generator) disconnect() {
	answered, progress := 0, time.Now()
	g.closing = true
	g.onPacket = func(_ *device, p mqttsn.Packet) bool {
		if p.Type() != mqttsn.TypeDisconnect {
			return false
		}
		answered++
		progress = time.Now()
		return true
	}
	for _, d := range g.devices {
		g.send(d, &mqttsn.Disconnect{})
		_ = g.poll(0)
	}
	for answered < len(g.devices) && time.Since(progress) < g.patience {
		if g.poll(10*time.Millisecond) != nil {
			return
		}
	}
}

// accept takes the answer to a request of the preparations; ok is false for others.
func (d *device) accept(p mqttsn.Packet) (code mqttsn.ReturnCode, ok bool) {
	switch p := p.(type) {
	case *mqttsn.Connack:
		return p.ReturnCode, true
	case *mqttsn.Regack:
		d.topicID = p.TopicID
		return p.ReturnCode, true
	case *mqttsn.Suback:
		return p.ReturnCode, true
	default:
		return 0, false
	}
}

// all has every client make one request and waits for the answers, Window at a time.
func (g *Generator) all(what string, request func(*device) mqttsn.Packet) error {
	next, waiting := 0, 0
	var refused error
	g.onPacket = func(d *device, p mqttsn.Packet) bool {
		code, ok := d.accept(p)
		if ok && d.waits {
			d.waits = false
			waiting--
		}
		if ok && code != mqttsn.Accepted {
			refused = fmt.Errorf("%s of %s is refused: %v", what, d.topic, code)
		}
		return ok
	}
	ask := func(d *device) {
		d.since = time.Now()
		g.send(d, request(d))
	}
	for left := tries; next < len(g.devices) || waiting > 0; {
		for ; waiting < g.o.Window && next < len(g.devices); next++ {
			g.devices[next].waits = true
			waiting++
			ask(g.devices[next])
		}
		if err := g.poll(g.patience / 10); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if refused != nil {
			return refused
		}
		late := g.late()
		if len(late) == 0 {
			continue
		}
		if left--; left == 0 {
			return fmt.Errorf("%s: %d clients are not answered", what, waiting+len(g.devices)-next)
		}
		for _, d := range late {
			ask(d)
		}
	}
	return nil
}

// late are the devices that have waited for too long.
func (g *Generator) late() (late []*device) {
	now := time.Now()
	for _, d := range g.devices {
		if d.waits && now.Sub(d.since) > g.patience {
			late = append(late, d)
		}
	}
	return late
}
