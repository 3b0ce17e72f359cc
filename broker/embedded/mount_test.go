package embedded

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

func TestMountPointOptions(t *testing.T) {
	for _, point := range []string{"", "site/", "/", "a//b/", "süd/"} {
		if err := listenAt(":0", mounted(point)).Validate(); err != nil {
			t.Errorf("%q: %v", point, err)
		}
	}
	for _, point := range []string{"site", "+/", "a/#", "#/", "$SYS/", "$share/g/", "\xFF/", "a\x00/", strings.Repeat("x", 65535) + "/"} {
		if err := listenAt(":0", mounted(point)).Validate(); err == nil || !strings.HasPrefix(err.Error(), "mount_point: ") {
			t.Errorf("%q: %v", point, err)
		}
	}
}

func mounted(point string) func(*ListenerOptions) {
	return func(o *ListenerOptions) { o.MountPoint = point }
}

// mounts is a broker with a listener at each of the mount points, by mount point.
func mounts(t *testing.T, points ...string) (*Broker, map[string]net.Addr) {
	t.Helper()
	b := serve(t, func(o *Options) {
		o.Listeners = nil
		for _, p := range points {
			o.Listeners = append(o.Listeners, listenAt("127.0.0.1:0", mounted(p)))
		}
	})
	at := make(map[string]net.Addr)
	for i, p := range points {
		at[p] = b.Addrs()[i]
	}
	return b, at
}

// getsAt is gets with the topic.
func (p *peer) getsAt(topic, payload string, qos mqtt.QoS) *mqtt.Publish {
	p.t.Helper()
	m := p.gets(payload, qos)
	if string(m.Topic) != topic {
		p.t.Fatalf("%q came at %q, want %q", payload, m.Topic, topic)
	}
	return m
}

func connectedAt(t *testing.T, addr net.Addr, v mqtt.Version, id string, change ...func(*mqtt.Connect)) *peer {
	t.Helper()
	p := dialAt(t, addr, v)
	p.connect(id, change...)
	return p
}

// Clients of listeners with different mount points do not see each other, and who has
// none sees the topics in full.
func TestMountPoints(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b, at := mounts(t, "one/", "two/", "")
		one, two, all := connectedAt(t, at["one/"], v, "1"), connectedAt(t, at["two/"], v, "2"), connectedAt(t, at[""], v, "all")
		d := connected(t, b, "d", true)
		for _, p := range []*peer{one, two, all} {
			p.subscribe(2, "a/#")
		}
		all.subscribe(2, "one/a/#", "two/+/b")
		d.subscribe("one/#", 2)
		for qos := range mqtt.QoS(3) {
			payload := fmt.Sprint("from one ", qos)
			pub := connectedAt(t, at["one/"], v, "pub")
			pub.publish("a/b", payload, qos, false)
			id := one.getsAt("a/b", payload, qos).PacketID
			id2 := all.getsAt("one/a/b", payload, qos).PacketID
			if token := d.delivered(payload, byte(qos)); qos > 0 {
				d.ack(token)
			}
			settle := func(p *peer, id uint16) {
				switch qos {
				case 1:
					p.send(&mqtt.Puback{PacketID: id})
				case 2:
					p.send(&mqtt.Pubrec{PacketID: id})
					expect[*mqtt.Pubrel](p)
					p.send(&mqtt.Pubcomp{PacketID: id})
				}
			}
			settle(one, id)
			settle(all, id2)
			// A device publishes to the full topic.
			d.publish("two/a/b", payload, byte(qos), false)
			b.Flush()
			settle(two, two.getsAt("a/b", payload, qos).PacketID)
			settle(all, all.getsAt("two/a/b", payload, qos).PacketID)
			for _, p := range []*peer{one, two, all} {
				p.quiet()
			}
		}
		one.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("a/#"), []byte("one/a/#")}})
		ack := expect[*mqtt.Unsuback](one)
		if v == mqtt.V5 && (ack.Codes[0] != mqtt.CodeSuccess || ack.Codes[1] != mqtt.CodeNoSubscription) {
			t.Errorf("UNSUBACK %v", ack.Codes)
		}
		d.publish("one/a/b", "x", 0, false)
		b.Flush()
		one.quiet()
	})
}

