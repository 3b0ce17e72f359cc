package embedded

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// takes is a CONNECT with a maximum packet size.
func takes(octets uint32) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = octets }
}

// disconnected expects a DISCONNECT with that code, whatever its reason string, and the
// end; before MQTT 5 just the end.
func (p *peer) disconnected(code mqtt.Code) {
	p.t.Helper()
	if p.version == mqtt.V5 {
		if gone := expect[*mqtt.Disconnect](p); gone.Code != code {
			p.t.Errorf("DISCONNECT %v %q, want %v", gone.Code, gone.Properties.ReasonString, code)
		}
	}
	p.closed()
}

// notLetIn connects and expects a CONNACK with that code, and the end.
func notLetIn(t *testing.T, b *Broker, v mqtt.Version, code mqtt.Code, change func(*mqtt.Connect)) {
	t.Helper()
	p := dial(t, b, v)
	c := &mqtt.Connect{CleanStart: true, ClientID: []byte("refused")}
	change(c)
	p.send(c)
	if ack := expect[*mqtt.Connack](p); ack.Code != code {
		t.Errorf("%v: CONNACK %v, want %v", v, ack.Code, code)
	}
	p.closed()
}

// A client that does not take the CONNACK, with the limits that it must know, is refused in
// the shortest way that it takes [MQTT-3.1.2-24].
func TestMaximumPacketSizeOfConnack(t *testing.T) {
	b := serve(t)
	for octets := uint32(1); octets < 40; octets++ {
		p := dial(t, b, mqtt.V5)
		c := &mqtt.Connect{CleanStart: true, ClientID: []byte("c")}
		c.Properties.MaximumPacketSize = octets
		p.send(c, &mqtt.Disconnect{})
		var got bytes.Buffer
		_, _ = got.ReadFrom(p.conn)
		want := ""
		switch {
		case octets >= 16:
			want = "\x20\x0E\x00\x00\x0B\x21\x03\xE8\x27\x00\x10\x00\x00\x22\x00\x0A"
		case octets >= 5:
			want = "\x20\x03\x00\x95\x00"
		}
		if got.String() != want {
			t.Errorf("%d octets: got %x, want %x", octets, got.Bytes(), want)
		}
	}
	// With an assigned client id it is longer.
	notLetIn(t, b, mqtt.V5, mqtt.CodePacketTooLarge, func(c *mqtt.Connect) {
		c.ClientID = nil
		takes(40)(c)
	})
	if n := b.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// The answer to a SUBSCRIBE or UNSUBSCRIBE that the client does not take ends the
// connection before anything is done.
func TestMaximumPacketSizeOfAnswers(t *testing.T) {
	b := serve(t)
	subscribe, unsubscribe := &mqtt.Subscribe{PacketID: 1}, &mqtt.Unsubscribe{PacketID: 1}
	for i := range 12 {
		f := fmt.Append(nil, "filter", i)
		subscribe.Subscriptions = append(subscribe.Subscriptions, mqtt.Subscription{Filter: f})
		unsubscribe.Filters = append(unsubscribe.Filters, f)
	}
	p := login(t, b, mqtt.V5, "c", takes(16), stay)
	all := subscribe.Subscriptions
	subscribe.Subscriptions = all[:11]
	p.send(subscribe)
	if ack := expect[*mqtt.Suback](p); len(ack.Codes) != 11 {
		t.Errorf("SUBACK %v", ack.Codes)
	}
	subscribe.Subscriptions = all
	p.send(subscribe)
	p.disconnected(mqtt.CodePacketTooLarge)
	if n := b.Stats().Subscriptions; n != 11 {
		t.Errorf("%d subscriptions, want 11", n)
	}
	p = login(t, b, mqtt.V5, "c", takes(16), stay)
	p.send(unsubscribe)
	p.disconnected(mqtt.CodePacketTooLarge)
	if n := b.Stats().Subscriptions; n != 11 {
		t.Errorf("%d subscriptions, want 11", n)
	}
	p = login(t, b, mqtt.V5, "c", takes(17), stay)
	p.send(unsubscribe)
	expect[*mqtt.Unsuback](p)
	if n := b.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions, want none", n)
	}
}

