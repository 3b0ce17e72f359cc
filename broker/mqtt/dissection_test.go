package mqtt

import (
	"fmt"
	"slices"
)

// dissection lists what the dissector has to show of a packet: its names, and octets in
// hex. It is written from the specification and not with the encoder's functions.
type dissection struct {
	v    Version
	list []string
	size int // of the octets listed so far, lengths of strings included
}

func dissect(p Packet, v Version) []string {
	d := dissection{v: v}
	flags := byte(0)
	switch p := p.(type) {
	case *Connect:
		d.connect(p)
	case *Connack:
		d.connack(p)
	case *Publish:
		flags = byte(p.QoS) * 2
		if p.DUP {
			flags += 8
		}
		if p.Retain {
			flags++
		}
		d.publish(p)
	case *Puback:
		d.ack("puback", p.PacketID, p.Code, p.Properties)
	case *Pubrec:
		d.ack("pubrec", p.PacketID, p.Code, p.Properties)
	case *Pubrel:
		flags = 2
		d.ack("pubrel", p.PacketID, p.Code, p.Properties)
	case *Pubcomp:
		d.ack("pubcomp", p.PacketID, p.Code, p.Properties)
	case *Subscribe:
		flags = 2
		d.subscribe(p)
	case *Suback:
		d.number("msgid", p.PacketID)
		d.properties(ackProperties(p.Properties))
		d.codes("suback", p.Codes)
	case *Unsubscribe:
		flags = 2
		d.number("msgid", p.PacketID)
		d.properties(userProperties(p.Properties.User))
		for _, f := range p.Filters {
			d.text("topic", f)
		}
	case *Unsuback:
		d.number("msgid", p.PacketID)
		if v == V5 {
			d.properties(ackProperties(p.Properties))
			d.codes("unsuback", p.Codes)
		}
	case *Disconnect:
		d.disconnect(p)
	case *Auth:
		d.auth(p)
	}
	head := dissection{}
	head.number("hdrflags", byte(p.Type())*16+flags)
	head.add("len", fmt.Sprintf("%x", shortest(d.size)), 0)
	return append(head.list, d.list...)
}

// shortest is a variable byte integer as section 1.5.5 tells to write it.
func shortest(x int) (b []byte) {
	for {
		encoded := x % 128
		x /= 128
		if x > 0 {
			encoded += 128
		}
		b = append(b, byte(encoded))
		if x == 0 {
			return b
		}
	}
}

func (d *dissection) add(name, octets string, size int) {
	d.list = append(d.list, name+"="+octets)
	d.size += size
}

// number adds a byte, uint16 or uint32 in its full width.
func (d *dissection) number(name string, n any) {
	switch n := n.(type) {
	case byte:
		d.add(name, fmt.Sprintf("%02x", n), 1)
	case uint16:
		d.add(name, fmt.Sprintf("%04x", n), 2)
	case uint32:
		d.add(name, fmt.Sprintf("%08x", n), 4)
	case bool:
		d.add(name, map[bool]string{false: "00", true: "01"}[n], 1)
	case QoS:
		d.number(name, byte(n))
	}
}

// text adds a string and its length.
func (d *dissection) text(name string, s []byte) {
	d.number(name+"_len", uint16(len(s)))
	d.add(name, fmt.Sprintf("%x", s), len(s))
}

func (d *dissection) codes(name string, codes []Code) {
	for _, c := range codes {
		switch {
		case d.v == V5:
			d.number(name+".reason_code", byte(c))
		case c >= 0x80:
			d.add(name+".qos", "80", 1)
		default:
			d.number(name+".qos", byte(c))
		}
	}
}

// properties adds a block of properties, with its length, where the version has them.
func (d *dissection) properties(blocks ...dissection) {
	if d.v != V5 {
		return
	}
	var all dissection
	for _, b := range blocks {
		all.list = append(all.list, b.list...)
		all.size += b.size
	}
	length := shortest(all.size)
	d.add("property_len", fmt.Sprintf("%x", length), len(length)+all.size)
	d.list = append(d.list, all.list...)
}

// property is one property with a number; an absent one is nothing.
func property(id byte, n any, present bool) (d dissection) {
	if !present {
		return d
	}
	d.number("property_id", id)
	name := "prop_number"
	switch id {
	case 0x23:
		name = "property.topic_alias"
	case 0x24:
		name = "property.max_qos"
	}
	d.number(name, n)
	return d
}

func optional[T byte | uint16 | uint32 | bool | QoS](id byte, o Optional[T]) dissection {
	return property(id, o.Value, o.Set)
}

// textProperty is one property with a string or binary data.
func textProperty(id byte, s []byte) (d dissection) {
	if s == nil {
		return d
	}
	d.number("property_id", id)
	if id == 0x03 {
		d.add("property.content_type", fmt.Sprintf("%04x%x", len(s), s), 2+len(s))
	} else {
		d.text("prop_string", s)
	}
	return d
}

func varintProperty(id byte, n uint32) (d dissection) {
	if n != 0 {
		d.number("property_id", id)
		d.add("prop_number", fmt.Sprintf("%x", shortest(int(n))), len(shortest(int(n))))
	}
	return d
}

func userProperties(user []UserProperty) (d dissection) {
	for _, u := range user {
		d.number("property_id", byte(0x26))
		d.text("prop_key", u.Name)
		d.text("prop_value", u.Value)
	}
	return d
}

func ackProperties(p AckProperties) dissection {
	d, u := textProperty(0x1F, p.ReasonString), userProperties(p.User)
	return dissection{list: slices.Concat(d.list, u.list), size: d.size + u.size}
}

