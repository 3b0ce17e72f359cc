package embedded

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// Devices and MQTT clients of all versions are peers. Whatever is tested here is tested
// from each kind to each.

// party is a client of any kind.
type party interface {
	subscribes(filter string, qos byte)
	publishes(topic, payload string, qos byte, retain bool)
	// gets expects a message, and acknowledges it to the end.
	gets(payload string, qos byte, retain bool)
	// nothing fails if something else has come.
	nothing()
}

func (d *station) subscribes(filter string, qos byte) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Subscribe, Topic: filter, QoS: qos})
	d.answer()
}

func (d *station) publishes(topic, payload string, qos byte, retain bool) {
	d.t.Helper()
	d.publish(topic, payload, qos, retain)
}

func (d *station) gets(payload string, qos byte, retain bool) {
	d.t.Helper()
	ev := d.next()
	if ev.Kind != broker.Delivered || string(ev.Message.Payload) != payload || ev.QoS != qos || ev.Retain != retain {
		d.t.Fatalf("%s was told %+v %v, want %q with QoS %d, retain %v", d.id, ev, ev.Message, payload, qos, retain)
	}
	if qos > 0 {
		d.ack(ev.Token)
	}
}

func (d *station) nothing() {
	d.t.Helper()
	d.quiet()
}

// mqttParty is an MQTT client as a party.
type mqttParty struct{ *peer }

func (p mqttParty) subscribes(filter string, qos byte) {
	p.t.Helper()
	p.subscribe(mqtt.QoS(qos), filter)
}

func (p mqttParty) publishes(topic, payload string, qos byte, retain bool) {
	p.t.Helper()
	p.publish(topic, payload, mqtt.QoS(qos), retain)
}

func (p mqttParty) gets(payload string, qos byte, retain bool) {
	p.t.Helper()
	m, ok := p.beyond().(*mqtt.Publish)
	if !ok || string(m.Payload) != payload || byte(m.QoS) != qos || m.Retain != retain || m.DUP {
		p.t.Fatalf("%v: got %+v, want %q with QoS %d, retain %v", p.version, m, payload, qos, retain)
	}
	switch qos {
	case 1:
		p.send(&mqtt.Puback{PacketID: m.PacketID})
	case 2:
		p.send(&mqtt.Pubrec{PacketID: m.PacketID})
	}
}

func (p mqttParty) nothing() {
	p.t.Helper()
	p.send(&mqtt.Pingreq{})
	if got, ok := p.beyond().(*mqtt.Pingresp); !ok {
		p.t.Fatalf("%v: got %+v, want nothing", p.version, got)
	}
}

// beyond is the next packet that is no PUBREL; those are answered.
func (p mqttParty) beyond() mqtt.Packet {
	p.t.Helper()
	for {
		packet, err := p.read(patience)
		if err != nil {
			p.t.Fatal(err)
		}
		release, ok := packet.(*mqtt.Pubrel)
		if !ok {
			return packet
		}
		p.send(&mqtt.Pubcomp{PacketID: release.PacketID})
	}
}

// kinds are those that clients can be of; 0 is a device.
var kinds = []mqtt.Version{0, mqtt.V31, mqtt.V311, mqtt.V5}

func kindName(v mqtt.Version) string {
	if v == 0 {
		return "device"
	}
	return "MQTT " + v.String()
}

func join(t testing.TB, b *Broker, v mqtt.Version, id string) party {
	t.Helper()
	if v == 0 {
		return connected(t, b, id, true)
	}
	return mqttParty{login(t, b, v, id)}
}

// Every message reaches every kind of subscriber in order, with the lower QoS, without the
// retain flag; the last retained one reaches who subscribes later, with the flag, until an
// empty one removes it.
func TestPeersReachEachOther(t *testing.T) {
	for _, from := range kinds {
		t.Run(kindName(from), func(t *testing.T) {
			b := serve(t)
			type listener struct {
				party
				qos byte
			}
			var all []listener
			enter := func(round string) {
				for _, to := range kinds {
					for qos := range byte(3) {
						p := join(t, b, to, fmt.Sprint(round, to, qos))
						p.subscribes("state/+", qos)
						all = append(all, listener{p, qos})
					}
				}
			}
			enter("early")
			pub := join(t, b, from, "pub")
			for qos := range byte(3) {
				for n := range 5 {
					pub.publishes("state/x", fmt.Sprint(n), qos, n == 3)
				}
				b.Flush()
				for _, l := range all {
					for n := range 5 {
						l.gets(fmt.Sprint(n), min(qos, l.qos), false)
					}
				}
				early := len(all)
				enter(fmt.Sprint("late", qos))
				b.Flush()
				for _, l := range all[early:] {
					l.gets("3", min(qos, l.qos), true)
				}
				pub.publishes("state/x", "", qos, true)
				b.Flush()
				for _, l := range all {
					l.gets("", min(qos, l.qos), false)
				}
				all = all[:early]
				for _, to := range kinds {
					p := join(t, b, to, fmt.Sprint("later", to))
					p.subscribes("state/+", 1)
					p.nothing()
				}
			}
			for _, l := range all {
				l.nothing()
			}
		})
	}
}

// Who subscribes to what it publishes gets it back, unless it is MQTT 5 and says no.
func TestPeersGetTheirOwn(t *testing.T) {
	b := serve(t)
	for _, v := range kinds {
		p := join(t, b, v, fmt.Sprint("own", v))
		topic := fmt.Sprint("own/", v)
		p.subscribes(topic, 0)
		p.publishes(topic, "mine", 0, false)
		b.Flush()
		p.gets("mine", 0, false)
	}
}

