package upstream

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"mqttsn-gateway/broker"
)

// The forms on disk: a change that does not read these any more loses messages.
func TestValues(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	message := spooled{at: at, will: true, Request: broker.Request{
		Topic: "a/b", Payload: []byte("on"), QoS: 1, Retain: true,
		User: []broker.UserProperty{{Name: []byte("n"), Value: []byte("v")}},
	}}
	known := knowledge{clean: true, persist: true, reached: true, unsure: true, ended: at}
	principal := knowledge{clean: true, as: broker.Principal{User: "u", Identity: "id"}}
	for _, v := range []struct {
		name string
		got  []byte
		want string
	}{
		{"message", message.value(), "010dfbd095ffbc3103612f62026f6e016e0176"},
		{"released", releasedValue, "0110"},
		{"kept", appendKept(nil, 2, &broker.Message{Topic: "t", Payload: []byte("x"), Expires: at}), "0102fbd095ffbc3101740178"},
		{"session", known.sessionValue(), "010ffbd095ffbc31"},
		{"session of a user", principal.sessionValue(), "010100017502" + "6964"},
		{"filter", appendFilter(nil, "a/#", 1), "010103612f23"},
		{"count", appendCount(nil, 300), "01ac02"},
		{"dead letter", appendDeadLetter(nil, 0x99, at, []byte{0x32, 0}), "0199fbd095ffbc31023200"},
	} {
		if got := hex.EncodeToString(v.got); got != v.want {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
	}
	got, err := readSpooled(message.value())
	message.Op = broker.Publish
	if err != nil || !reflect.DeepEqual(got, message) {
		t.Errorf("read %+v, %v", got, err)
	}
	if k, err := readKnowledge(known.sessionValue()); err != nil || k != known {
		t.Errorf("read %+v, %v", k, err)
	}
	if k, err := readKnowledge(principal.sessionValue()); err != nil || k != principal {
		t.Errorf("read %+v, %v", k, err)
	}
}

// Every other value is refused, and none is read as something that it does not say.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"010dfbd095ffbc3103612f62026f6e016e0176", "0110", "0102fbd095ffbc3101740178", "010ffbd095ffbc31", "0101000175026964", "010103612f23", "01ac02", "02"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := readSpooled(b); err == nil && !m.released {
			again, err := readSpooled(m.value())
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%+v is read as %+v, %v", m, again, err)
			}
		}
		if m, err := readKept(b); err == nil {
			again, err := readKept(appendKept(nil, m.QoS, m))
			if err != nil || again.Topic != m.Topic || !bytes.Equal(again.Payload, m.Payload) || !again.Expires.Equal(m.Expires) {
				t.Errorf("%+v is read as %+v, %v", m, again, err)
			}
		}
		if k, err := readKnowledge(b); err == nil {
			if again, err := readKnowledge(k.sessionValue()); err != nil || again != k {
				t.Errorf("%+v is read as %+v, %v", k, again, err)
			}
		}
		_, _, _ = readFilter(b)
		_, _ = readCount(b)
	})
}
