package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// guard makes rights of an ACL file.
func guard(t *testing.T, acl string) *auth.Guard {
	t.Helper()
	o := auth.DefaultOptions()
	o.ACLFile = writeFile(t, "acl", acl)
	g, err := auth.New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Sleepers that park messages hold no more than their queues may have, every message is
// accounted for, and what they hold is gone when they stay away.
func TestAttackParkedSleepers(t *testing.T) {
	const sleepers, messages, most = 1000, 1000, 4 << 10
	synctest.Test(t, func(t *testing.T) {
		r := attacked(t, RoamAny, sleepers, func(o *Options) {
			o.Session.MaxQueuedBytes, o.Session.MaxSleep = most, time.Hour
		})
		for i := range sleepers {
			r.from(victims+i, connect(fmt.Sprint("c", i)))
			r.from(victims+i, mqttsn.Subscribe{QoS: mqttsn.QoS(i % 2), TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), MsgID: 1})
			r.from(victims+i, asleep(65535))
		}
		payload := make([]byte, 50)
		for range messages {
			r.broker.Publish("ab", payload, 1, false)
			r.gateway.settle()
		}
		r.gateway.check(t)
		st := r.gateway.Stats()
		t.Logf("A10: %d sleepers, %d messages to each: %d octets wait, at most %d may; %d dropped by name", sleepers, messages, st.QueuedBytes, sleepers*most, st.Messages.Dropped)
		if st.QueuedBytes > sleepers*most || st.QueuedBytes == 0 || st.Messages.Dropped == 0 {
			t.Errorf("%d octets wait, and %d messages were dropped", st.QueuedBytes, st.Messages.Dropped)
		}
		<-time.After(2 * time.Hour) // more than max_sleep with tolerance
		synctest.Wait()
		r.gateway.settle()
		r.gateway.check(t)
		if st = r.gateway.Stats(); st.QueuedBytes != 0 || r.gateway.clients.Load() != 0 {
			t.Errorf("%d octets and %d clients are left of sleepers that stayed away", st.QueuedBytes, r.gateway.clients.Load())
		}
		for _, s := range r.gateway.shards {
			s.timer.Stop()
		}
	})
}

// QoS -1 needs no connection. It can be switched off, and confined to topics by rights.
func TestAttackPublishWithoutConnection(t *testing.T) {
	const tries = 10_000
	predefined, err := session.NewPredefined([]session.PredefinedTopic{{ID: 1, Topic: "open/door"}, {ID: 2, Topic: "status"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, acl, reason string
		off               bool
		published         int
	}{
		{"off", "", "qos_minus_one_off", true, 0},
		{"an empty ACL file", "", "qos_minus_one_denied", false, 0},
		{"rights of others", "topic write status\nuser other\ntopic write open/door\n", "qos_minus_one_denied", false, 0},
		{"its own rights", "user plant\ntopic write open/door\n", "qos_minus_one_denied", false, tries},
		{"rights of the identity", "user users\ntopic write open/door\n", "qos_minus_one_denied", false, 0},
	} {
		r := newOwnedRig(t, nil, func(o *Options) {
			o.QoSMinusOne, o.QoSMinusOneRate, o.Access = !c.off, 1_000_000, guard(t, c.acl)
			o.Session.Predefined = predefined
			o.IdentityFile = writeFile(t, "identities", "a x users\n")
		})
		for i := range tries {
			r.from(forgers+i, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicPredefined, TopicID: 1})
		}
		published, counted := len(r.broker.Published()), r.gateway.Stats().Dropped[c.reason]
		t.Logf("A11 %s: %d QoS -1 messages of strangers: %d published, %d counted as %s", c.name, tries, published, counted, c.reason)
		if published != c.published || int(counted) != tries-c.published {
			t.Errorf("%s: %d published, want %d; %d counted", c.name, published, c.published, counted)
		}
		before := published
		r.from(1, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicPredefined, TopicID: 1})
		if got := len(r.broker.Published()) - before; (got == 1) != (c.name == "rights of the identity") {
			t.Errorf("%s: %d of a peer with an identity published", c.name, got)
		}
	}
}

