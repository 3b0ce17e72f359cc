package faults

import (
	"time"

	"mqttsn-gateway/mqttsn"
)

// hear takes one packet of the gateway's.
func (d *device) hear(p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Connack:
		if d.connected {
			return
		}
		if p.ReturnCode != mqttsn.Accepted {
			d.refused(p.ReturnCode)
			return
		}
		d.connected = true
		d.figures.connects++
		d.progress()
	case *mqttsn.Disconnect:
		if d.connected {
			d.figures.disconnects++
			d.lose()
		}
	case *mqttsn.Suback:
		if d.connected && d.control == p.MsgID && d.subscribed < len(d.filters) {
			d.hearSuback(p)
		}
	case *mqttsn.Regack:
		if f := d.flight; d.control == p.MsgID && f != nil && d.subscribed == len(d.filters) {
			if p.ReturnCode != mqttsn.Accepted {
				d.refused(p.ReturnCode)
				return
			}
			d.ids[f.topic] = p.TopicID
			d.progress()
		}
	case *mqttsn.Register:
		d.names[p.TopicID] = string(p.TopicName)
		d.send(&mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID})
	case *mqttsn.Pingresp:
		if d.flight == nil {
			d.tries = 0
		}
	case *mqttsn.Pingreq:
		d.send(&mqttsn.Pingresp{})
	case *mqttsn.Puback, *mqttsn.Pubrec, *mqttsn.Pubcomp:
		d.hearAnswer(p)
	case *mqttsn.Publish:
		d.hearPublish(p)
	case *mqttsn.Pubrel:
		delete(d.unreleased, p.MsgID)
		d.send(&mqttsn.Pubcomp{MsgID: p.MsgID})
	}
}

func (d *device) hearSuback(p *mqttsn.Suback) {
	if p.ReturnCode != mqttsn.Accepted {
		d.refused(p.ReturnCode)
		return
	}
	if p.TopicID != 0 {
		d.names[p.TopicID] = d.filters[d.subscribed]
	}
	d.subscribed++
	d.progress()
}

// refused is an answer after which a device waits for a while and asks again.
func (d *device) refused(code mqttsn.ReturnCode) {
	if code == mqttsn.Congestion {
		d.figures.congestions++
	} else {
		d.figures.refusals++
	}
	d.control, d.tries = 0, 0
	d.at = time.Now().Add(time.Second)
}

// hearAnswer takes what brings the unfinished message forward.
func (d *device) hearAnswer(p mqttsn.Packet) {
	f := d.flight
	if f == nil || !f.sent {
		return
	}
	switch p := p.(type) {
	case *mqttsn.Puback:
		switch {
		case p.MsgID != f.msgID || f.released:
		case p.ReturnCode == mqttsn.Accepted && f.qos == mqttsn.QoS1:
			d.ledger.Acknowledge(d.publisher, f.sequence)
			d.landed()
		case p.ReturnCode != mqttsn.Accepted: // not taken: it will be another exchange
			f.sent, f.msgID = false, d.nextMsgID()
			d.progress()
			if p.ReturnCode == mqttsn.InvalidTopicID {
				d.figures.unknownIDs++
				delete(d.ids, f.topic)
				return
			}
			d.refused(p.ReturnCode)
		}
	case *mqttsn.Pubrec:
		if p.MsgID == f.msgID && f.qos == mqttsn.QoS2 && !f.released {
			f.released = true
			d.ledger.Acknowledge(d.publisher, f.sequence)
			d.progress()
		}
	case *mqttsn.Pubcomp:
		if p.MsgID == f.msgID && f.released {
			d.landed()
		}
	}
}

// hearPublish takes a message, once if it has QoS 2 [SN-6.13].
func (d *device) hearPublish(p *mqttsn.Publish) {
	name, known := d.names[p.TopicID]
	if !known {
		d.send(&mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID, ReturnCode: mqttsn.InvalidTopicID})
		return
	}
	switch p.QoS {
	case mqttsn.QoS1:
		d.ledger.Receive(d.id, name, 1, p.DUP, p.Data)
		d.send(&mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID})
	case mqttsn.QoS2:
		if !d.unreleased[p.MsgID] {
			d.unreleased[p.MsgID] = true
			d.ledger.Receive(d.id, name, 2, p.DUP, p.Data)
		}
		d.send(&mqttsn.Pubrec{MsgID: p.MsgID})
	}
}
