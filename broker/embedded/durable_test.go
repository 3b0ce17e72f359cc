package embedded

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// atRest runs a test at a time at which clocks are set.
func atRest(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(neverSet.Add(time.Hour)))
		f(t)
	})
}

// restart is a broker with what a crash leaves, after some time.
func restart(t *testing.T, b *Broker, away time.Duration) *Broker {
	t.Helper()
	left := memory(b.store).Crash()
	time.Sleep(away)
	again := newStoreBroker(t, left)
	synctest.Wait()
	again.expire()
	return again
}

// wait lets time pass, and does what is due.
func wait(b *Broker, d time.Duration) {
	time.Sleep(d)
	b.expire()
}

// Time counts while nobody is there: for sessions, for messages that wait and for retained
// ones.
func TestExpiryAcrossRestart(t *testing.T) {
	atRest(t, func(t *testing.T) {
		b := newStoreBroker(t, store.NewMemory(), func(o *Options) { o.SessionExpiryMax = time.Hour })
		for _, id := range []string{"away", "here"} {
			d := connected(t, b, id, false)
			d.subscribe("t", 1)
			if id == "away" {
				d.do(broker.Request{Op: broker.Disconnect})
			}
		}
		for _, expiry := range []time.Duration{time.Minute, 2 * time.Hour} {
			p := newPublication()
			p.Topic, p.QoS, p.Retain, p.Payload = "t", 1, true, []byte(expiry.String())
			p.expireAt(b, b.now()+expiry)
			r, _ := b.topics.route("t")
			b.publish(p, r)
			p.release()
		}
		b = restart(t, b, 50*time.Minute)
		wait(b, time.Second)
		if got := payloads(b, "away"); fmt.Sprint(got) != "[2h0m0s]" {
			t.Errorf("after 50 minutes there is %v", got)
		}
		if st := b.Stats(); st.Dropped["expired"] != 2 || st.RetainedMessages != 1 || st.Expired != 0 {
			t.Errorf("after 50 minutes: %v dropped, %d retained, %d sessions expired", st.Dropped, st.RetainedMessages, st.Expired)
		}
		wait(b, 11*time.Minute)
		if st := b.Stats(); st.Expired != 1 || b.sessions["away"] != nil || st.Dropped["session_ended"] != 1 {
			t.Errorf("after 61 minutes: %d sessions expired, %v dropped", st.Expired, st.Dropped)
		}
		// Nobody knows when the other client was lost: its time begins with the restart.
		wait(b, 50*time.Minute)
		if b.sessions["here"] != nil {
			t.Error("the session of a client that was connected did not end")
		}
		tidy(t, b)
		b = restart(t, b, time.Hour)
		if st := b.Stats(); st.RetainedMessages != 0 || st.Sessions != 0 {
			t.Errorf("at the end: %d retained, %d sessions", st.RetainedMessages, st.Sessions)
		}
		tidy(t, b)
	})
}

// The will of a client that was connected is published if it does not come back, and one
// that was due is published once.
func TestWillsAcrossRestart(t *testing.T) {
	atRest(t, func(t *testing.T) {
		b := newStoreBroker(t, store.NewMemory())
		will := func(id string) *broker.Message {
			return &broker.Message{Topic: "will", Payload: []byte(id), QoS: 1}
		}
		sub := connected(t, b, "sub", false)
		sub.subscribe("will", 1)
		for _, id := range []string{"back", "gone", "clean", "changed", "left"} {
			d := open(t, b, id)
			d.do(broker.Request{Op: broker.Connect, Will: will(id)})
			d.answer()
			switch id {
			case "changed":
				d.do(broker.Request{Op: broker.SetWill, Will: will("new")})
			case "left":
				d.do(broker.Request{Op: broker.Disconnect})
			}
		}
		b = restart(t, b, time.Hour)
		wait(b, 30*time.Second)
		back := open(t, b, "back")
		back.do(broker.Request{Op: broker.Connect, Will: will("back again")})
		back.answer()
		connected(t, b, "clean", true)
		if got := payloads(b, "sub"); fmt.Sprint(got) != "[clean]" {
			t.Errorf("before the time has come: wills of %v, want that of a session that ended", got)
		}
		wait(b, 31*time.Second)
		if got := payloads(b, "sub"); len(got) != 3 || !strings.Contains(fmt.Sprint(got), "gone") || !strings.Contains(fmt.Sprint(got), "new") {
			t.Errorf("wills of %v, want clean, gone and new", got)
		}
		b = restart(t, b, 0)
		wait(b, 2*time.Minute)
		if got := payloads(b, "sub"); len(got) != 4 {
			t.Errorf("after another restart: wills of %v, want one more", got)
		}
		tidy(t, b)
	})
}

