package embedded

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// withWill is a CONNECT with a will below w, of a session that lasts for some seconds.
func withWill(delay, expiry uint32, clean bool) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.CleanStart, c.HasWill = clean, true
		c.Will = mqtt.Will{Topic: []byte("w/x"), Payload: []byte("lost")}
		c.Will.Properties.Delay = mqtt.Some(delay)
		c.Properties.SessionExpiry = mqtt.Some(expiry)
	}
}

// expires is a DISCONNECT with another session expiry.
func expires(code mqtt.Code, seconds uint32) *mqtt.Disconnect {
	d := &mqtt.Disconnect{Code: code}
	d.Properties.SessionExpiry = mqtt.Some(seconds)
	return d
}

// A will is published when its delay has passed or the session ends, whichever is first,
// and a DISCONNECT may change when the session ends [MQTT-3.1.2-8] [MQTT-3.1.3-9].
func TestWillAndSessionEnd(t *testing.T) {
	for _, c := range []struct {
		name          string
		delay, expiry uint32
		leave         *mqtt.Disconnect // nil: the connection is lost
		after         time.Duration
	}{
		{"delay", 10, 60, nil, 10 * time.Second},
		{"session", 60, 10, nil, 10 * time.Second},
		{"same time", 10, 10, nil, 10 * time.Second},
		{"no delay", 0, 60, nil, 0},
		{"no session", 60, 0, nil, 0},
		{"for ever", 10, 0xFFFFFFFF, nil, 10 * time.Second},
		{"told to", 10, 60, &mqtt.Disconnect{Code: mqtt.CodeDisconnectWithWill}, 10 * time.Second},
		{"told to, session ends", 10, 60, expires(mqtt.CodeDisconnectWithWill, 0), 0},
		{"told to, session ends earlier", 60, 60, expires(mqtt.CodeDisconnectWithWill, 5), 5 * time.Second},
		{"told to, session lasts longer", 60, 10, expires(mqtt.CodeDisconnectWithWill, 0xFFFFFFFF), time.Minute},
		{"from none to some", 60, 0, expires(mqtt.CodeDisconnectWithWill, 60), 0}, // a protocol error
	} {
		inBubble(t, func(t *testing.T, b *Broker) {
			watcher := connected(t, b, "watcher", true)
			watcher.subscribe("w/#", 0)
			p := piped(t, b, mqtt.V5, "c", withWill(c.delay, c.expiry, true))
			if c.leave == nil {
				p.conn.Close()
			} else {
				p.send(c.leave)
				p.untilClosed()
			}
			if c.after > 0 {
				time.Sleep(c.after - time.Millisecond)
				synctest.Wait()
				if events := watcher.take(); len(events) > 0 {
					t.Errorf("%s: published too early", c.name)
				}
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			if n := len(watcher.take()); n != 1 {
				t.Errorf("%s: published %d times", c.name, n)
			}
			time.Sleep(time.Hour)
			watcher.quiet()
		}, func(o *Options) { o.SessionExpiryMax = 0 })
	}
}

// The connection that is taken over is told [MQTT-3.1.4-3], and its will is published
// unless it waits for a session that goes on. A session that ends with its connection does
// not go on, whatever the new one asks for.
func TestWillOfTakenOver(t *testing.T) {
	for _, c := range []struct {
		name                     string
		delay, expiry            uint32
		clean, published, resume bool
	}{
		{"no delay", 0, 60, false, true, true},
		{"no delay, clean start", 0, 60, true, true, false},
		{"delay", 10, 60, false, false, true},
		{"delay, clean start", 10, 60, true, true, false},
		{"delay, session at its end", 10, 0, false, true, false},
	} {
		inBubble(t, func(t *testing.T, b *Broker) {
			watcher := connected(t, b, "watcher", true)
			watcher.subscribe("w/#", 0)
			old := piped(t, b, mqtt.V5, "c", withWill(c.delay, c.expiry, true))
			p := pipe(t, b, mqtt.V5)
			again := &mqtt.Connect{ClientID: []byte("c"), CleanStart: c.clean}
			again.Properties.SessionExpiry = mqtt.Some(uint32(60))
			p.send(again)
			if got := expect[*mqtt.Connack](p).SessionPresent; got != c.resume {
				t.Errorf("%s: session present %v", c.name, got)
			}
			old.disconnected(mqtt.CodeTakenOver)
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := len(watcher.take()); n > 0 != c.published {
				t.Errorf("%s: published %d times", c.name, n)
			}
		})
	}
}

// What both sides have of QoS 2 exchanges goes on after a reconnection, in order, as often
// as that happens [MQTT-4.4.0-1] [MQTT-4.6.0-1], also within a smaller window.
func TestBothDirectionsGoOn(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		from := connected(t, b, "from", true)
		d := connected(t, b, "d", true)
		d.subscribe("up", 2)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "down")
		for _, payload := range []string{"a", "b", "c", "d"} {
			from.publish("down", payload, 2, false)
		}
		b.Flush()
		var ids []uint16
		for _, payload := range []string{"a", "b", "c", "d"} {
			ids = append(ids, p.gets(payload, 2).PacketID)
		}
		up := &mqtt.Publish{Topic: []byte("up"), Payload: []byte("1"), QoS: 2, PacketID: 70}
		p.send(up, &mqtt.Pubrec{PacketID: ids[0]}, &mqtt.Pubrec{PacketID: ids[1]})
		expect[*mqtt.Pubrec](p)
		expect[*mqtt.Pubrel](p)
		expect[*mqtt.Pubrel](p)
		up.DUP = true
		for round := range 3 {
			p.conn.Close()
			p = login(t, b, v, "c", stay, func(c *mqtt.Connect) { c.Properties.ReceiveMaximum = 3 })
			for _, id := range ids[:2] {
				if rel := expect[*mqtt.Pubrel](p); rel.PacketID != id {
					t.Errorf("PUBREL %d, want %d", rel.PacketID, id)
				}
			}
			if m := p.gets("c", 2); m.PacketID != ids[2] || !m.DUP {
				t.Errorf("id %d, DUP %v", m.PacketID, m.DUP)
			}
			if v < mqtt.V5 {
				p.gets("d", 2)
			}
			p.quiet()
			if round < 2 {
				p.send(up)
				expect[*mqtt.Pubrec](p)
			}
		}
		p.send(&mqtt.Pubcomp{PacketID: ids[0]}, &mqtt.Pubcomp{PacketID: ids[1]})
		if v == mqtt.V5 {
			if m := p.gets("d", 2); m.PacketID != ids[3] || !m.DUP {
				t.Errorf("id %d, DUP %v", m.PacketID, m.DUP)
			}
		}
		p.send(&mqtt.Pubrel{PacketID: 70})
		if comp := expect[*mqtt.Pubcomp](p); comp.PacketID != 70 || comp.Code.Failed() {
			t.Errorf("PUBCOMP %+v", comp)
		}
		d.ack(d.delivered("1", 2))
		d.quiet()
	})
}

