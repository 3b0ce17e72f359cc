package gateway

import (
	"strings"
	"testing"
	"unicode/utf8"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

func tells(words ...string) func(*Options) {
	return func(o *Options) { o.UserProperties = words }
}

// heard lets a packet arrive from a peer with a signal strength.
func (r *rig) heard(peer transports.Addr, signal int8, p mqttsn.Packet) {
	r.gateway.intakes[0].receive([]transports.Datagram{{Addr: peer, Data: p.Append(nil), Signal: signal}})
}

// wantOrigin checks the user properties of the message that was published last, without
// the prefix of their names.
func (r *rig) wantOrigin(want string) {
	r.Helper()
	all := r.broker.Published()
	if got := text(all[len(all)-1].User); got != want {
		r.Errorf("published with %q, want %q", got, want)
	}
}

func text(list []broker.UserProperty) string {
	var words []string
	for _, u := range list {
		words = append(words, strings.TrimPrefix(string(u.Name), "mqttsn-")+"="+string(u.Value))
	}
	return strings.Join(words, " ")
}

func publish(qos mqttsn.QoS) mqttsn.Packet {
	p := mqttsn.Publish{QoS: qos, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}
	if qos == 1 || qos == 2 {
		p.MsgID = uint16(qos)
	}
	return p
}

var radioAddr = transports.NodeAddr([]byte{0, 0x13, 0xA2, 0, 0x40, 0x0A, 1, 0x27})

// With every QoS a message tells what the option lists, and nothing else.
func TestOriginOfMessages(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string
	}{
		{nil, ""},
		{[]string{"client"}, "client=sensor"},
		{[]string{"gateway"}, "gateway=1"},
		{[]string{"signal"}, "signal=-71"},
		{[]string{"hop"}, "hop=fake node=0013a200400a0127"},
		{[]string{"hop", "signal", "gateway", "client"}, "client=sensor gateway=1 signal=-71 hop=fake node=0013a200400a0127"},
	} {
		r := newRig(t, tells(c.words...))
		r.heard(radioAddr, -71, connect("sensor"))
		for _, qos := range []mqttsn.QoS{0, 1, 2, mqttsn.QoSMinusOne} {
			r.heard(radioAddr, -71, publish(qos))
			r.wantOrigin(c.want)
		}
		if n := len(r.broker.Published()); n != 4 {
			t.Fatalf("%d messages were published, want 4", n)
		}
	}
}

// What is told is what was last: the place after a move, the strength of the last packet.
func TestOriginFollowsTheClient(t *testing.T) {
	r := newRig(t, tells("signal", "hop"))
	r.heard(radioAddr, -71, resume("a"))
	r.heard(radioAddr, -71, publish(0))
	r.wantOrigin("signal=-71 hop=fake node=0013a200400a0127")
	r.heard(radioAddr, -90, mqttsn.Pingreq{})
	r.heard(radioAddr, -88, publish(0))
	r.wantOrigin("signal=-88 hop=fake node=0013a200400a0127")
	ip := addr(7)
	r.heard(ip, 0, resume("a"))
	r.heard(ip, 0, publish(1))
	r.wantOrigin("hop=fake")
	r.heard(ip, 0, mqttsn.Disconnect{HasDuration: true, Duration: 60})
	r.heard(ip, -40, behind("\x00\xffn", mqttsn.Pingreq{ClientID: []byte("a")})) // wakes up behind a forwarder
	r.heard(ip, -40, behind("\x00\xffn", publish(0)))
	r.wantOrigin("hop=fake forwarder=" + ip.String() + " node=00ff6e")
	r.heard(radioAddr, -40, behind("z", resume("a")))
	r.heard(radioAddr, -40, behind("z", publish(0)))
	r.wantOrigin("hop=fake forwarder=0013a200400a0127 node=7a")
	line := transports.NumberAddr(0)
	r.heard(line, 0, behind("y", resume("a")))
	r.heard(line, 0, behind("y", publish(0)))
	r.wantOrigin("hop=fake node=79")
}