// A broker that shuts down leaves the wills of its clients to the next one, which publishes
// those of clients that do not come back.
func TestWillsAcrossShutdown(t *testing.T) {
	st := store.NewMemory()
	o := DefaultOptions()
	o.Listeners = listeners("127.0.0.1:0")
	b, err := New(o, st, silent())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, b)
	connected(t, b, "sub", false).subscribe("will", 1)
	for _, id := range []string{"back", "gone"} {
		login(t, b, mqtt.V5, id, stay, func(c *mqtt.Connect) {
			c.HasWill = true
			c.Will = mqtt.Will{Topic: []byte("will"), Payload: []byte(id), QoS: 1}
		})
	}
	stop()
	b = serveStore(t, st)
	login(t, b, mqtt.V5, "back", stay)
	if got := payloads(b, "sub"); got != nil {
		t.Fatalf("wills of %v at the restart", got)
	}
	late := newStoreBroker(t, st.Crash())
	late.start = late.start.Add(-2 * restartGrace)
	late.expire()
	if got := payloads(late, "sub"); fmt.Sprint(got) != "[gone]" {
		t.Errorf("wills of %v, want that of who has not come back", got)
	}
}

// A sleeper's session survives a restart, and ends as it would have: with its connection.
func TestPersist(t *testing.T) {
	atRest(t, func(t *testing.T) {
		b := newStoreBroker(t, store.NewMemory())
		var tokens [3]broker.Token
		for i, id := range []string{"resumed", "other", "lost"} {
			d := connected(t, b, id, true)
			d.subscribe("t", 1)
			connected(t, b, "from", true).publish("t", id, 1, false)
			tokens[i] = d.delivered(id, 1)
			d.do(broker.Request{Op: broker.Persist})
		}
		connected(t, b, "from", true).publish("t", "last", 1, false)
		b = restart(t, b, time.Hour)
		if n := b.Stats().Sessions; n != 3 {
			t.Fatalf("%d sessions, want 3", n)
		}
		d := open(t, b, "resumed")
		d.do(broker.Request{Op: broker.Connect})
		if !d.answer().SessionPresent {
			t.Error("the sleeper's session was not there")
		}
		if token := d.delivered("resumed", 1); token != tokens[0] {
			t.Errorf("token %d, want %d", token, tokens[0])
		}
		if s := b.sessions["other"]; s == nil || s.endsWith(new(client)) != true {
			t.Error("an MQTT client would go on with a sleeper's session")
		}
		wait(b, 2*time.Minute)
		if b.sessions["lost"] != nil || b.sessions["resumed"] == nil {
			t.Error("who does not come back is still there, or who has is not")
		}
		d.do(broker.Request{Op: broker.Disconnect})
		if b.sessions["resumed"] != nil {
			t.Error("the session did not end with its connection")
		}
		tidy(t, b)
	})
}

// A store that fills up refuses what is new, and nothing that was accepted.
func TestStoreLevels(t *testing.T) {
	st := store.NewMemory()
	b := newStoreBroker(t, st)
	d := connected(t, b, "d", false)
	d.subscribe("t", 1)
	clean := connected(t, b, "clean", true)
	clean.subscribe("u", 1)
	from := connected(t, b, "from", true)
	from.publish("t", "before", 1, false)
	first := d.delivered("before", 1)

	st.SetLevel(store.Crowded)
	late := open(t, b, "late")
	late.do(broker.Request{Op: broker.Connect})
	if ev := late.next(); ev.Code != broker.CodeQuota {
		t.Errorf("a new session in a crowded store: %v", ev.Code)
	}
	connected(t, b, "late", true)
	connected(t, b, "d2", true).do(broker.Request{Op: broker.Persist})
	from.publish("t", "crowded", 1, false)
	second := d.delivered("crowded", 1)

	st.SetLevel(store.Full)
	for _, r := range []broker.Request{
		{Topic: "t", QoS: 1}, {Topic: "t", QoS: 2}, {Topic: "r", QoS: 1, Retain: true, Payload: []byte("x")},
	} {
		r.Op = broker.Publish
		r.With = []store.Op{store.Put(store.SessionExchange, "from", 1, nil)}
		from.do(r)
		if ev := from.next(); ev.Code != broker.CodeQuota {
			t.Errorf("%+v in a full store: %v", r, ev.Code)
		}
	}
	if _, err := st.Read(store.Key{Space: store.SessionExchange, Client: "from", Number: 1}, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what a refused message has carried along is there: %v", err)
	}
	from.publish("u", "not stored", 1, false)
	clean.delivered("not stored", 1)
	from.publish("u", "not retained", 0, true)
	clean.delivered("not retained", 0)
	d.ack(first)
	d.ack(second)
	if s := b.Stats(); s.Dropped["store_full"] != 4 || s.Denied["store"] != 1 || s.RetainedMessages != 0 || s.QueuedMessages != 1 {
		t.Errorf("counted %d dropped, %d denied, %d retained, %d queued", s.Dropped["store_full"], s.Denied["store"], s.RetainedMessages, s.QueuedMessages)
	}
	st.SetLevel(store.Normal)
	from.publish("t", "after", 1, false)
	d.delivered("after", 1)
}

