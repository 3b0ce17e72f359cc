package upstream

import (
	"encoding/binary"
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// The forms of what is kept in the store. To change one: give it the next version, and let
// its reader read the versions before.
//
//	UpstreamSession     number 0: what is known of a client's session with the broker
//	                    number 1 and on: one of its subscriptions each
//	                    client "", number 0: how far deliveries are numbered
//	UpstreamRequest     a message to be published there
//	UpstreamDelivery    a message from there that was acknowledged to the broker
//	UpstreamUnreleased  number: the packet identifier; there is nothing else to know
//	UpstreamDeadLetter  a PUBLISH packet that the broker has refused, and why
const valueVersion = 1

const (
	flagQoS      = 3 // mask
	flagRetain   = 1 << 2
	flagWill     = 1 << 3
	flagReleased = 1 << 4
)

// spooled is the value of an UpstreamRequest. Of a released one, for which the broker has
// sent PUBREC, nothing else is kept.
type spooled struct {
	broker.Request // as far as Publish needs it
	will           bool
	released       bool
	at             time.Time
}

var releasedValue = []byte{valueVersion, flagReleased}

func (m *spooled) value() []byte {
	flags := m.QoS
	if m.Retain {
		flags |= flagRetain
	}
	if m.will {
		flags |= flagWill
	}
	b := []byte{valueVersion, flags}
	b = binary.AppendUvarint(b, millis(m.at))
	b = store.AppendString(b, m.Topic)
	b = store.AppendBytes(b, m.Payload)
	for _, u := range m.User {
		b = store.AppendBytes(store.AppendBytes(b, u.Name), u.Value)
	}
	return b
}

// readSpooled reads an UpstreamRequest. The payload is part of the value.
func readSpooled(value []byte) (m spooled, err error) {
	d, err := openValue(value)
	if err != nil {
		return m, err
	}
	flags := d.Byte()
	m.Op, m.QoS, m.Retain, m.will = broker.Publish, flags&flagQoS, flags&flagRetain != 0, flags&flagWill != 0
	if flags == flagReleased {
		m.released, m.QoS = true, 2
		return m, d.Err()
	}
	m.at = instant(d.Uint())
	m.Topic, m.Payload = d.String(), d.Bytes()
	for d.More() {
		m.User = append(m.User, broker.UserProperty{Name: d.Bytes(), Value: d.Bytes()})
	}
	if flags >= flagReleased || m.QoS > 2 {
		return m, store.ErrValue
	}
	return m, d.Err()
}

// appendKept makes an UpstreamDelivery.
func appendKept(b []byte, qos byte, m *broker.Message) []byte {
	if m.Retain {
		qos |= flagRetain
	}
	b = append(b, valueVersion, qos)
	b = binary.AppendUvarint(b, millis(m.Expires))
	b = store.AppendString(b, m.Topic)
	return store.AppendBytes(b, m.Payload)
}

// readKept reads an UpstreamDelivery. The payload is part of the value.
func readKept(value []byte) (m *broker.Message, err error) {
	d, err := openValue(value)
	if err != nil {
		return nil, err
	}
	flags := d.Byte()
	qos := flags & flagQoS
	m = &broker.Message{QoS: qos, Retain: flags&flagRetain != 0, Expires: instant(d.Uint()), Topic: d.String(), Payload: d.Bytes()}
	if flags >= flagWill || qos > 2 || qos == 0 {
		return nil, store.ErrValue
	}
	return m, d.Err()
}

// knowledge is what is to be known of a client's session with the broker after a crash.
type knowledge struct {
	clean   bool // it ends with the connection
	persist bool // it is to be found after a crash although it is clean
	reached bool // the broker has accepted the client
	unsure  bool // the broker may hold identifiers that we know nothing of
	ended   time.Time
	as      broker.Principal // on whose behalf it acted last
}

func (k *knowledge) sessionValue() []byte {
	var flags byte
	for i, set := range []bool{k.clean, k.persist, k.reached, k.unsure} {
		if set {
			flags |= 1 << i
		}
	}
	b := binary.AppendUvarint([]byte{valueVersion, flags}, millis(k.ended))
	if k.as != (broker.Principal{}) {
		b = store.AppendString(store.AppendString(b, k.as.User), k.as.Identity)
	}
	return b
}

func readKnowledge(value []byte) (k knowledge, err error) {
	d, err := openValue(value)
	if err != nil {
		return k, err
	}
	flags := d.Byte()
	k = knowledge{clean: flags&1 != 0, persist: flags&2 != 0, reached: flags&4 != 0, unsure: flags&8 != 0, ended: instant(d.Uint())}
	if d.More() {
		k.as = broker.Principal{User: d.String(), Identity: d.String()}
	}
	if flags > 15 {
		return k, store.ErrValue
	}
	return k, d.Err()
}

func appendFilter(b []byte, filter string, qos byte) []byte {
	return store.AppendString(append(b, valueVersion, qos), filter)
}

func readFilter(value []byte) (filter string, qos byte, err error) {
	d, err := openValue(value)
	if err != nil {
		return "", 0, err
	}
	qos, filter = d.Byte(), d.String()
	if qos > 2 {
		return "", 0, store.ErrValue
	}
	return filter, qos, d.Err()
}

func appendCount(b []byte, n uint64) []byte {
	return binary.AppendUvarint(append(b, valueVersion), n)
}

func readCount(value []byte) (uint64, error) {
	d, err := openValue(value)
	if err != nil {
		return 0, err
	}
	return d.Uint(), d.Err()
}

// appendDeadLetter makes an UpstreamDeadLetter of a PUBLISH packet.
func appendDeadLetter(b []byte, code broker.Code, at time.Time, packet []byte) []byte {
	b = binary.AppendUvarint(append(b, valueVersion, byte(code)), millis(at))
	return store.AppendBytes(b, packet)
}

// openValue starts to read a value, whose version it checks.
func openValue(value []byte) (*store.Decoder, error) {
	d := store.Decode(value)
	if v := d.Byte(); v != valueVersion {
		return nil, fmt.Errorf("%w: version %d, this release reads %d", store.ErrValue, v, valueVersion)
	}
	return d, nil
}

// millis and instant are an instant of the wall clock and back; 0 is the zero Time.
func millis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(1, t.UnixMilli()))
}

func instant(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(min(ms, 1<<62)))
}