// A frame within a frame is refused however deep, and so is one with a wireless node id that
// is too short or too long. A forwarder beyond its rate does not take anything from others.
func TestAttackForwarders(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ForwarderRate = 100 })
	frames := 0
	inner := connect("nested").Append(nil)
	for depth := 1; depth <= 64; depth++ {
		inner = mqttsn.Encapsulated{NodeID: []byte("n"), Packet: inner}.Append(nil)
		if depth >= 2 {
			frames++
			r.gateway.intakes[0].receive([]transports.Datagram{{Addr: addr(1), Data: inner}})
		}
	}
	for length := range 256 { // as the Length octet says, whatever follows
		frame := append([]byte{byte(length), byte(mqttsn.TypeEncapsulated), 0}, connect("n").Append(nil)...)
		if length <= 3 || length >= len(frame) {
			frames++
			r.gateway.intakes[0].receive([]transports.Datagram{{Addr: addr(2), Data: frame}})
		}
	}
	st := r.gateway.Stats()
	t.Logf("A12: %d frames with a depth of 2 to 64 or a wrong length: %d refused, %d clients", frames, st.Dropped["malformed"], r.gateway.clients.Load())
	if int(st.Dropped["malformed"]) != frames || r.gateway.clients.Load() != 0 || len(r.link.sent) != 0 {
		t.Errorf("%d of %d refused, %d clients, %d answers", st.Dropped["malformed"], frames, r.gateway.clients.Load(), len(r.link.sent))
	}

	synctest.Test(t, func(t *testing.T) {
		const seconds, rate = 10, 100
		r := newRig(t, func(o *Options) { o.ForwarderRate = rate })
		r.from(3, behind("1", connect("loud")))
		r.from(4, behind("1", connect("quiet")))
		r.from(5, connect("plain"))
		r.link.sent, r.link.to = nil, nil
		answers := map[transports.Addr]int{}
		for range seconds * rate {
			for range 10 {
				r.from(3, behind("1", mqttsn.Pingreq{}))
			}
			r.from(4, behind("1", mqttsn.Pingreq{}))
			r.from(5, mqttsn.Pingreq{})
			<-time.After(time.Second / rate)
		}
		for _, to := range r.link.to {
			answers[to]++
		}
		t.Logf("A12: one forwarder at 10 times its rate has %d of %d packets answered, another one at its rate %d of %d, a plain client %d of %d",
			answers[addr(3)], 10*seconds*rate, answers[addr(4)], seconds*rate, answers[addr(5)], seconds*rate)
		if answers[addr(4)] != seconds*rate || answers[addr(5)] != seconds*rate || answers[addr(3)] > 2*seconds*rate {
			t.Errorf("answers: %v", answers)
		}
		for _, s := range r.gateway.shards {
			s.timer.Stop()
		}
	})
}