func TestMountPointRetained(t *testing.T) {
	b, at := mounts(t, "site/", "")
	in := connectedAt(t, at["site/"], mqtt.V5, "in")
	in.publish("door", "open", 1, true)
	d := connected(t, b, "d", true)
	d.publish("site/window", "shut", 1, true)
	d.publish("elsewhere", "hidden", 1, true)
	d.publish("site", "in front of the mount point", 1, true) // site/# stands for it, too
	in.subscribe(0, "#")
	got := map[string]string{}
	for range 2 {
		m := expect[*mqtt.Publish](in)
		got[string(m.Topic)] = string(m.Payload)
	}
	if got["door"] != "open" || got["window"] != "shut" {
		t.Errorf("got %v", got)
	}
	in.quiet()
	for qos := range byte(3) {
		d.publish("site", "still not", qos, false)
	}
	b.Flush()
	in.quiet()
	if st := b.Stats(); st.Dropped["outside_mount_point"] != 4 || st.QueuedMessages != 0 {
		t.Errorf("dropped %v, %d queued", st.Dropped, st.QueuedMessages)
	}
	all := connectedAt(t, at[""], mqtt.V5, "all")
	all.subscribe(0, "site/door")
	all.getsAt("site/door", "open", 0)
	d.publish("site/door", "", 1, true)
	until(t, "it is not retained any more", func() bool { return b.Stats().RetainedMessages == 3 })
}

func TestMountPointWill(t *testing.T) {
	b, at := mounts(t, "site/")
	watcher := connected(t, b, "watcher", true)
	watcher.subscribe("#", 1)
	will := func(topic string) func(*mqtt.Connect) {
		return func(c *mqtt.Connect) {
			c.HasWill, c.Will.Topic, c.Will.Payload, c.Will.QoS = true, []byte(topic), []byte("gone"), 1
			c.Will.Properties.ResponseTopic = []byte("reply")
		}
	}
	in := connectedAt(t, at["site/"], mqtt.V5, "in")
	in.subscribe(1, "will/+")
	lost := connectedAt(t, at["site/"], mqtt.V5, "lost", will("will/lost"))
	lost.conn.Close()
	if m := in.getsAt("will/lost", "gone", 1); string(m.Properties.ResponseTopic) != "reply" {
		t.Errorf("response topic %q", m.Properties.ResponseTopic)
	}
	ev := watcher.next()
	if ev.Kind != broker.Delivered || ev.Message.Topic != "site/will/lost" {
		t.Errorf("got %+v", ev.Message)
	}
	p := dialAt(t, at["site/"], mqtt.V5)
	c := &mqtt.Connect{ClientID: []byte("sys"), CleanStart: true}
	will("$SYS/fake")(c)
	p.send(c)
	if code := expect[*mqtt.Connack](p).Code; code != mqtt.CodeNotAuthorized {
		t.Errorf("CONNACK %v", code)
	}
}

// Shared subscriptions are shared by clients of one mount point, and with those who name
// the topics in full.
func TestMountPointShared(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b, at := mounts(t, "site/", "other/")
		one, two := connectedAt(t, at["site/"], v, "1"), connectedAt(t, at["site/"], v, "2")
		other := connectedAt(t, at["other/"], v, "3")
		for _, p := range []*peer{one, two, other} {
			p.subscribe(0, "$share/g/a/+")
		}
		d := connected(t, b, "d", true)
		d.subscribe("$share/g/site/a/+", 0)
		const each = 5
		for i := range 3 * each {
			d.publish("site/a/b", fmt.Sprint(i), 0, false)
		}
		b.Flush()
		if n := len(d.take()); n != each {
			t.Errorf("%d came to the device, want %d", n, each)
		}
		for range each {
			for _, p := range []*peer{one, two} {
				if m := expect[*mqtt.Publish](p); string(m.Topic) != "a/b" {
					t.Errorf("it came at %q", m.Topic)
				}
			}
		}
		for _, p := range []*peer{one, two, other} {
			p.quiet()
		}
		one.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("$share/g/a/+")}})
		expect[*mqtt.Unsuback](one)
		if n := b.Stats().SharedSubscriptions; n != 3 {
			t.Errorf("%d shared subscriptions", n)
		}
	})
}

// $SYS is not visible below a mount point, and nothing can be passed off as it.
func TestMountPointHidesSys(t *testing.T) {
	b, at := mounts(t, "site/", "")
	in := connectedAt(t, at["site/"], mqtt.V5, "in")
	in.subscribe(0, "$SYS/#", "$SYS/broker/uptime", "#")
	in.quiet()
	in.send(&mqtt.Publish{Topic: []byte("$SYS/broker/uptime"), QoS: 1, PacketID: 1})
	if code := expect[*mqtt.Puback](in).Code; code != mqtt.CodeNotAuthorized {
		t.Errorf("PUBACK %v", code)
	}
	in.quiet()
	all := connectedAt(t, at[""], mqtt.V5, "all")
	all.subscribe(0, "$SYS/broker/version")
	expect[*mqtt.Publish](all)
	if n := b.Stats().Dropped["outside_mount_point"]; n != 0 {
		t.Errorf("%d messages were on their way to it", n)
	}
	// What is no filter stays none.
	in.send(&mqtt.Subscribe{PacketID: 5, Subscriptions: []mqtt.Subscription{{Filter: []byte("$share/g/")}}})
	if packet, err := in.read(patience); err == nil {
		if ack, ok := packet.(*mqtt.Suback); ok && !ack.Codes[0].Failed() {
			t.Errorf("SUBACK %v", ack.Codes)
		}
	}
}

