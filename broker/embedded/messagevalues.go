package embedded

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

const (
	deliveryRetain = 1 << iota
	deliveryShared // the message is a record of its own
)

const flightReleased = 1

const (
	messageRetain = 1 << iota
	messageExpires
	messagePayloadFormat
	messageResponseTopic
	messageCorrelationData
	messageContentType
	messageUser
	messageOrigin // the user of its publisher is known; in ownedForm only
)

// form is the version of a value that has the message.
func (m *message) form() byte {
	if m.origin() != nil {
		return ownedForm
	}
	return valueForm
}

// appendDelivery appends a delivery; number is the number of its message's record, 0 for
// none: then it has the message itself.
func appendDelivery(b []byte, d *delivery, number uint64, now clock) []byte {
	var flags byte
	if d.retain {
		flags |= deliveryRetain
	}
	if number != 0 {
		flags |= deliveryShared
	}
	form := byte(valueForm)
	if number == 0 {
		form = d.message.form()
	}
	b = append(b, form, flags, d.qos)
	b = binary.AppendUvarint(b, uint64(d.id))
	var ids []uint32
	if d.rare != nil {
		ids = d.rare.ids
	}
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	if number != 0 {
		return binary.AppendUvarint(b, number)
	}
	return appendMessage(b, d.message, d.message.Topic, now)
}

func decodeDelivery(v []byte, now clock) (q delivery, number uint64, err error) {
	d, err := decode(v)
	if err != nil {
		return q, 0, err
	}
	flags := d.Byte()
	q.retain, q.qos, q.id = flags&deliveryRetain != 0, d.Byte(), uint16(d.Uint())
	n := d.Uint()
	if n > uint64(len(v)) || q.qos > 2 {
		return q, 0, store.ErrValue
	}
	if n > 0 {
		q.rare = &rare{ids: make([]uint32, n)}
		for i := range q.rare.ids {
			q.rare.ids[i] = uint32(d.Uint())
		}
	}
	if flags&deliveryShared != 0 {
		if number = d.Uint(); number == 0 {
			err = store.ErrValue
		}
	} else {
		q.message = new(message)
		err = readMessage(d, q.message, now)
	}
	return q, number, cmp.Or(err, d.Err())
}

func appendFlight(b []byte, d *delivery) []byte {
	var flags byte
	if d.released {
		flags |= flightReleased
	}
	return binary.AppendUvarint(append(b, valueForm, flags), uint64(d.id))
}

func decodeFlight(v []byte) (id uint16, released bool, err error) {
	d, err := decode(v)
	if err != nil {
		return 0, false, err
	}
	released, id = d.Byte()&flightReleased != 0, uint16(d.Uint())
	return id, released, d.Err()
}

// appendRetained appends a retained message, or the number of its record if it has one.
func appendRetained(b []byte, m *message, number uint64, now clock) []byte {
	if number != 0 {
		return binary.AppendUvarint(append(b, valueForm), number)
	}
	b = append(b, m.form(), 0)
	return appendMessage(b, m, "", now) // the key has the topic
}

func decodeRetained(v []byte, now clock) (m *message, number uint64, err error) {
	d, err := decode(v)
	if err != nil {
		return nil, 0, err
	}
	if number = d.Uint(); number == 0 {
		m = new(message)
		err = readMessage(d, m, now)
	}
	return m, number, cmp.Or(err, d.Err())
}

func appendShared(b []byte, m *message, now clock) []byte {
	return appendMessage(append(b, m.form()), m, m.Topic, now)
}

func decodeShared(v []byte, now clock) (*message, error) {
	d, err := decode(v)
	if err != nil {
		return nil, err
	}
	m := new(message)
	return m, readMessage(d, m, now)
}

func appendMessage(b []byte, m *message, topic string, now clock) []byte {
	flags := len(b)
	b = append(b, 0, m.QoS)
	b = store.AppendString(b, topic)
	b = store.AppendString(b, m.from)
	set := func(flag byte) { b[flags] |= flag }
	if o := m.origin(); o != nil {
		set(messageOrigin)
		b = store.AppendString(b, o.user)
	}
	if m.Retain {
		set(messageRetain)
	}
	if m.expires != 0 {
		set(messageExpires)
		b = appendInstant(b, in(m.expires-now.now, now.wall))
	}
	if p := m.properties; p != nil {
		if p.PayloadFormat.Set {
			set(messagePayloadFormat)
			b = append(b, p.PayloadFormat.Value)
		}
		for _, part := range []struct {
			flag byte
			v    []byte
		}{
			{messageResponseTopic, p.ResponseTopic},
			{messageCorrelationData, p.CorrelationData},
			{messageContentType, p.ContentType},
		} {
			if part.v != nil {
				set(part.flag)
				b = store.AppendBytes(b, part.v)
			}
		}
		if len(p.User) > 0 {
			set(messageUser)
			b = binary.AppendUvarint(b, uint64(len(p.User)))
			for i := range p.User {
				b = store.AppendBytes(store.AppendBytes(b, p.User[i].Name), p.User[i].Value)
			}
		}
	}
	return store.AppendBytes(b, m.Payload)
}

// readMessage reads a message, which is the last part of a value. One that has expired
// meanwhile expires now.
func readMessage(d *store.Decoder, m *message, now clock) error {
	flags := d.Byte()
	has := func(flag byte) bool { return flags&flag != 0 }
	m.QoS, m.Retain = d.Byte(), has(messageRetain)
	m.Topic, m.from = d.String(), d.String()
	if has(messageOrigin) {
		m.leave(&origin{user: d.String()})
	}
	if has(messageExpires) {
		left := max(readInstant(d).after(now.wall), 0)
		m.expires, m.Expires = max(now.now+left, 1), now.wall.Add(left)
	}
	var p mqtt.PublishProperties
	if has(messagePayloadFormat) {
		p.PayloadFormat = mqtt.Some(d.Byte())
	}
	if has(messageResponseTopic) {
		p.ResponseTopic = d.Bytes()
	}
	if has(messageCorrelationData) {
		p.CorrelationData = d.Bytes()
	}
	if has(messageContentType) {
		p.ContentType = d.Bytes()
	}
	if has(messageUser) {
		for n := d.Uint(); n > 0 && d.More(); n-- {
			p.User = append(p.User, mqtt.UserProperty{Name: d.Bytes(), Value: d.Bytes()})
		}
	}
	if flags&(messagePayloadFormat|messageResponseTopic|messageCorrelationData|messageContentType) != 0 || len(p.User) > 0 {
		m.properties = cloneProperties(&p)
	}
	m.Payload = bytes.Clone(d.Bytes())
	m.weigh()
	if m.QoS > 2 {
		return store.ErrValue
	}
	return d.Err()
}