// A SUBSCRIBE with a filter that is there replaces it with all its options
// [MQTT-3.8.4-3]; overlapping filters of one SUBSCRIBE each get the retained messages
// [MQTT-3.3.1-9], and a message comes with the identifiers of all [MQTT-3.3.4-4].
func TestSubscriptionReplaced(t *testing.T) {
	b := serve(t)
	from := connected(t, b, "from", true)
	from.publish("a/b", "kept", 0, true)
	p := login(t, b, mqtt.V5, "c")
	subscribe := func(id uint32, handling mqtt.RetainHandling, filters ...string) {
		s := &mqtt.Subscribe{PacketID: 1}
		s.Properties.SubscriptionID = id
		for _, f := range filters {
			s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f), RetainHandling: handling})
		}
		p.send(s)
		expect[*mqtt.Suback](p)
	}
	comes := func(payload string, ids ...uint32) {
		t.Helper()
		got := p.gets(payload, 0).Properties.SubscriptionIDs
		if slices.Sort(got); !slices.Equal(got, ids) {
			t.Errorf("%q has the identifiers %v, want %v", payload, got, ids)
		}
	}
	subscribe(1, mqtt.RetainOnSubscribe, "a/b", "a/+")
	comes("kept", 1)
	comes("kept", 1)
	subscribe(2, mqtt.RetainOnSubscribe, "a/b")
	comes("kept", 2)
	subscribe(3, mqtt.RetainOnNewSubscribe, "a/+", "#") // only the second is new
	comes("kept", 3)
	from.publish("a/b", "x", 0, false)
	b.Flush()
	comes("x", 2, 3, 3)
	subscribe(0, mqtt.RetainNever, "a/+")
	from.publish("a/b", "x", 0, false)
	b.Flush()
	comes("x", 2, 3)
	p.quiet()
}

// After UNSUBACK nothing new comes, and what was sent or queued before is completed
// [MQTT-3.10.4-2] [MQTT-3.10.4-3], also after a reconnection.
func TestUnsubscribeInFlight(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, func(o *Options) { o.MaxInflightMessages = 1 })
		from := connected(t, b, "from", true)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		from.publish("t", "1", 2, false)
		from.publish("t", "2", 1, false)
		b.Flush()
		id := p.gets("1", 2).PacketID
		p.send(&mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("t")}})
		expect[*mqtt.Unsuback](p)
		from.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("3"), QoS: 1})
		p.send(&mqtt.Pubrec{PacketID: id})
		expect[*mqtt.Pubrel](p)
		p.conn.Close()
		p = login(t, b, v, "c", stay)
		expect[*mqtt.Pubrel](p)
		p.send(&mqtt.Pubcomp{PacketID: id})
		p.send(&mqtt.Puback{PacketID: p.gets("2", 1).PacketID})
		p.quiet()
	})
}

// Response information is not offered, whoever asks [MQTT-3.1.2-28].
func TestRequestResponseInformation(t *testing.T) {
	b := serve(t)
	for _, ask := range []bool{false, true} {
		p := login(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.Properties.RequestResponse = mqtt.Some(ask) })
		if got := p.connack.Properties.ResponseInformation; got != nil {
			t.Errorf("asked %v: response information %q", ask, got)
		}
	}
}
