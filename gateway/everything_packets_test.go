package gateway_test

import (
	"fmt"
	"time"

	"mqttsn-gateway/mqttsn"
)

var everythingTopics = []string{"t0", "t1", "long/topic/0", "long/topic/1", "s0"}

// begin begins to publish something.
func (g *gadget) begin() {
	w := g.world
	qos := byte(w.rand.IntN(3))
	g.sequence++
	if w.rand.IntN(8) == 0 { // the latest value of something
		topic := fmt.Sprintf("r%c", 'a'+g.number)
		if w.retained[topic] == nil {
			w.retained[topic] = &retaining{}
		}
		w.retained[topic].sent++
		n := w.retained[topic].sent
		g.pub = &publishing{value: n, topic: topic, payload: fmt.Sprint("retained ", n), qos: max(qos, 1), msgID: g.nextID()}
		g.publish()
		return
	}
	p := w.post(g.number, g.sequence, everythingTopics[w.rand.IntN(len(everythingTopics))], qos)
	g.pub = &publishing{posting: p, topic: p.topic, payload: p.payload, qos: qos, msgID: g.nextID()}
	g.publish()
}

// publish goes on with the message on its way.
func (g *gadget) publish() {
	w, m := g.world, g.pub
	id, form := shortID(m.topic), mqttsn.TopicShort
	if len(m.topic) > 2 {
		form = mqttsn.TopicNormal
		if id = g.ids[m.topic]; id == 0 {
			g.register(m.topic)
			return
		}
	}
	packet := func(again bool) []byte {
		if m.released {
			return mqttsn.Pubrel{MsgID: m.msgID}.Append(nil)
		}
		return mqttsn.Publish{DUP: again, QoS: mqttsn.QoS(m.qos), Retain: m.value > 0, TopicIDType: form, TopicID: id, MsgID: m.msgID, Data: []byte(m.payload)}.Append(nil)
	}
	if m.qos == 0 {
		w.transmit(g, packet(false))
		g.pub = nil
		g.idle()
		return
	}
	g.ask("publish", packet, func(p mqttsn.Packet) bool {
		switch p := p.(type) {
		case *mqttsn.Puback:
			if p.MsgID == m.msgID && !m.released {
				g.puback(p)
			}
		case *mqttsn.Pubrec:
			if p.MsgID != m.msgID || m.qos != 2 {
				return false
			}
			g.safe()
			if !m.released {
				m.released = true
				g.asks.tries = 0
			}
			w.transmit(g, packet(true))
		case *mqttsn.Pubcomp:
			if p.MsgID == m.msgID && m.released {
				g.pub = nil
				g.idle()
			}
		}
		return false
	})
}

func (g *gadget) puback(p *mqttsn.Puback) {
	w, m := g.world, g.pub
	switch p.ReturnCode {
	case mqttsn.Accepted:
		if m.qos == 1 {
			g.safe()
			g.pub = nil
			g.idle()
		}
	case mqttsn.Congestion:
		g.later(5*time.Second, g.act)
	case mqttsn.InvalidTopicID:
		if g.lasting || g.known {
			w.wrong(g.account, "device %d: the gateway has forgotten topic id %d of %q", g.number, g.ids[m.topic], m.topic)
		}
		delete(g.ids, m.topic)
		g.idle()
	default:
		w.Errorf("device %d: PUBACK %v", g.number, p.ReturnCode)
	}
}

// safe notes that the gateway has the message.
func (g *gadget) safe() {
	m := g.pub
	if m.value > 0 {
		g.world.retained[m.topic].acked = m.value
	} else {
		g.world.acked(m.posting)
	}
}

func (g *gadget) register(topic string) {
	id := g.nextID()
	g.ask("register", func(bool) []byte { return mqttsn.Register{MsgID: id, TopicName: []byte(topic)}.Append(nil) }, func(p mqttsn.Packet) bool {
		if p, ok := p.(*mqttsn.Regack); ok && p.MsgID == id {
			if p.ReturnCode != mqttsn.Accepted {
				g.world.Errorf("device %d: REGACK %v", g.number, p.ReturnCode)
			}
			g.ids[topic] = p.TopicID
			g.asks = nil
			g.act()
			return true
		}
		return false
	})
}