// Failures have a reason string, unless the client takes no packet of that size
// [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1]
// [MQTT-3.14.2-3], or does not want to know; then DISCONNECT still has one [MQTT-3.1.2-29].
func TestReasonStrings(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxTopicLevels = 2 })
	unasked := func(c *mqtt.Connect) { c.Properties.RequestProblem = mqtt.Some(false) }
	for _, c := range []struct {
		name             string
		change           func(*mqtt.Connect)
		acks, disconnect bool
	}{
		{"asked", func(c *mqtt.Connect) { c.Properties.RequestProblem = mqtt.Some(true) }, true, true},
		{"by default", func(*mqtt.Connect) {}, true, true},
		{"not asked", unasked, false, true},
		{"room", takes(100), true, true},
		{"no room", takes(16), false, false},
	} {
		p := login(t, b, mqtt.V5, "c", c.change)
		check := func(packet mqtt.Packet, code mqtt.Code, why []byte, want bool) {
			t.Helper()
			if !code.Failed() || len(why) > 0 != want {
				t.Errorf("%s: %v %v %q", c.name, packet.Type(), code, why)
			}
		}
		p.send(&mqtt.Publish{Topic: []byte("$SYS/x"), QoS: 1, PacketID: 1})
		puback := expect[*mqtt.Puback](p)
		check(puback, puback.Code, puback.Properties.ReasonString, c.acks)
		p.send(&mqtt.Publish{Topic: []byte("a/b/c"), QoS: 2, PacketID: 1})
		pubrec := expect[*mqtt.Pubrec](p)
		check(pubrec, pubrec.Code, pubrec.Properties.ReasonString, c.acks)
		p.send(&mqtt.Pubrec{PacketID: 9})
		pubrel := expect[*mqtt.Pubrel](p)
		check(pubrel, pubrel.Code, pubrel.Properties.ReasonString, c.acks)
		p.send(&mqtt.Pubrel{PacketID: 9})
		pubcomp := expect[*mqtt.Pubcomp](p)
		check(pubcomp, pubcomp.Code, pubcomp.Properties.ReasonString, c.acks)
		p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("a")}, {Filter: []byte("a/b/c")}}})
		suback := expect[*mqtt.Suback](p)
		check(suback, suback.Codes[1], suback.Properties.ReasonString, c.acks)
		// What succeeds needs none, and what a publisher says is passed on in any case.
		m := &mqtt.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1}
		m.Properties.User = []mqtt.UserProperty{{Name: []byte("n")}}
		p.send(m)
		if got := expect[*mqtt.Publish](p); len(got.Properties.User) != 1 {
			t.Errorf("%s: user properties %v", c.name, got.Properties.User)
		}
		if ack := expect[*mqtt.Puback](p); ack.Properties.ReasonString != nil {
			t.Errorf("%s: %q", c.name, ack.Properties.ReasonString)
		}
		login(t, b, mqtt.V5, "c", takes(100)) // takes over
		gone := expect[*mqtt.Disconnect](p)
		check(gone, gone.Code, gone.Properties.ReasonString, c.disconnect)
	}
	old := login(t, b, mqtt.V311, "old")
	old.send(&mqtt.Publish{Topic: []byte("$SYS/x"), QoS: 1, PacketID: 1})
	expect[*mqtt.Puback](old)
}