func TestMountPointResponseTopic(t *testing.T) {
	_, at := mounts(t, "site/", "")
	in, out := connectedAt(t, at["site/"], mqtt.V5, "in"), connectedAt(t, at[""], mqtt.V5, "out")
	in.subscribe(0, "from/out")
	out.subscribe(0, "site/from/in")
	ask := &mqtt.Publish{Topic: []byte("from/in"), Payload: []byte("?")}
	ask.Properties.ResponseTopic = []byte("replies")
	in.send(ask)
	if m := out.getsAt("site/from/in", "?", 0); string(m.Properties.ResponseTopic) != "site/replies" {
		t.Errorf("response topic %q", m.Properties.ResponseTopic)
	}
	for topic, want := range map[string]string{"site/replies": "replies", "elsewhere": ""} {
		ask = &mqtt.Publish{Topic: []byte("site/from/out"), Payload: []byte(topic)}
		ask.Properties.ResponseTopic = []byte(topic)
		out.send(ask)
		if m := in.getsAt("from/out", topic, 0); string(m.Properties.ResponseTopic) != want {
			t.Errorf("response topic %q, want %q", m.Properties.ResponseTopic, want)
		}
	}
}

// Topic aliases are the client's own, both ways.
func TestMountPointTopicAlias(t *testing.T) {
	b, at := mounts(t, "site/")
	in := connectedAt(t, at["site/"], mqtt.V5, "in", takesAliases(5))
	in.subscribe(0, "long/topic")
	d := connected(t, b, "d", true)
	d.subscribe("site/long/topic", 0)
	in.send(aliased("long/topic", "1", 3), aliased("", "2", 3))
	d.delivered("1", 0)
	d.delivered("2", 0)
	if m := in.getsAt("long/topic", "1", 0); m.Properties.TopicAlias != 1 {
		t.Errorf("topic alias %d", m.Properties.TopicAlias)
	}
	if m := in.getsAt("", "2", 0); m.Properties.TopicAlias != 1 {
		t.Errorf("topic alias %d", m.Properties.TopicAlias)
	}
}

// A session goes on by any listener with the same mount point, and by no other one.
func TestSessionMovesBetweenListeners(t *testing.T) {
	b := serve(t, func(o *Options) {
		o.Listeners = []ListenerOptions{
			listenAt("127.0.0.1:0", mounted("site/")), listenAt("127.0.0.1:0", mounted("site/")),
			listenAt("127.0.0.1:0", mounted("other/")), listenAt("127.0.0.1:0"),
		}
	})
	from := connected(t, b, "from", true)
	at := b.Addrs()
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		p := connectedAt(t, at[0], v, "mover", stay)
		p.subscribe(1, "a")
		p.send(&mqtt.Disconnect{})
		p.closed()
		from.publish("site/a", "kept", 1, false)
		p = connectedAt(t, at[1], v, "mover", stay)
		if !p.connack.SessionPresent && v != mqtt.V31 {
			t.Error("the session is lost with the same mount point")
		}
		p.send(&mqtt.Puback{PacketID: p.getsAt("a", "kept", 1).PacketID})
		p.quiet()
		for _, addr := range at[2:] {
			p = connectedAt(t, addr, v, "mover", stay) // takes the connection over
			if p.connack.SessionPresent {
				t.Error("the session is there below another mount point")
			}
			from.publish("site/a", "not for it", 1, false)
			from.publish("other/a", "not for it", 1, false)
			p.quiet()
		}
		d := connected(t, b, "mover", false) // devices have no mount point, like the last one
		d.do(broker.Request{Op: broker.Disconnect})
		p = connectedAt(t, at[0], v, "mover")
		if p.connack.SessionPresent || b.Stats().Sessions != 2 {
			t.Errorf("%d sessions", b.Stats().Sessions)
		}
		p.send(&mqtt.Disconnect{})
		p.closed()
	})
}

// A mount point costs no allocation, and none at all nothing.
func TestMountPointDoesNotAllocate(t *testing.T) {
	b := newBroker(t)
	topic := []byte(strings.Repeat("level/", 20))
	for _, m := range []*mount{nil, {point: "site/of/some/length/"}} {
		c := &client{broker: b, listener: &listener{mount: m}}
		full := m.topic(nil, topic)
		n := testing.AllocsPerRun(1000, func() {
			if r, code := c.routeOf(topic); code.Failed() || r.topic != string(full) {
				t.Fatal("no route")
			}
			if rest, ok := m.strip(full); !ok || len(rest) != len(topic) {
				t.Fatal("not stripped")
			}
		})
		if n > 0 {
			t.Errorf("%v: %v allocations", m, n)
		}
	}
}