func (g *gadget) subscribe(filter string, qos byte) {
	id, w := g.nextID(), g.world
	p := mqttsn.Subscribe{QoS: mqttsn.QoS(qos), MsgID: id, TopicName: []byte(filter)}
	if len(filter) == 2 {
		p = mqttsn.Subscribe{QoS: p.QoS, MsgID: id, TopicIDType: mqttsn.TopicShort, TopicID: shortID(filter)}
	}
	g.ask("subscribe", func(again bool) []byte { p.DUP = again; return p.Append(nil) }, func(p mqttsn.Packet) bool {
		a, ok := p.(*mqttsn.Suback)
		if !ok || a.MsgID != id {
			return false
		}
		if a.ReturnCode != mqttsn.Accepted {
			w.Errorf("device %d: SUBACK %v", g.number, a.ReturnCode)
		}
		if _, ok := g.filters[filter]; !ok && !g.doubtful {
			g.filters[filter] = subscribed{qos, w.order}
			if shares(filter) && w.sharedSince == 0 {
				w.sharedSince = w.order
			}
		} else if g.doubtful {
			g.filters[filter] = subscribed{0, w.order} // nothing is owed for it
		}
		if a.TopicID != 0 {
			g.topics[a.TopicID] = filter
		}
		g.idle()
		return true
	})
}

func (g *gadget) unsubscribe(filter string) {
	id := g.nextID()
	delete(g.filters, filter)
	p := mqttsn.Unsubscribe{MsgID: id, TopicName: []byte(filter)}
	if len(filter) == 2 {
		p = mqttsn.Unsubscribe{MsgID: id, TopicIDType: mqttsn.TopicShort, TopicID: shortID(filter)}
	}
	g.ask("unsubscribe", func(bool) []byte { return p.Append(nil) }, func(p mqttsn.Packet) bool {
		if p, ok := p.(*mqttsn.Unsuback); ok && p.MsgID == id {
			g.idle()
			return true
		}
		return false
	})
}

// packet takes a packet of the gateway.
func (g *gadget) packet(data []byte) {
	var decoder mqttsn.Decoder
	p, err := decoder.Decode(data)
	if err != nil {
		g.world.Errorf("device %d: %x: %v", g.number, data, err)
		return
	}
	switch g.state {
	case offline, napping, dead, gone:
		return
	case connecting:
		if g.asks != nil {
			g.asks.answer(p)
		}
		return
	}
	switch p := p.(type) {
	case *mqttsn.Register:
		g.topics[p.TopicID] = string(p.TopicName)
		g.world.transmit(g, mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID}.Append(nil))
	case *mqttsn.Publish:
		g.published(p)
	case *mqttsn.Pubrel:
		delete(g.open, p.MsgID)
		g.world.transmit(g, mqttsn.Pubcomp{MsgID: p.MsgID}.Append(nil))
	case *mqttsn.Disconnect:
		if g.asks != nil && g.asks.what == "disconnect" {
			g.asks.answer(p)
		} else {
			g.connect() // the gateway does not know it, or is about to go
		}
	default:
		if g.asks != nil {
			g.asks.answer(p)
		}
	}
}

// published takes a message.
func (g *gadget) published(p *mqttsn.Publish) {
	w := g.world
	name := g.topics[p.TopicID]
	if p.TopicIDType == mqttsn.TopicShort {
		short := mqttsn.ShortTopicName(p.TopicID)
		name = string(short[:])
	}
	payload := string(p.Data)
	if name == "" { // SUBACK was lost
		w.transmit(g, mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: mqttsn.InvalidTopicID}.Append(nil))
		return
	}
	if m := w.postings[payload]; m != nil && m.topic != name {
		w.wrong(g.account, "device %d: message %s of %q comes with topic id %d, which is %q", g.number, payload, m.topic, p.TopicID, name)
	}
	if p.QoS == mqttsn.QoS2 && g.open[p.MsgID] {
		w.transmit(g, mqttsn.Pubrec{MsgID: p.MsgID}.Append(nil)) // it has that
		return
	}
	w.receives(g.account, payload, byte(p.QoS))
	switch p.QoS {
	case mqttsn.QoS1:
		w.transmit(g, mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}.Append(nil))
	case mqttsn.QoS2:
		g.open[p.MsgID] = true
		w.transmit(g, mqttsn.Pubrec{MsgID: p.MsgID}.Append(nil))
	}
}