// A will tells where its client was last.
func TestOriginOfAWill(t *testing.T) {
	r := newRig(t, tells("client", "signal"))
	r.heard(radioAddr, -71, mqttsn.Connect{ProtocolID: 1, Duration: 1, Will: true, ClientID: []byte("a")})
	r.heard(radioAddr, -71, mqttsn.WillTopic{Topic: []byte("w")})
	r.heard(radioAddr, -71, mqttsn.WillMsg{Message: []byte("lost")})
	asked := r.broker.Asked()
	if got := text(asked[0].User); got != "client=a signal=-71" {
		t.Errorf("the will is given to the broker with %q", got)
	}
	r.heard(radioAddr, -99, mqttsn.Pingreq{})
	s := r.gateway.shardOf([]byte("a"))
	s.mu.Lock()
	c := s.clients["a"]
	c.session.Expire(c.session.Deadline(), &s.fx)
	s.apply(c.session.Deadline(), c)
	s.mu.Unlock()
	if all := r.broker.Published(); len(all) != 1 || !all[0].Will {
		t.Fatalf("published %+v, want the will", all)
	}
	r.wantOrigin("client=a signal=-99")
}

// Without a session it is not known whose a message is, but where it comes from.
func TestOriginWithoutASession(t *testing.T) {
	r := newRig(t, tells("client", "gateway", "signal", "hop"))
	for range 2 { // from the queue, and at once
		r.heard(radioAddr, -71, publish(mqttsn.QoSMinusOne))
		r.wantOrigin("gateway=1 signal=-71 hop=fake node=0013a200400a0127")
	}
	r.heard(addr(1), -40, behind("n", publish(mqttsn.QoSMinusOne)))
	r.wantOrigin("gateway=1 hop=fake forwarder=" + addr(1).String() + " node=6e")
	r.from(1, connect("a"))
	r.from(1, mqttsn.Disconnect{})
	r.from(1, publish(mqttsn.QoSMinusOne)) // the address may be another's by now
	r.wantOrigin("gateway=1 hop=fake")
}

// The same list goes with every message until something changes, and off is off.
func TestOriginCostsNothing(t *testing.T) {
	lists := func(o func(*Options)) (made int) {
		r := newRig(t, o)
		r.heard(radioAddr, -71, connect("a"))
		var last *broker.UserProperty
		for range 10 {
			r.heard(radioAddr, -71, publish(0))
			all := r.broker.Published()
			if list := all[len(all)-1].User; len(list) > 0 && &list[0] != last {
				made, last = made+1, &list[0]
			}
		}
		return made
	}
	if n := lists(nil); n != 0 {
		t.Errorf("%d lists were made with the option off", n)
	}
	if n := lists(tells("client", "signal")); n != 1 {
		t.Errorf("%d lists were made for 10 messages, want 1", n)
	}
}

func TestUserPropertiesOption(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"client", "gateway", "signal", "hop"}, ""},
		{[]string{"rssi"}, `user_properties: "rssi" is not allowed`},
		{[]string{"hop", "hop"}, `user_properties: "hop" is listed twice`},
	} {
		o := DefaultOptions()
		o.UserProperties = c.words
		if err := o.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.words, err, c.want)
		}
	}
}

// Whatever a link or an identity is called, the value is text that MQTT carries.
func TestOriginIsText(t *testing.T) {
	for s, want := range map[string]string{
		"udp [::1]:1883":               "udp [::1]:1883",
		"a\x00b\xffc\n":                "a?b?c?",
		strings.Repeat("ä", 300):       strings.Repeat("ä", 256),
		"x" + strings.Repeat("ä", 300): "x" + strings.Repeat("ä", 255),
	} {
		if got := printable(s); got != want || !utf8.ValidString(got) {
			t.Errorf("%q became %q", s, got)
		}
	}
}

// A proven identity names the forwarder, and the sender of a message without a session.
func TestOriginWithAnIdentity(t *testing.T) {
	r := newSecureRig(t, func(o *Options) {
		o.UserProperties = []string{"client", "hop"}
		o.Forwarders = []string{"identity:b"}
	})
	r.from(1, publish(mqttsn.QoSMinusOne))
	r.wantOrigin("client=a hop=fake")
	r.from(5, publish(mqttsn.QoSMinusOne)) // who has proven nothing
	r.wantOrigin("hop=fake")
	r.from(4, behind("\x01", connect("x")))
	r.from(4, behind("\x01", publish(0)))
	r.wantOrigin("client=x hop=fake forwarder=b node=01")
	r.from(4, behind("\x02", publish(mqttsn.QoSMinusOne)))
	r.wantOrigin("hop=fake forwarder=b node=02")
}