// The will of a lost client of any kind reaches all kinds, and is retained if it says so.
func TestPeersWills(t *testing.T) {
	b := serve(t)
	var watchers []party
	for _, v := range kinds {
		p := join(t, b, v, fmt.Sprint("watcher", v))
		p.subscribes("will/#", 1)
		watchers = append(watchers, p)
	}
	for _, v := range kinds {
		topic := fmt.Sprint("will/", v)
		if v == 0 {
			d := open(t, b, "lost")
			d.do(broker.Request{Op: broker.Connect, CleanSession: true, Will: &broker.Message{Topic: topic, Payload: []byte(topic), QoS: 2, Retain: true}})
			d.answer()
			d.do(broker.Request{Op: broker.Abandon})
		} else {
			p := login(t, b, v, "lost", func(c *mqtt.Connect) {
				c.HasWill, c.Will = true, mqtt.Will{Topic: []byte(topic), Payload: []byte(topic), QoS: 2, Retain: true}
			})
			p.conn.Close()
		}
		b.Flush()
		for _, w := range watchers {
			w.gets(topic, 1, false)
		}
		for _, to := range kinds {
			p := join(t, b, to, fmt.Sprint("late", to))
			p.subscribes(topic, 2)
			b.Flush()
			p.gets(topic, 2, true)
		}
	}
}

// Devices and MQTT clients share a subscription: each message reaches one of them, and who
// is there goes before who is not.
func TestPeersShare(t *testing.T) {
	b := serve(t)
	d := connected(t, b, "d", false)
	d.subscribes("$share/g/s/#", 1)
	other := connected(t, b, "other", true)
	other.subscribes("$share/g/s/#", 1)
	p := mqttParty{login(t, b, mqtt.V311, "p")}
	p.subscribes("$share/g/s/#", 1)
	pub := connected(t, b, "pub", true)
	publish := func() {
		for n := range 6 {
			pub.publishes("s/x", fmt.Sprint(n), 1, false)
		}
		b.Flush()
	}
	count := func(s *station) (n int) {
		for _, ev := range s.take() {
			s.ack(ev.Token)
			n++
		}
		return n
	}
	publish()
	if a, c := count(d), count(other); a != 2 || c != 2 {
		t.Errorf("of 6 messages to 3 members two devices got %d and %d", a, c)
	}
	for range 2 {
		m := expect[*mqtt.Publish](p.peer)
		p.send(&mqtt.Puback{PacketID: m.PacketID})
	}
	d.do(broker.Request{Op: broker.Disconnect})
	publish()
	n := count(other)
	if n == 0 || n == 6 {
		t.Errorf("of 6 messages to 2 members who are there a device got %d", n)
	}
	for range 6 - n {
		m := expect[*mqtt.Publish](p.peer)
		p.send(&mqtt.Puback{PacketID: m.PacketID})
	}
	p.conn.Close()
	until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
	other.do(broker.Request{Op: broker.Disconnect})
	publish() // all wait for the one that has a session
	d.do(broker.Request{Op: broker.Connect})
	d.answer()
	for n := range 6 {
		d.gets(fmt.Sprint(n), 1, false)
	}
	d.nothing()
}

// A device's messages tell when they expire, and those that have do not come.
func TestPeersExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		d := connected(t, b, "d", false)
		d.subscribe("#", 1)
		pub := piped(t, b, mqtt.V5, "pub", func(c *mqtt.Connect) {
			c.HasWill = true
			c.Will = mqtt.Will{Topic: []byte("w"), Payload: []byte("will")}
			c.Will.Properties.MessageExpiry = mqtt.Some(uint32(9))
		})
		send := func(payload string, qos mqtt.QoS, seconds uint32, retain bool) {
			m := &mqtt.Publish{Topic: []byte("t"), Payload: []byte(payload), QoS: qos, PacketID: 1, Retain: retain}
			m.Properties.MessageExpiry = mqtt.Some(seconds)
			pub.send(m)
			if qos > 0 {
				expect[*mqtt.Puback](pub)
			}
			synctest.Wait()
		}
		tells := func(payload string, in time.Duration) {
			t.Helper()
			ev := d.next()
			if string(ev.Message.Payload) != payload || !ev.Message.Expires.Equal(time.Now().Add(in)) {
				t.Errorf("%q expires in %v, want %q in %v", ev.Message.Payload, time.Until(ev.Message.Expires), payload, in)
			}
			if ev.QoS > 0 {
				d.ack(ev.Token)
			}
		}
		send("live", 0, 5, false)
		tells("live", 5*time.Second)
		send("kept", 1, 60, true)
		tells("kept", time.Minute)
		d.do(broker.Request{Op: broker.Disconnect})
		send("short", 1, 5, false)
		send("long", 1, 20, false)
		time.Sleep(10 * time.Second)
		d.do(broker.Request{Op: broker.Connect})
		d.answer()
		tells("long", 10*time.Second)
		d.subscribe("t", 0)
		tells("kept", 50*time.Second)
		pub.conn.Close()
		synctest.Wait()
		tells("will", 9*time.Second)
		d.quiet()
		if n := b.Stats().Dropped["expired"]; n != 1 {
			t.Errorf("%d expired, want 1", n)
		}
	})
}