// An MQTT 3.1.1 publisher cannot be told that the store is full: its connection ends, and
// it has the message still.
func TestStoreFullForOldClients(t *testing.T) {
	st := store.NewMemory()
	b := serveStore(t, st)
	connected(t, b, "d", false).subscribe("t", 1)
	st.SetLevel(store.Full)
	for qos := mqtt.QoS1; qos <= mqtt.QoS2; qos++ {
		p := login(t, b, mqtt.V311, "p")
		p.send(&mqtt.Publish{Topic: []byte("t"), QoS: qos, PacketID: 1})
		p.closed()
	}
}

// Who cannot read what is there does not start without it.
func TestDamagedRecords(t *testing.T) {
	for _, space := range []store.Space{
		store.MQTTSession, store.MQTTSubscription, store.MQTTDelivery, store.MQTTFlight, store.MQTTReceived, store.MQTTMessage, store.MQTTRetained,
	} {
		st := store.NewMemory()
		st.Apply(store.Put(space, "client", 7, []byte{valueForm}))
		o := DefaultOptions()
		o.Listeners = nil
		_, err := New(o, st, silent())
		for _, part := range []string{spaceNames[space], `"client"`, "7"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("a record %s without a value: %v, want one that names %s", spaceNames[space], err, part)
			}
		}
	}
	// One that refers to a message that is not there.
	st := store.NewMemory()
	st.Apply(store.Put(store.MQTTDelivery, "client", 7, appendDelivery(nil, &delivery{qos: 1}, 3, goldenClock)))
	if _, err := New(Options{}, st, silent()); err == nil {
		t.Error("a delivery of nothing was taken")
	}
}

// What several do at the same time is in the store as it is in memory.
func TestDurableConcurrently(t *testing.T) {
	st := store.NewMemory()
	b := newStoreBroker(t, st)
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() { // publishes
			c := b.Open(fmt.Sprint("pub", i), new(sink))
			_ = c.Do(&broker.Request{Op: broker.Connect, CleanSession: true})
			for n := range 300 {
				_ = c.Do(&broker.Request{
					Op: broker.Publish, Topic: fmt.Sprint("t/", n%3), QoS: byte(n % 3), Retain: n%5 == 0, Payload: fmt.Append(nil, i, n),
				})
			}
		})
		work.Go(func() { // subscribes, and comes and goes
			a := new(acking)
			a.Conn = b.Open(fmt.Sprint("sub", i%3), a) // two have the same id
			for n := range 60 {
				_ = a.Do(&broker.Request{
					Op: broker.Connect, CleanSession: n%7 == 6,
					Will: &broker.Message{Topic: "t/will", Payload: []byte("will"), QoS: 1, Retain: n%2 == 0},
				})
				_ = a.Do(&broker.Request{Op: broker.Subscribe, Topic: []string{"t/#", "t/1", "$share/g/t/+"}[n%3], QoS: 2})
				if n%7 == 6 {
					_ = a.Do(&broker.Request{Op: broker.Persist})
				}
				for range 20 {
					_ = a.Do(&broker.Request{Op: broker.Ack, Token: broker.Token(a.last.Load())})
				}
				_ = a.Do(&broker.Request{Op: []broker.Op{broker.Disconnect, broker.Abandon}[n%2]})
			}
		})
	}
	work.Wait()
	tidy(t, b)
	again := newStoreBroker(t, st.Crash())
	tidy(t, again)
	for _, id := range []string{"sub0", "sub1", "sub2"} {
		if got, want := payloads(again, id), payloads(b, id); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is to get\n%v, want\n%v", id, got, want)
		}
	}
	if got, want := again.Stats().RetainedMessages, b.Stats().RetainedMessages; got != want {
		t.Errorf("%d retained messages, want %d", got, want)
	}
}