func (d *dissection) ack(name string, id uint16, code Code, p AckProperties) {
	d.number("msgid", id)
	props := ackProperties(p)
	if d.v == V5 && (code != 0 || props.size > 0) {
		d.number(name+".reason_code", byte(code))
		if props.size > 0 {
			d.properties(props)
		}
	}
}

func (d *dissection) connect(p *Connect) {
	name := "MQTT"
	if d.v == V31 {
		name = "MQIsdp"
	}
	flags := byte(0)
	for i, set := range []bool{false, p.CleanStart, p.HasWill, false, false, p.HasWill && p.Will.Retain, p.Password != nil, p.Username != nil} {
		if set {
			flags |= 1 << i
		}
	}
	if p.HasWill {
		flags |= byte(p.Will.QoS) * 8
	}
	d.number("proto_len", uint16(len(name)))
	d.add("protoname", fmt.Sprintf("%x", name), len(name))
	d.number("ver", byte(d.v))
	d.number("conflags", flags)
	d.number("kalive", p.KeepAlive)
	c := p.Properties
	d.properties(optional(0x11, c.SessionExpiry), property(0x21, c.ReceiveMaximum, c.ReceiveMaximum > 0),
		property(0x27, c.MaximumPacketSize, c.MaximumPacketSize > 0), optional(0x22, c.TopicAliasMaximum),
		optional(0x19, c.RequestResponse), optional(0x17, c.RequestProblem), textProperty(0x15, c.AuthenticationMethod),
		textProperty(0x16, c.AuthenticationData), userProperties(c.User))
	d.text("clientid", p.ClientID)
	if p.HasWill {
		w := p.Will.Properties
		d.properties(optional(0x18, w.Delay), optional(0x01, w.PayloadFormat), optional(0x02, w.MessageExpiry),
			textProperty(0x03, w.ContentType), textProperty(0x08, w.ResponseTopic),
			textProperty(0x09, w.CorrelationData), userProperties(w.User))
		d.text("willtopic", p.Will.Topic)
		d.text("willmsg", p.Will.Payload)
	}
	if p.Username != nil {
		d.text("username", p.Username)
	}
	if p.Password != nil {
		d.text("passwd", p.Password)
	}
}

func (d *dissection) connack(p *Connack) {
	if d.v != V5 {
		name := "conack.flags"
		if d.v == V31 {
			name = "conack.flags.reserved"
		}
		d.number(name, p.SessionPresent && d.v == V311)
		d.number("conack.val", map[Code]byte{0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}[p.Code])
		return
	}
	d.number("conack.flags", p.SessionPresent)
	d.number("connack.reason_code", byte(p.Code))
	c := p.Properties
	d.properties(optional(0x11, c.SessionExpiry), property(0x21, c.ReceiveMaximum, c.ReceiveMaximum > 0),
		optional(0x24, c.MaximumQoS), optional(0x25, c.RetainAvailable),
		property(0x27, c.MaximumPacketSize, c.MaximumPacketSize > 0), textProperty(0x12, c.AssignedClientID),
		optional(0x22, c.TopicAliasMaximum), textProperty(0x1F, c.ReasonString), optional(0x28, c.WildcardAvailable),
		optional(0x29, c.SubscriptionIDsAvailable), optional(0x2A, c.SharedAvailable), optional(0x13, c.ServerKeepAlive),
		textProperty(0x1A, c.ResponseInformation), textProperty(0x1C, c.ServerReference),
		textProperty(0x15, c.AuthenticationMethod), textProperty(0x16, c.AuthenticationData), userProperties(c.User))
}

func (d *dissection) publish(p *Publish) {
	d.text("topic", p.Topic)
	if p.QoS > 0 {
		d.number("msgid", p.PacketID)
	}
	c := p.Properties
	blocks := []dissection{
		optional(0x01, c.PayloadFormat), optional(0x02, c.MessageExpiry), property(0x23, c.TopicAlias, c.TopicAlias > 0),
		textProperty(0x08, c.ResponseTopic), textProperty(0x09, c.CorrelationData), textProperty(0x03, c.ContentType),
	}
	for _, id := range c.SubscriptionIDs {
		blocks = append(blocks, varintProperty(0x0B, id))
	}
	d.properties(append(blocks, userProperties(c.User))...)
	d.add("msg", fmt.Sprintf("%x", p.Payload), len(p.Payload))
}

func (d *dissection) subscribe(p *Subscribe) {
	d.number("msgid", p.PacketID)
	d.properties(varintProperty(0x0B, p.Properties.SubscriptionID), userProperties(p.Properties.User))
	for _, s := range p.Subscriptions {
		d.text("topic", s.Filter)
		options := byte(s.QoS)
		if d.v != V5 {
			d.number("sub.qos", options)
			continue
		}
		if s.NoLocal {
			options += 4
		}
		if s.RetainAsPublished {
			options += 8
		}
		d.number("subscription_options", options+byte(s.RetainHandling)*16)
	}
}

func (d *dissection) disconnect(p *Disconnect) {
	c := p.Properties
	blocks := []dissection{
		optional(0x11, c.SessionExpiry), textProperty(0x1F, c.ReasonString),
		textProperty(0x1C, c.ServerReference), userProperties(c.User),
	}
	filled := slices.ContainsFunc(blocks, func(b dissection) bool { return b.size > 0 })
	if d.v == V5 && (p.Code != 0 || filled) {
		d.number("disconnect.reason_code", byte(p.Code))
		if filled {
			d.properties(blocks...)
		}
	}
}

func (d *dissection) auth(p *Auth) {
	if c := p.Properties; p.Code != 0 || c.AuthenticationMethod != nil {
		d.number("auth.reason_code", byte(p.Code))
		d.properties(textProperty(0x15, c.AuthenticationMethod), textProperty(0x16, c.AuthenticationData),
			textProperty(0x1F, c.ReasonString), userProperties(c.User))
	}
}