// Each packet in each state, whole and cut short, from a client that nobody else notices.
func TestAttackPacketsInAnyState(t *testing.T) {
	states := [session.States][]mqttsn.Packet{
		session.Disconnected:      {resume("x"), mqttsn.Disconnect{}},
		session.AwaitingWillTopic: {willing()},
		session.AwaitingWillMsg:   {willing(), mqttsn.WillTopic{Topic: []byte("w")}},
		session.Connecting:        {resume("x")},
		session.Active:            {resume("x")},
		session.Asleep:            {resume("x"), asleep(60)},
		session.Awake:             {resume("x"), subscribe("ab"), asleep(60), mqttsn.Publish{QoS: 1, MsgID: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}, mqttsn.Pingreq{ClientID: []byte("x")}},
		session.Lost:              {resume("x")},
	}
	cases, answered := 0, 0
	for state, steps := range states {
		for version := range 3 {
			for kind := range 0x22 {
				if kind >= 0x20 {
					kind += 0xDE // the last two: 0xFE, the frame of a forwarder, and 0xFF
				}
				for _, length := range []int{0, 1, 2, 3, 5, 11} {
					r := newRig(t, nil)
					r.from(2, resume("other"))
					if state == int(session.Connecting) {
						r.broker.Hold(broker.Answered)
					}
					for _, p := range steps {
						r.from(1, p)
					}
					if state == int(session.Lost) {
						c := r.gateway.shardOf([]byte("x")).clients["x"]
						s := c.shard
						s.mu.Lock()
						now := c.session.Deadline()
						c.session.Expire(now, &s.fx)
						s.apply(now, c)
						s.leave(now)
					}
					if c := r.gateway.shardOf([]byte("x")).clients["x"]; c == nil || c.session.State() != session.State(state) {
						t.Fatalf("not %v", session.State(state))
					}
					r.link.sent, r.link.to = nil, nil
					data := []byte{byte(length + 2), byte(kind), 0x20, byte(version), 0, 9, 'x', 0, 1, 2, 'y', 'z', 0, 0}[:length+2]
					r.gateway.intakes[0].receive([]transports.Datagram{{Addr: addr(1), Data: data}})
					cases++
					answered += len(r.link.sent)
					r.link.sent, r.link.to = nil, nil
					if length == 5 {
						r.broker.Release()
						r.gateway.settle()
						r.link.sent, r.link.to = nil, nil
						r.gateway.check(t)
						r.from(2, mqttsn.Pingreq{})
						r.want("2 PINGRESP")
					}
				}
			}
		}
	}
	t.Logf("A14: %d cases of %d states, 34 types, 3 versions and 6 lengths: 0 panics, %d answers", cases, session.States, answered)
}

func willing() mqttsn.Packet {
	return mqttsn.Connect{ProtocolID: 1, Duration: 60, Will: true, ClientID: []byte("x")}
}

// names are 200 that somebody might use to be taken for something else.
func names() (list []string) {
	for _, trick := range []string{
		"\x00", "\n", "\r\n{\"level\":\"ERROR\"}", "\x1b[31m", "\"", "\\", "+", "#", "/#", "+/", "$SYS/broker/uptime",
		"$share/g/t", "$", "%c", "%u", "${identity}", "${clientid}", "\xff", "\xc0\x80", "\xed\xa0\x80", "\ufffe", "\ufeff", "\u2028", "../..", " ",
	} {
		for _, form := range []string{"%s", "a%s", "%sa", "a%sb", "a/%s/b", "dev/%s", "%[1]s%[1]s", "/%s"} {
			list = append(list, fmt.Sprintf(form, trick))
		}
	}
	return list
}

