package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// recordedSessions are sessions with something in every field of every record.
var recordedSessions = []string{
	`durable
0s device CONNECT will duration=600
0s device WILLTOPIC w/dead qos=1 retain
0s device WILLMSG "gone, and not back"
0s device REGISTER msg=1 s/mine
0s device SUBSCRIBE msg=2 qos=2 s/temp
0s device SUBSCRIBE msg=3 qos=1 w/+
0s device SUBSCRIBE msg=4 short=ab
0s broker message w/1 "told"
0s device REGACK topic=3 msg=1
0s device PUBLISH topic=1 msg=77 qos=2 "open"
0s broker message #70000 s/temp "down" qos=2`,
	`durable
0s device CONNECT clean duration=60
0s broker message #5 ab "down" qos=2
0s device PUBREC msg=1
0s device DISCONNECT duration=65535`,
	`durable
0s device CONNECT duration=60
0s device DISCONNECT`,
	`durable
0s device CONNECT
86400s run`,
}

// recorded plays one of them.
func recorded(t testing.TB, text string) *scenario {
	var out strings.Builder
	sc := newScenario(&out)
	for line := range strings.SplitSeq(text, "\n") {
		if err := sc.line(line); err != nil || len(sc.wrong) > 0 {
			t.Fatal(line, err, sc.wrong)
		}
	}
	return sc
}

// listRecords writes records one by line: space, number, value in hex.
func listRecords(records map[store.Key][]byte) string {
	var keys []store.Key
	for k := range records {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, store.CompareKeys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%d %d %x\n", k.Space, k.Number, records[k])
	}
	return b.String()
}

// The values of version 1 stand on the disks of users: they are written as they always
// were, and mean what they meant. testdata/records.golden is never rewritten, only added to.
func TestGoldenRecords(t *testing.T) {
	const file = "testdata/records.golden"
	var got strings.Builder
	for i, text := range recordedSessions {
		sc := recorded(t, text)
		fmt.Fprintf(&got, "=== session %d\n%s%s", i, listRecords(sc.kept.store.Records()), outlineOf(sc.s, sc.s))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Error(difference(string(want), got.String()))
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(string(want), "=== "), "\n=== ") {
		st := store.NewMemory()
		var outline []string
		for line := range strings.SplitSeq(part, "\n") {
			var space, number uint64
			var value string
			if n, _ := fmt.Sscanf(line, "%d %d %s", &space, &number, &value); n < 3 {
				outline = append(outline, line)
				continue
			}
			b, err := hex.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			st.Apply(store.Put(store.Space(space), "dev", number, b))
		}
		s := loadOne(t, st)
		if got, want := outlineOf(s, s), strings.Join(outline[1:], "\n"); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: is read as\n%swant\n%s", outline[0], got, want)
		}
	}
}

// durableOptions are the defaults with a store.
func durableOptions() *Options {
	o := DefaultOptions()
	o.Durable = true
	return &o
}

func loadOne(t testing.TB, st store.Store) (s *Session) {
	err := Load(st, durableOptions(), scenarioStart, func(l *Session) error {
		s = l
		return nil
	})
	if err != nil || s == nil {
		t.Fatalf("%v, session %v", err, s)
	}
	return s
}

// A value that is cut off or has too much, or whose version is not known, is an error that
// names it; nothing that was changed makes Load panic.
func TestDamagedRecords(t *testing.T) {
	for _, text := range recordedSessions {
		sc := recorded(t, text)
		for k, value := range sc.kept.store.Records() {
			damaged := [][]byte{append(bytes.Clone(value), 0), append([]byte{2}, value[1:]...)}
			for n := range value {
				damaged = append(damaged, value[:n])
			}
			for _, v := range damaged {
				st := sc.kept.store.Crash()
				st.Apply(store.Put(k.Space, k.Client, k.Number, v))
				err := Load(st, durableOptions(), sc.now, func(*Session) error { return nil })
				name := fmt.Sprintf("(space %d, number %d)", k.Space, k.Number)
				if !errors.Is(err, store.ErrValue) || !strings.Contains(err.Error(), `"dev"`) || !strings.Contains(err.Error(), name) {
					t.Errorf("%v %x: %v", k, v, err)
				}
			}
			for i := range 8 * len(value) {
				v := bytes.Clone(value)
				v[i/8] ^= 1 << (i % 8)
				st := sc.kept.store.Crash()
				st.Apply(store.Put(k.Space, k.Client, k.Number, v))
				exercise(t, st, sc.now)
			}
		}
	}
}

