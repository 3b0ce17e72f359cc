package embedded

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// goldenClock is when the golden values were written.
var goldenClock = clock{now: time.Hour, wall: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}

func goldenMessage() *message {
	m := &message{
		Message: broker.Message{Topic: "a/b", Payload: []byte("payload"), QoS: 2, Retain: true},
		from:    "from", expires: goldenClock.now + 90*time.Second,
		properties: &mqtt.PublishProperties{
			PayloadFormat: mqtt.Some(byte(1)), ResponseTopic: []byte("r"), CorrelationData: []byte{0, 1}, ContentType: []byte{},
			User: []mqtt.UserProperty{{Name: []byte("n"), Value: []byte("v")}, {Name: []byte("n"), Value: []byte{}}},
		},
	}
	m.Expires = goldenClock.wall.Add(90 * time.Second)
	m.weigh()
	return m
}

const goldenBody = "7f0203612f620466726f6d90bf05808ce9ef9f34010172020001000201" + "6e0176016e00077061796c6f6164"

// The values on disk are read by later releases: what is here never changes.
func TestValues(t *testing.T) {
	m := goldenMessage()
	plain := &message{Message: broker.Message{Topic: "t", Payload: []byte{}}}
	session := savedSession{flags: sessionDevice, since: 300, will: 5, expiry: time.Hour, window: 20, mount: "m/", due: in(time.Minute, goldenClock.wall)}
	lasting := savedSession{flags: sessionConnected | sessionPersisted, since: 1, expiry: forever}
	owned := savedSession{since: 1, expiry: 0, owner: &broker.Principal{User: "user", Identity: "id"}}
	whose := &message{Message: broker.Message{Topic: "t", Payload: []byte{}}, shared: &shared{origin: &origin{user: "user"}}}
	nobodys := &message{Message: broker.Message{Topic: "t", Payload: []byte{}}, shared: &shared{origin: &origin{}}}
	w := savedWill{will: &will{message: *m, expiry: mqtt.Some(uint32(7)), delay: time.Minute}, away: true, due: in(time.Second, goldenClock.wall)}
	sub := subscription{id: 200, qos: 1, noLocal: true, retainAsPublished: true}
	inline := delivery{message: m, rare: &rare{ids: []uint32{1, 300}}, id: 7, qos: 1, retain: true}
	refers := delivery{qos: 2}
	for _, c := range []struct {
		name   string
		value  []byte
		golden string
		read   func(v []byte) (any, error)
		want   any
	}{
		{"session", appendSession(nil, &session), "0102ac020581dddb0114026d2fe0d403808ce9ef9f34", func(v []byte) (any, error) { return decodeSession(v) }, session},
		{"session forever", appendSession(nil, &lasting), "01050100000000", func(v []byte) (any, error) { return decodeSession(v) }, lasting},
		{"will", appendWill(nil, &w, goldenClock), "01033c07e807808ce9ef9f34" + goldenBody, func(v []byte) (any, error) { return decodeWill(v, goldenClock) }, w},
		{"subscription", appendSubscription(nil, "f/#", &sub), "010301c80103662f23", func(v []byte) (any, error) {
			filter, sub, err := decodeSubscription(v)
			if filter != "f/#" && err == nil {
				t.Errorf("filter %q", filter)
			}
			return sub, err
		}, sub},
		{"received", receivedValue(300), "01ac02", func(v []byte) (any, error) { return decodeReceived(v) }, uint64(300)},
		{"delivery", appendDelivery(nil, &inline, 0, goldenClock), "010101070201ac02" + goldenBody, func(v []byte) (any, error) {
			d, number, err := decodeDelivery(v, goldenClock)
			if number != 0 {
				t.Errorf("message %d", number)
			}
			return d, err
		}, inline},
		{"delivery of a message elsewhere", appendDelivery(nil, &refers, 300, goldenClock), "0102020000ac02", func(v []byte) (any, error) {
			d, number, err := decodeDelivery(v, goldenClock)
			if number != 300 && err == nil {
				t.Errorf("message %d", number)
			}
			return d, err
		}, refers},
		{"flight", appendFlight(nil, &delivery{id: 300, released: true}), "0101ac02", func(v []byte) (any, error) {
			id, released, err := decodeFlight(v)
			return delivery{id: id, released: released}, err
		}, delivery{id: 300, released: true}},
		{"message", appendShared(nil, plain, goldenClock), "0100000174" + "0000", func(v []byte) (any, error) { return decodeShared(v, goldenClock) }, plain},
		{"retained", appendRetained(nil, plain, 0, goldenClock), "01000000" + "000000", func(v []byte) (any, error) {
			m, number, err := decodeRetained(v, goldenClock)
			if number == 0 && err == nil {
				m.Topic = "t" // from the key
			}
			return m, err
		}, plain},
		{"session of somebody", appendSession(nil, &owned), "0208010001000000" + "00" + "0475736572" + "0269" + "64", func(v []byte) (any, error) { return decodeSession(v) }, owned},
		{"message of somebody", appendShared(nil, whose, goldenClock), "0280000174" + "00" + "0475736572" + "00", func(v []byte) (any, error) { return decodeShared(v, goldenClock) }, whose},
		{"retained of nobody", appendRetained(nil, nobodys, 0, goldenClock), "02008000" + "0000" + "00" + "00", func(v []byte) (any, error) {
			m, _, err := decodeRetained(v, goldenClock)
			if err == nil {
				m.Topic = "t"
			}
			return m, err
		}, nobodys},
		{"delivery of somebody", appendDelivery(nil, &delivery{message: whose, qos: 1}, 0, goldenClock), "0200010000" + "80000174" + "00" + "0475736572" + "00", func(v []byte) (any, error) {
			d, _, err := decodeDelivery(v, goldenClock)
			return d, err
		}, delivery{message: whose, qos: 1}},
		{"will of somebody", appendWill(nil, &savedWill{will: &will{message: *whose}}, goldenClock), "020000" + "80000174" + "00" + "0475736572" + "00", func(v []byte) (any, error) {
			w, err := decodeWill(v, goldenClock)
			return w, err
		}, savedWill{will: &will{message: *whose}}},
		{"retained elsewhere", appendRetained(nil, nil, 300, goldenClock), "01ac02", func(v []byte) (any, error) {
			_, number, err := decodeRetained(v, goldenClock)
			return number, err
		}, uint64(300)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hex.EncodeToString(c.value); got != c.golden {
				t.Errorf("written as\n%s, want\n%s", got, c.golden)
			}
			if got, err := c.read(c.value); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("read %+v, %v, want %+v", got, err, c.want)
			}
			for n := range c.value {
				if _, err := c.read(c.value[:n]); !errors.Is(err, store.ErrValue) {
					t.Errorf("%d of %d octets: %v", n, len(c.value), err)
				}
			}
			if _, err := c.read(append([]byte{3}, c.value[1:]...)); err == nil || errors.Is(err, store.ErrValue) {
				t.Errorf("version 3: %v", err)
			}
		})
	}
}