// max_keepalive: MQTT 5 clients are told, and hold to it or are lost [MQTT-3.2.2-21]
// [MQTT-3.2.2-22]; others cannot be told.
func TestMaxKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		for asked, want := range map[uint16]uint16{0: 60, 61: 60, 65535: 60, 60: 0, 10: 0} {
			p := piped(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.KeepAlive = asked })
			if got := p.connack.Properties.ServerKeepAlive; got.Set != (want > 0) || got.Value != want {
				t.Errorf("asked for %d: server keep alive %+v, want %d", asked, got, want)
			}
			lost := time.Duration(want) * 1500 * time.Millisecond
			if want == 0 {
				lost = time.Duration(asked) * 1500 * time.Millisecond
			}
			time.Sleep(lost - time.Millisecond)
			synctest.Wait()
			p.quiet()
			if took := p.untilClosed(); took != lost {
				t.Errorf("asked for %d: lost after %v, want %v", asked, took, lost)
			}
			for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
				p := pipe(t, b, v)
				p.send(&mqtt.Connect{CleanStart: true, ClientID: []byte("old"), KeepAlive: asked})
				wanted := mqtt.CodeSuccess
				if want > 0 {
					wanted = mqtt.CodeClientID
				}
				if ack := expect[*mqtt.Connack](p); ack.Code != wanted {
					t.Errorf("%v asked for %d: CONNACK %v, want %v", v, asked, ack.Code, wanted)
				}
				p.conn.Close()
			}
		}
	}, func(o *Options) { o.MaxKeepalive = time.Minute })
}

// A client may send as many QoS 1 and 2 messages as it was told before they are completed,
// and no more [MQTT-3.3.4-7] [MQTT-3.3.4-8].
func TestReceiveMaximum(t *testing.T) {
	b := serve(t, func(o *Options) { o.ReceiveMaximum = 3 })
	publish := func(p *peer, qos mqtt.QoS, id uint16) {
		p.send(&mqtt.Publish{Topic: []byte("t"), QoS: qos, PacketID: id})
	}
	p := login(t, b, mqtt.V5, "c", stay)
	if n := p.connack.Properties.ReceiveMaximum; n != 3 {
		t.Errorf("receive maximum %d", n)
	}
	for round := range uint16(5) {
		for id := range uint16(10) { // answered at once
			publish(p, 1, 100+id)
			expect[*mqtt.Puback](p)
		}
		for id := range uint16(3) {
			publish(p, 2, 1+id+3*round)
			expect[*mqtt.Pubrec](p)
		}
		publish(p, 0, 0) // QoS 0 has no limit
		p.send(&mqtt.Publish{Topic: []byte("$SYS/x"), DUP: true, QoS: 2, PacketID: 1 + 3*round})
		expect[*mqtt.Pubrec](p) // the same again
		for id := range uint16(3) {
			p.send(&mqtt.Pubrel{PacketID: 1 + id + 3*round})
			expect[*mqtt.Pubcomp](p)
		}
	}
	for id := range uint16(10) { // a refusal completes the message
		p.send(&mqtt.Publish{Topic: []byte("$SYS/x"), QoS: 2, PacketID: 1 + id})
		expect[*mqtt.Pubrec](p)
	}
	for _, qos := range []mqtt.QoS{1, 2} {
		for id := range uint16(3) { // on each connection anew, whatever was left from the last
			publish(p, 2, 10*uint16(qos)+id)
			expect[*mqtt.Pubrec](p)
		}
		publish(p, qos, 99)
		p.disconnected(mqtt.CodeReceiveMaximum)
		p = login(t, b, mqtt.V5, "c", stay)
	}
	for _, id := range []uint16{10, 11, 12, 20} {
		p.send(&mqtt.Pubrel{PacketID: id}) // of earlier connections: more room than before there is not
		if ack := expect[*mqtt.Pubcomp](p); ack.Code != mqtt.CodeSuccess {
			t.Errorf("PUBCOMP %v", ack.Code)
		}
	}
	for id := range uint16(3) {
		publish(p, 2, 30+id)
		expect[*mqtt.Pubrec](p)
	}
	publish(p, 2, 99)
	p.disconnected(mqtt.CodeReceiveMaximum)

	old := login(t, b, mqtt.V311, "old") // has no such limit
	for id := range uint16(100) {
		publish(old, 2, 1+id)
		expect[*mqtt.Pubrec](old)
	}
	b = serve(t, func(o *Options) { o.ReceiveMaximum = 65535 })
	if n := login(t, b, mqtt.V5, "c").connack.Properties.ReceiveMaximum; n != 0 {
		t.Errorf("receive maximum %d was sent", n)
	}
}