// Whatever a client calls itself or a topic, log lines stay one JSON object each, no topic
// with wildcards or NUL is published to, and no client gets the topics of others by its name.
func TestAttackNames(t *testing.T) {
	var log bytes.Buffer
	r := newOwnedRig(t, nil, func(o *Options) {
		o.Access = guard(t, "pattern readwrite dev/%c/#\npattern readwrite user/%u/%c\n")
	})
	g := r.gateway
	g.log = slog.New(slog.NewJSONHandler(&log, nil))
	for _, s := range g.shards {
		s.complaints, s.moves = bucket{rate: 1, burst: 1 << 20}, bucket{rate: 1, burst: 1 << 20}
	}
	accepted, registered, stolen, lines := 0, 0, 0, 0
	list := names()
	for i, name := range list {
		peer := victims + i
		r.from(1, resume(name)) // an identity that may not use it, mostly
		r.link.sent, r.link.to = nil, nil
		r.from(peer, resume(name))
		p, _ := mqttsn.Decode(r.link.sent[0])
		ok := p.(*mqttsn.Connack).ReturnCode == mqttsn.Accepted
		r.link.sent, r.link.to = nil, nil
		if ok {
			accepted++
			if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
				t.Errorf("the ClientID %q is accepted", name)
			}
			r.from(forgers+i, resume(name)) // a takeover, for the log
			r.from(peer, resume(name))
			r.link.sent, r.link.to = nil, nil
		} else {
			r.from(peer, resume(fmt.Sprint("plain", i)))
		}
		for _, topic := range []string{name, "dev/" + name + "/x", "dev/victim/x", "dev/+/x", "user/plant/" + name} {
			r.link.sent, r.link.to = nil, nil
			r.from(peer, mqttsn.Register{MsgID: 1, TopicName: []byte(topic)})
			p, _ := mqttsn.Decode(r.link.sent[0])
			ack := p.(*mqttsn.Regack)
			if ack.ReturnCode != mqttsn.Accepted {
				continue
			}
			registered++
			if strings.ContainsAny(topic, "+#\x00") || !utf8.ValidString(topic) || strings.HasPrefix(topic, "$") {
				t.Errorf("%q may publish to %q", name, topic)
			}
			if topic == "dev/victim/x" {
				stolen++
			}
			r.from(peer, mqttsn.Publish{QoS: 1, TopicID: ack.TopicID, MsgID: 2})
		}
		for _, filter := range []string{"#", "+/+/x", "dev/#", "dev/victim/#", "$SYS/#", "$share/g/dev/victim/x"} {
			r.link.sent, r.link.to = nil, nil
			r.from(peer, mqttsn.Subscribe{MsgID: 3, TopicName: []byte(filter)})
		}
	}
	r.link.sent, r.link.to = nil, nil
	r.publish("dev/victim/x", 0)
	leaked := len(r.link.sent)
	for _, p := range r.broker.Published() {
		if strings.ContainsAny(p.Topic, "+#\x00") {
			t.Errorf("%q was published to", p.Topic)
		}
	}
	for line := range strings.Lines(log.String()) {
		lines++
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["level"] == "ERROR" {
			t.Errorf("log line %q: %v", line, err)
		}
	}
	t.Logf("A15: %d names: %d ClientIDs accepted, %d topics registered, %d of others among them, %d messages of others received, %d log lines, all JSON",
		len(list), accepted, registered, stolen, leaked, lines)
	if len(list) != 200 || stolen > 0 || leaked > 0 || lines < len(list)/2 || accepted == 0 || registered == 0 {
		t.Error("that is not what should be")
	}
}

// What waits for all sleepers together is bounded as well: QoS 0 messages beyond it are
// dropped by name, those with QoS 1 are not.
func TestAttackQueuesOfAll(t *testing.T) {
	const sleepers, messages, most = 100, 1000, 64 << 10
	synctest.Test(t, func(t *testing.T) {
		r := attacked(t, RoamAny, sleepers+1, func(o *Options) { o.MaxQueuedBytesTotal = most })
		for i := range sleepers + 1 {
			r.from(victims+i, connect(fmt.Sprint("c", i)))
			r.from(victims+i, mqttsn.Subscribe{QoS: mqttsn.QoS(i / sleepers), TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), MsgID: 1})
			r.from(victims+i, asleep(60))
		}
		payload := make([]byte, 50)
		for range messages {
			r.broker.Publish("ab", payload, 1, false)
			r.gateway.settle()
		}
		r.gateway.check(t)
		st := r.gateway.Stats()
		const size, window = 2 + 50, 16 // of a message; of a broker for one client
		bound := most + size*len(r.gateway.shards) + window*size
		t.Logf("%d octets wait for %d sleepers, at most %d may; %d dropped by name", st.QueuedBytes, sleepers+1, most, st.Messages.Dropped)
		if st.QueuedBytes > bound || st.Dropped["queue_full"] < sleepers*messages/2 {
			t.Errorf("%d octets wait, at most %d may; %v", st.QueuedBytes, bound, st.Dropped)
		}
		queued := 0
		for _, s := range r.gateway.shards {
			queued += s.queued
			if c := s.clients[fmt.Sprint("c", sleepers)]; c != nil {
				if n, _ := c.session.Queued(); n != window {
					t.Errorf("%d messages with QoS 1 wait", n)
				}
			}
			s.timer.Stop()
		}
		if queued != st.QueuedBytes {
			t.Errorf("the shards count %d octets of %d", queued, st.QueuedBytes)
		}
	})
}
