package mqtt

import "encoding/binary"

// Subscribe asks for one or more subscriptions [MQTT 5, 3.8].
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription // at least one
	Properties    SubscribeProperties
}

// Subscription is one filter of a SUBSCRIBE with its options [MQTT 5, 3.8.3.1]. All but
// Filter and QoS are MQTT 5 only.
type Subscription struct {
	Filter            []byte
	QoS               QoS // the highest with which to send
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    RetainHandling
}

// RetainHandling says when a subscription gets retained messages.
type RetainHandling byte

// The values of RetainHandling.
const (
	RetainOnSubscribe    RetainHandling = 0 // each time
	RetainOnNewSubscribe RetainHandling = 1 // if the subscription did not exist
	RetainNever          RetainHandling = 2
)

// SubscribeProperties are the properties of a SUBSCRIBE [MQTT 5, 3.8.2.1].
type SubscribeProperties struct {
	SubscriptionID uint32 // 1 to 268,435,455; 0: absent
	User           []UserProperty
}

// Suback answers a SUBSCRIBE [MQTT 5, 3.9].
type Suback struct {
	PacketID uint16
	// Codes are the answers, in the order of the filters: the granted QoS or a
	// failure, which before MQTT 5 is always CodeUnspecified.
	Codes      []Code
	Properties AckProperties
}

// Type is TypeSubscribe.
func (p *Subscribe) Type() Type { return TypeSubscribe }

// Type is TypeSuback.
func (p *Suback) Type() Type { return TypeSuback }

// The bits of the subscription options [MQTT 5, 3.8.3.1].
const (
	flagNoLocal           = 1 << 2
	flagRetainAsPublished = 1 << 3
	shiftRetainHandling   = 4
	optionsReserved       = 0xC0
)

// Append adds the packet to b.
func (p *Subscribe) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeSubscribe, flagsReserved2)
	b = binary.BigEndian.AppendUint16(b, p.PacketID)
	if v >= V5 {
		b = p.Properties.append(b)
	}
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		b = appendBinary(b, s.Filter)
		options := byte(s.QoS)
		if v >= V5 {
			options |= bit(s.NoLocal, 2) | bit(s.RetainAsPublished, 3) | byte(s.RetainHandling)<<shiftRetainHandling
		}
		b = append(b, options)
	}
	return finish(b, at, 0)
}

func (p *Subscribe) decode(r *reader) {
	p.PacketID = r.packetID()
	if r.version >= V5 {
		p.Properties.decode(r)
	}
	if len(r.b) == 0 {
		r.protocolError("payload", "has no filter") // [MQTT-3.8.3-2]
	}
	for len(r.b) > 0 {
		r.oneMore(len(p.Subscriptions))
		s := Subscription{Filter: r.topicFilter()}
		options := r.byte("subscription options")
		s.QoS = QoS(options & 3)
		if s.QoS > QoS2 {
			r.protocolError("subscription options", "QoS is 3") // [MQTT 5, 3.8.3.1]
		}
		if r.version >= V5 {
			s.setOptions(r, options)
		} else if options&^3 != 0 {
			r.malformed("requested QoS", "reserved bits are set") // [MQTT-3-8.3-4] of 3.1.1
		}
		if r.err != nil {
			return
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
}

func (s *Subscription) setOptions(r *reader, options byte) {
	const field = "subscription options"
	s.NoLocal = options&flagNoLocal != 0
	s.RetainAsPublished = options&flagRetainAsPublished != 0
	s.RetainHandling = RetainHandling(options >> shiftRetainHandling & 3)
	if options&optionsReserved != 0 {
		r.malformed(field, "reserved bits are set") // [MQTT-3.8.3-5]
	}
	if s.RetainHandling > RetainNever {
		r.protocolError(field, "retain handling is 3") // [MQTT 5, 3.8.3.1]
	}
	if _, _, shared := Shared(s.Filter); shared && s.NoLocal {
		r.protocolError(field, "no local on a shared subscription") // [MQTT-3.8.3-4]
	}
}

// topicFilter reads a topic filter; the form of shared subscriptions is checked only in
// the version that has them.
func (r *reader) topicFilter() []byte {
	f := r.string("topic filter")
	switch {
	case r.err != nil:
	case len(f) == 0:
		r.malformed("topic filter", "is empty") // [MQTT-4.7.3-1]
	case !wellFormedFilter(f):
		r.malformed("topic filter", "has a misplaced wildcard") // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
	case r.version >= V5 && !validShared(f):
		r.malformed("topic filter", "is not a shared subscription") // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
	}
	return f
}

func (p *SubscribeProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendSubscriptionID(b, p.SubscriptionID)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *SubscribeProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropSubscriptionID:
			p.SubscriptionID = r.subscriptionID()
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}

// Append adds the packet to b.
func (p *Suback) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeSuback, 0)
	b = binary.BigEndian.AppendUint16(b, p.PacketID)
	if v >= V5 {
		b = p.Properties.append(b)
	}
	for _, c := range p.Codes {
		if v < V5 && c.Failed() {
			c = CodeUnspecified // [MQTT-3.9.3-2] of 3.1.1
		}
		b = append(b, byte(c))
	}
	return finish(b, at, 0)
}

func (p *Suback) decode(r *reader) {
	p.PacketID = r.packetID()
	if r.version >= V5 {
		p.Properties.decode(r)
	}
	p.Codes = r.codes(inSuback)
	if r.version >= V5 {
		return
	}
	for _, c := range p.Codes {
		if c > CodeGrantedQoS2 && c != CodeUnspecified {
			r.protocolError("return code", "is reserved") // [MQTT-3.9.3-2] of 3.1.1
		}
	}
}

// codes reads reason codes up to the end: one for each filter, so at least one.
func (r *reader) codes(in uint16) []Code {
	if len(r.b) == 0 {
		r.protocolError("payload", "has no reason code")
		return nil
	}
	codes := make([]Code, 0, len(r.b))
	for len(r.b) > 0 {
		codes = append(codes, r.code(in))
	}
	return codes
}