// exercise loads what there is, and lets it do what a session does.
func exercise(t testing.TB, st store.Store, now time.Time) {
	err := Load(st, durableOptions(), now, func(s *Session) error {
		var fx Effects
		s.Resume(now, &fx)
		s.Broker(now, broker.Event{Kind: broker.Answered, Token: s.connect, SessionPresent: true}, &fx)
		for _, p := range []mqttsn.Packet{
			&mqttsn.Pingreq{ClientID: []byte("dev")}, &mqttsn.Publish{QoS: 2, TopicID: 1, MsgID: 77, Data: []byte("open")},
			&mqttsn.Pubrel{MsgID: 77}, &mqttsn.Register{TopicName: []byte("s/new")}, &mqttsn.Disconnect{HasDuration: true, Duration: 9},
			&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, CleanSession: true, ClientID: []byte("dev")},
		} {
			s.Packet(now, p, &fx)
			s.Broker(now, broker.Event{Kind: broker.Delivered, QoS: 2, Token: 70000, Message: &broker.Message{Topic: "s/temp"}}, &fx)
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrValue) {
		t.Error(err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, text := range recordedSessions {
		for k, value := range recorded(f, text).kept.store.Records() {
			f.Add(byte(k.Space), k.Number, value)
		}
	}
	sc := recorded(f, recordedSessions[0])
	f.Fuzz(func(t *testing.T, space byte, number uint64, value []byte) {
		st := sc.kept.store.Crash()
		st.Apply(store.Put(store.Space(1+space%5), "dev", number, value))
		exercise(t, st, sc.now)
	})
}

// Records of nobody are deleted; those of others are not touched, and errors end Load.
func TestLoad(t *testing.T) {
	st := store.NewMemory()
	for _, id := range []string{"b", "a"} {
		x := &bench{o: *durableOptions(), now: time.Now()}
		x.s = New(id, &x.o, 1)
		x.s.Packet(x.now, &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, ClientID: []byte(id)}, &x.fx)
		x.s.Broker(x.now, broker.Event{Kind: broker.Answered, Token: 1}, &x.fx)
		st.Apply(x.fx.Records...)
	}
	st.Apply(store.Put(store.SessionTopic, "nobody", 1, []byte("x")), store.Put(store.SessionHand, "nobody", 1, nil), store.Put(store.ClientPlace, "nobody", 0, nil))
	full := errors.New("full")
	if err := Load(st, durableOptions(), time.Now(), func(*Session) error { return full }); !errors.Is(err, full) {
		t.Errorf("add says %v", err)
	}
	if n := len(st.Records()); n != 5 {
		t.Errorf("%d records are left after an error, want all 5", n)
	}
	var ids []string
	err := Load(st, durableOptions(), time.Now(), func(s *Session) error {
		ids = append(ids, s.ID())
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{"a", "b"}) || len(st.Records()) != 3 {
		t.Errorf("%v: sessions %v, and %d records", err, ids, len(st.Records()))
	}
}

// What is owed has a bound.
func TestManyOwed(t *testing.T) {
	sc := recorded(t, recordedSessions[2])
	for id := range uint64(maxOwed + 3) {
		r := handRecord{token: broker.Token(id)}
		sc.kept.store.Apply(store.Put(store.SessionHand, "dev", id+1, r.append(nil)))
	}
	s := loadOne(t, sc.kept.store)
	var fx Effects
	s.Resume(sc.now, &fx)
	if len(s.kept.owed) != maxOwed || len(fx.Records) != 3 {
		t.Errorf("%d are owed, and %d records deleted", len(s.kept.owed), len(fx.Records))
	}
}