func TestMaxQoS(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		for limit := range mqtt.QoS(2) {
			b := serve(t, func(o *Options) { o.MaxQoS = int(limit) })
			p := login(t, b, v, "c")
			if got := p.connack.Properties.MaximumQoS; v == mqtt.V5 && got != mqtt.Some(limit) { // [MQTT-3.2.2-9]
				t.Errorf("maximum QoS %+v", got)
			}
			for qos := range mqtt.QoS(3) { // [MQTT-3.2.2-10]
				p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t"), QoS: qos}}})
				if got := expect[*mqtt.Suback](p).Codes[0]; got != mqtt.Code(min(qos, limit)) {
					t.Errorf("QoS %d granted as %v", qos, got)
				}
			}
			connected(t, b, "d", true).publish("t", "x", 2, false) // devices are not concerned
			b.Flush()
			p.gets("x", limit)
			p.send(&mqtt.Publish{Topic: []byte("u"), QoS: limit, PacketID: 1})
			if limit > 0 {
				expect[*mqtt.Puback](p)
			}
			p.quiet()
			p.send(&mqtt.Publish{Topic: []byte("u"), QoS: limit + 1, PacketID: 1}) // [MQTT-3.2.2-11]
			p.disconnected(mqtt.CodeQoSNotSupported)
			want := mqtt.CodeQoSNotSupported // [MQTT-3.2.2-12]
			if v != mqtt.V5 {
				want = mqtt.CodeServerUnavailable
			}
			notLetIn(t, b, v, want, func(c *mqtt.Connect) {
				c.HasWill, c.Will = true, mqtt.Will{Topic: []byte("w"), QoS: limit + 1}
			})
		}
	})
}

// Without retained messages, MQTT 5 clients are told and may send none; for others, who
// cannot know, they are messages like any.
func TestRetainNotAvailable(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxRetainedMessages = 0 })
	for _, payload := range []string{"x", ""} {
		p := login(t, b, mqtt.V5, "c")
		if p.connack.Properties.RetainAvailable.Or(true) {
			t.Error("CONNACK says that retain is available")
		}
		p.subscribe(0, "t")
		p.publish("t", "plain", 0, false)
		p.gets("plain", 0)
		p.send(&mqtt.Publish{Topic: []byte("t"), Payload: []byte(payload), Retain: true}) // [MQTT-3.2.2-14]
		p.disconnected(mqtt.CodeRetainNotSupported)
	}
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		p := login(t, b, v, "c")
		p.subscribe(0, "t")
		p.send(&mqtt.Publish{Topic: []byte("t"), Payload: []byte("x"), Retain: true})
		p.gets("x", 0)
		p.subscribe(0, "t")
		p.quiet()
	}
}

func TestClientIDs(t *testing.T) {
	none := func(c *mqtt.Connect) { c.ClientID = nil }
	b := serve(t, func(o *Options) { o.AllowZeroLengthClientID = false })
	notLetIn(t, b, mqtt.V5, mqtt.CodeClientID, none)
	notLetIn(t, b, mqtt.V311, mqtt.CodeClientID, none)
	b = serve(t, func(o *Options) { o.AutoIDPrefix = "guest/" })
	id := string(login(t, b, mqtt.V5, "").connack.Properties.AssignedClientID)
	if !strings.HasPrefix(id, "guest/") || len(id) < 20 {
		t.Errorf("client id %q", id)
	}
	notLetIn(t, b, mqtt.V31, mqtt.CodeClientID, none)
}