// Time that the process was not there counts, unless a clock was not set.
func TestInstants(t *testing.T) {
	now := goldenClock.wall
	for _, c := range []struct{ written, read time.Time }{
		{now, now.Add(time.Minute)},
		{time.Unix(3600, 0), now},
		{now, time.Unix(3600, 0)},
	} {
		want := time.Hour
		if c.written.Equal(now) && c.read.After(now) {
			want -= time.Minute
		}
		d := store.Decode(appendInstant(nil, in(time.Hour, c.written)))
		if got := readInstant(d).after(c.read); got != want || d.Err() != nil {
			t.Errorf("an hour at %v: %v at %v, want %v", c.written, got, c.read, want)
		}
	}
}

// Whatever stands on disk, reading it ends, with a value that is written as one that is
// read as the same, or with an error.
func FuzzValues(f *testing.F) {
	f.Add(appendShared(nil, goldenMessage(), goldenClock))
	f.Add(appendDelivery(nil, &delivery{message: goldenMessage(), rare: &rare{ids: []uint32{1}}}, 0, goldenClock))
	f.Add(appendSession(nil, &savedSession{mount: "m/"}))
	f.Add(appendWill(nil, &savedWill{will: new(will), away: true}, goldenClock))
	f.Add([]byte("\x012\x000\x00\x00")) // refers to no message
	f.Add(appendSession(nil, &savedSession{owner: &broker.Principal{User: "u", Identity: "i"}}))
	f.Fuzz(func(t *testing.T, v []byte) {
		if m, err := decodeShared(v, goldenClock); err == nil {
			again, err := decodeShared(appendShared(nil, m, goldenClock), goldenClock)
			if err != nil || again.Topic != m.Topic || string(again.Payload) != string(m.Payload) || again.QoS != m.QoS || again.expires != m.expires || !reflect.DeepEqual(again.properties, m.properties) {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
		if d, number, err := decodeDelivery(v, goldenClock); err == nil {
			again, n, err := decodeDelivery(appendDelivery(nil, &d, number, goldenClock), goldenClock)
			if err != nil || n != number || again.id != d.id || again.qos != d.qos || again.retain != d.retain || !reflect.DeepEqual(again.rare, d.rare) {
				t.Fatalf("%+v became %+v, %v", d, again, err)
			}
		}
		if s, err := decodeSession(v); err == nil {
			if again, err := decodeSession(appendSession(nil, &s)); err != nil || !reflect.DeepEqual(again, s) {
				t.Fatalf("%+v became %+v, %v", s, again, err)
			}
		}
		if w, err := decodeWill(v, goldenClock); err == nil {
			if again, err := decodeWill(appendWill(nil, &w, goldenClock), goldenClock); err != nil || again.away != w.away || again.will.delay != w.will.delay || again.will.expiry != w.will.expiry {
				t.Fatalf("%+v became %+v, %v", w, again, err)
			}
		}
		_, _, _ = decodeSubscription(v)
		_, _, _ = decodeFlight(v)
		_, _, _ = decodeRetained(v, goldenClock)
		_, _ = decodeReceived(v)
	})
}
