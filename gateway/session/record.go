package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// The forms of the values in the store. To change one, give it another version, go on
// reading the old one, and add a golden value to testdata/records.golden.
//
//	space                number   value, after the version
//	SessionState         0        state, flags, keep alive, sleep duration, topic id assigned last,
//	                              epoch of the topics, expiry (ms since 1970, 0: never),
//	                              1 and topic, payload, QoS and retain of the will, or 0
//	SessionTopic         TopicId  flags, epoch in which they held, name
//	SessionSubscription  any      TopicIdType, QoS, TopicId, filter
//	SessionExchange      MsgId    TopicId, checksum; it waits for PUBREL
//	SessionHand          MsgId    0: PUBLISH was sent, 1: PUBREL was; the broker's token

// recordVersion is the version of all forms.
const recordVersion = 1

// The states in a SessionState. They stand on disk.
var recordStates = [...]State{0: Disconnected, 1: Active, 2: Asleep, 3: Lost}

// The flags in a SessionState. They stand on disk.
const (
	recordClean     = 1 << iota // Session.clean
	recordStored                // Session.stored
	recordRegacked              // Session.regacked
	recordMute                  // Session.mute
	recordPersisted             // kept.persisted
	recordFlags     = 1<<iota - 1
)

// stateRecord is what a SessionState says.
type stateRecord struct {
	mode      byte // index of recordStates
	flags     byte
	duration  uint16
	sleepTime uint16
	topicID   uint16
	epoch     uint32
	expiry    int64
	will      *broker.Message
}

func (r *stateRecord) append(b []byte) []byte {
	b = append(b, recordVersion, r.mode, r.flags)
	for _, n := range [...]uint64{
		uint64(r.duration), uint64(r.sleepTime), uint64(r.topicID), uint64(r.epoch), uint64(max(r.expiry, 0)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	w := r.will
	if w == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	b = store.AppendString(b, w.Topic)
	b = store.AppendBytes(b, w.Payload)
	return append(b, w.QoS, octet(w.Retain))
}

func readState(value []byte) (r stateRecord, err error) {
	d := reading(value)
	r.mode, r.flags = d.below(len(recordStates)), d.below(recordFlags+1)
	r.duration, r.sleepTime, r.topicID = d.u16(), d.u16(), d.u16()
	r.epoch = uint32(d.upTo(math.MaxUint32))
	r.expiry = int64(d.upTo(math.MaxInt64))
	if d.below(2) == 1 {
		w := &broker.Message{Topic: d.String(), Payload: bytes.Clone(d.Bytes())}
		w.QoS, w.Retain = d.below(3), d.below(2) == 1
		r.will = w
	}
	return r, d.err()
}

// topicRecord is what a SessionTopic says.
type topicRecord struct {
	is    topicIs
	epoch uint32
	name  string
}

func (r *topicRecord) append(b []byte) []byte {
	b = append(b, recordVersion, byte(r.is))
	b = binary.AppendUvarint(b, uint64(r.epoch))
	return store.AppendString(b, r.name)
}

func readTopic(value []byte) (r topicRecord, err error) {
	d := reading(value)
	r.is = topicIs(d.below(int(topicFlags) + 1))
	r.epoch = uint32(d.upTo(math.MaxUint32))
	r.name = d.name()
	return r, d.err()
}

func (sub *subscription) append(b []byte) []byte {
	b = append(b, recordVersion, byte(sub.form), byte(sub.qos))
	b = binary.AppendUvarint(b, uint64(sub.id))
	return store.AppendString(b, sub.filter)
}

func readSubscription(value []byte) (sub subscription, err error) {
	d := reading(value)
	sub.form = mqttsn.TopicIDType(d.below(int(mqttsn.TopicReserved)))
	sub.qos = mqttsn.QoS(d.below(3))
	sub.id = d.u16()
	sub.filter = d.name()
	return sub, d.err()
}

func (x *exchange) append(b []byte) []byte {
	b = append(b, recordVersion)
	b = binary.AppendUvarint(b, uint64(x.topicID))
	return binary.LittleEndian.AppendUint32(b, x.sum)
}

func readExchange(value []byte) (x exchange, err error) {
	d := reading(value)
	x.topicID = d.u16()
	for shift := 0; shift < 32; shift += 8 {
		x.sum |= uint32(d.Byte()) << shift
	}
	x.qos, x.stage = mqttsn.QoS2, received
	return x, d.err()
}

// handRecord is what a SessionHand says, with the MsgId that is its number.
type handRecord struct {
	token     broker.Token
	msgID     uint16
	releasing bool
}

func (r *handRecord) append(b []byte) []byte {
	return binary.AppendUvarint(append(b, recordVersion, octet(r.releasing)), uint64(r.token))
}

func readHand(value []byte) (r handRecord, err error) {
	d := reading(value)
	r.releasing = d.below(2) == 1
	r.token = broker.Token(d.upTo(math.MaxUint32))
	return r, d.err()
}

func octet(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// valueReader is a store.Decoder that knows what a value may be.
type valueReader struct {
	*store.Decoder
	version byte
	bad     bool
}

func reading(value []byte) *valueReader {
	d := &valueReader{Decoder: store.Decode(value)}
	d.version = d.Byte()
	return d
}

// below reads an octet that is less than n.
func (d *valueReader) below(n int) byte {
	c := d.Byte()
	d.bad = d.bad || int(c) >= n
	return c
}

// upTo reads a number that is at most n.
func (d *valueReader) upTo(n uint64) uint64 {
	v := d.Uint()
	d.bad = d.bad || v > n
	return v
}

func (d *valueReader) u16() uint16 { return uint16(d.upTo(math.MaxUint16)) }

// name reads a topic name or filter, which is never empty.
func (d *valueReader) name() string {
	name := d.String()
	d.bad = d.bad || name == ""
	return name
}

func (d *valueReader) err() error {
	switch {
	case d.version != recordVersion:
		return fmt.Errorf("version %d, known is %d: %w", d.version, recordVersion, store.ErrValue)
	case d.bad:
		return store.ErrValue
	}
	return d.Err()
}
