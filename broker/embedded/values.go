package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// The values of the store's records, as they stand on disk. The first octet is the version
// of the form: a later release reads this one, too, and this one refuses what it does not
// know. Numbers are unsigned varints, strings and octets have their length in front.

// valueForm is the version of values. Those that say on whose behalf something was left here
// have ownedForm, which releases before it do not know.
const (
	valueForm = 1
	ownedForm = 2
)

// The flags of values. They never change.
const (
	sessionConnected = 1 << iota
	sessionDevice    // the client was an MQTT-SN client
	sessionPersisted // the session ends with its connection, but not with the process
	sessionOwned     // it is somebody's
)

const (
	subscriptionNoLocal = 1 << iota
	subscriptionRetainAsPublished
)

const (
	willExpires = 1 << iota // the message, once it is published
	willDue                 // the client is away
)

// clock is one instant, in the broker's time, which is above 0, and in wall clock time.
type clock struct {
	now  time.Duration
	wall time.Time
}

func (b *Broker) clock() clock { return clock{max(b.now(), 1), time.Now()} }

// decode starts to read a value.
func decode(v []byte) (*store.Decoder, error) {
	d := store.Decode(v)
	if version := d.Byte(); len(v) > 0 && version != valueForm && version != ownedForm {
		return d, fmt.Errorf("the value has version %d, and this release reads versions up to %d: it was written by a later one", version, ownedForm)
	}
	return d, nil
}

// savedSession is what is kept of a session itself.
type savedSession struct {
	flags  byte
	will   uint64 // the number of its will, 0: none
	since  uint64 // numbers of before belong to an earlier session of the client
	expiry time.Duration
	window uint16
	mount  string // mount point
	due    instant
	owner  *broker.Principal // nil for none
}

// instant is one in wall clock time, by which time spent away counts: so much was left
// when it was written, in milliseconds of the Unix epoch.
type instant struct {
	left    time.Duration
	written uint64
}

// neverSet is an instant of a clock that was not set: no release is older.
var neverSet = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// in is the instant so much later than now.
func in(left time.Duration, now time.Time) instant {
	return instant{left: max(left, 0), written: uint64(max(now.UnixMilli(), 0))}
}

// after is how much is left of it at now. What a clock that was not set has written, or
// reads, says nothing of the time between.
func (i instant) after(now time.Time) time.Duration {
	written := time.UnixMilli(int64(min(i.written, 1<<62)))
	if written.Before(neverSet) || now.Before(written) {
		return i.left
	}
	return i.left - now.Sub(written)
}

func appendInstant(b []byte, i instant) []byte {
	b = binary.AppendUvarint(b, uint64((i.left+time.Millisecond-1)/time.Millisecond))
	return binary.AppendUvarint(b, i.written)
}

// longest is the longest time that a value has.
const longest = 1 << 43 // milliseconds

func readDuration(d *store.Decoder, unit time.Duration) time.Duration {
	return time.Duration(min(d.Uint(), longest*uint64(time.Millisecond)/uint64(unit))) * unit
}

func readInstant(d *store.Decoder) instant {
	return instant{left: readDuration(d, time.Millisecond), written: d.Uint()}
}

func appendSession(b []byte, s *savedSession) []byte {
	if s.owner != nil {
		b = append(b, ownedForm, s.flags|sessionOwned)
	} else {
		b = append(b, valueForm, s.flags)
	}
	b = binary.AppendUvarint(b, s.since)
	b = binary.AppendUvarint(b, s.will)
	b = appendExpiry(b, s.expiry)
	b = binary.AppendUvarint(b, uint64(s.window))
	b = store.AppendString(b, s.mount)
	if s.flags&sessionConnected == 0 && s.expiry != forever {
		b = appendInstant(b, s.due)
	}
	if s.owner != nil {
		b = store.AppendString(store.AppendString(b, s.owner.User), s.owner.Identity)
	}
	return b
}

func decodeSession(v []byte) (s savedSession, err error) {
	d, err := decode(v)
	if err != nil {
		return s, err
	}
	s.flags, s.since, s.will, s.expiry, s.window = d.Byte(), d.Uint(), d.Uint(), readExpiry(d), uint16(d.Uint())
	s.mount = d.String()
	if s.flags&sessionConnected == 0 && s.expiry != forever {
		s.due = readInstant(d)
	}
	if s.flags&sessionOwned != 0 {
		s.flags &^= sessionOwned
		s.owner = &broker.Principal{User: d.String(), Identity: d.String()}
	}
	return s, d.Err()
}

// appendExpiry appends how long a session is kept: milliseconds plus one, 0 for forever.
func appendExpiry(b []byte, d time.Duration) []byte {
	if d == forever {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(d/time.Millisecond)+1)
}

func readExpiry(d *store.Decoder) time.Duration {
	n := d.Uint()
	if n == 0 {
		return forever
	}
	return time.Duration(min(n-1, longest)) * time.Millisecond
}

// savedWill is what is kept of a will.
type savedWill struct {
	will *will
	due  instant
	away bool // it is due at that instant
}

func appendWill(b []byte, w *savedWill, now clock) []byte {
	var flags byte
	if w.will.expiry.Set {
		flags |= willExpires
	}
	if w.away {
		flags |= willDue
	}
	b = append(b, w.will.message.form(), flags)
	b = binary.AppendUvarint(b, uint64(w.will.delay/time.Second))
	if w.will.expiry.Set {
		b = binary.AppendUvarint(b, uint64(w.will.expiry.Value))
	}
	if w.away {
		b = appendInstant(b, w.due)
	}
	return appendMessage(b, &w.will.message, w.will.message.Topic, now)
}

func decodeWill(v []byte, now clock) (w savedWill, err error) {
	d, err := decode(v)
	if err != nil {
		return w, err
	}
	w.will = new(will)
	flags := d.Byte()
	w.will.delay = readDuration(d, time.Second)
	if flags&willExpires != 0 {
		w.will.expiry = mqtt.Some(uint32(d.Uint()))
	}
	if w.away = flags&willDue != 0; w.away {
		w.due = readInstant(d)
	}
	return w, readMessage(d, &w.will.message, now)
}

func appendSubscription(b []byte, filter string, sub *subscription) []byte {
	var flags byte
	if sub.noLocal {
		flags |= subscriptionNoLocal
	}
	if sub.retainAsPublished {
		flags |= subscriptionRetainAsPublished
	}
	b = append(b, valueForm, flags, sub.qos)
	b = binary.AppendUvarint(b, uint64(sub.id))
	return store.AppendString(b, filter)
}

func decodeSubscription(v []byte) (filter string, sub subscription, err error) {
	d, err := decode(v)
	if err != nil {
		return "", sub, err
	}
	flags := d.Byte()
	sub.noLocal, sub.retainAsPublished = flags&subscriptionNoLocal != 0, flags&subscriptionRetainAsPublished != 0
	sub.qos, sub.id, filter = d.Byte(), uint32(d.Uint()), d.String()
	if sub.qos > 2 {
		return "", sub, store.ErrValue
	}
	return filter, sub, d.Err()
}

func receivedValue(since uint64) []byte {
	return binary.AppendUvarint([]byte{valueForm}, since)
}

func decodeReceived(v []byte) (since uint64, err error) {
	d, err := decode(v)
	if err != nil {
		return 0, err
	}
	since = d.Uint()
	return since, d.Err()
}

func reservedValue(number uint64) []byte {
	return binary.AppendUvarint([]byte{valueForm}, number)
}

func decodeReserved(v []byte) (uint64, error) { return decodeReceived(v) }
