package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a gateway whose link and broker the test plays: datagrams go in by from and
// what came out is read by want.
type rig struct {
	*testing.T
	gateway *Gateway
	link    *scriptedLink
	broker  *memory.Broker
}

// scriptedLink records what the gateway sends.
type scriptedLink struct {
	fakeLink
	mu      sync.Mutex
	to      []transports.Addr
	batches int
}

func (l *scriptedLink) Send(batch []transports.Datagram) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches++
	for _, d := range batch {
		l.to = append(l.to, d.Addr)
	}
	return l.fakeLink.Send(batch)
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	o := DefaultOptions()
	o.Shards = 2
	o.Session.MaxAmplification = 0 // most clients here answer nothing
	if change != nil {
		change(&o)
	}
	r := &rig{T: t, link: &scriptedLink{fakeLink: fakeLink{room: 1 << 30}}, broker: memory.New()}
	g, err := New(o, []transports.Link{r.link}, r.broker, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway = g
	t.Cleanup(func() {
		for _, s := range g.shards {
			s.timer.Stop()
		}
	})
	return r
}

// publish lets the broker deliver a message of somebody else's.
func (r *rig) publish(topic string, qos byte) {
	r.broker.Publish(topic, nil, qos, false)
	r.gateway.settle()
}

// from lets packets arrive from a peer in one batch.
func (r *rig) from(peer int, packets ...mqttsn.Packet) {
	var batch []transports.Datagram
	for _, p := range packets {
		batch = append(batch, transports.Datagram{Addr: addr(peer), Data: p.Append(nil)})
	}
	r.gateway.intakes[0].receive(batch)
}

// want checks what has been sent since the last want, as "peer TYPE", in any order of
// the peers.
func (r *rig) want(want ...string) {
	r.Helper()
	var got []string
	for i, data := range r.link.sent {
		p, err := mqttsn.Decode(data)
		if err != nil {
			r.Fatalf("sent % x: %v", data, err)
		}
		peer := "?"
		for n := range 100 {
			if addr(n) == r.link.to[i] {
				peer = fmt.Sprint(n)
			}
		}
		s := peer + " " + p.Type().String()
		if ack, ok := p.(*mqttsn.Connack); ok {
			s += " " + ack.ReturnCode.String()
		}
		got = append(got, s)
	}
	r.link.sent, r.link.to = nil, nil
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.Fatalf("sent %q, want %q", got, want)
	}
}

func connect(id string) mqttsn.Packet {
	return mqttsn.Connect{ProtocolID: 1, Duration: 60, CleanSession: true, ClientID: []byte(id)}
}

func resume(id string) mqttsn.Packet {
	return mqttsn.Connect{ProtocolID: 1, Duration: 60, ClientID: []byte(id)}
}

func shortTopic(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

// subscribed connects a client at a peer and subscribes it to a short topic, QoS 1.
func (r *rig) subscribed(peer int, id, topic string) {
	r.Helper()
	r.from(peer, resume(id))
	r.from(peer, mqttsn.Subscribe{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic(topic), MsgID: 1})
	r.want(fmt.Sprint(peer, " CONNACK accepted"), fmt.Sprint(peer, " SUBACK"))
}

func TestPublishReachesAnotherClient(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 { // on both shards
		r.subscribed(i, fmt.Sprint("client-", i), "ab")
	}
	r.from(3, mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), MsgID: 7})
	want := []string{"3 PUBACK"}
	for i := range 20 {
		want = append(want, fmt.Sprint(i, " PUBLISH"))
	}
	r.want(want...)
}

// A client id that is a prefix of another names another client.
func TestPrefixOfAClientID(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(10, "sensor10", "ab")
	r.subscribed(1, "sensor1", "cd")
	r.publish("ab", 0)
	r.want("10 PUBLISH")
	r.publish("cd", 0)
	r.want("1 PUBLISH")
}

func TestConnectTakesTheSessionToANewPeer(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(2, resume("a"))
	r.want("2 CONNACK accepted")
	r.publish("ab", 0)
	r.want("2 PUBLISH")
	r.from(1, mqttsn.Pingreq{})
	r.want("1 DISCONNECT")
}

// Who connects from the peer of another client takes its place, and the other gets
// nothing that is not its own.
func TestPeerOfAnotherClient(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(1, connect("b"))
	r.want("1 CONNACK accepted")
	r.publish("ab", 0)
	r.want()
	r.from(2, resume("a"))
	r.want("2 CONNACK accepted")
	r.from(1, mqttsn.Pingreq{})
	r.want("1 PINGRESP")
}

func TestWakeFromANewPeer(t *testing.T) {
	for _, policy := range []string{RoamAny, RoamConnect, RoamNever} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Roaming = policy })
			r.subscribed(1, "a", "ab")
			r.from(1, mqttsn.Disconnect{HasDuration: true, Duration: 60})
			r.want("1 DISCONNECT")
			r.publish("ab", 0)
			r.want()
			r.from(2, mqttsn.Pingreq{ClientID: []byte("a")})
			if policy != RoamAny {
				r.want("2 DISCONNECT")
				return
			}
			r.want("2 PUBLISH", "2 PINGRESP")
			r.from(1, mqttsn.Pingreq{})
			r.want("1 DISCONNECT")
		})
	}
}

func TestRoamingNever(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Roaming = RoamNever })
	r.subscribed(1, "a", "ab")
	r.from(2, resume("a"))
	r.want("2 CONNACK not supported")
	r.from(1, mqttsn.Disconnect{})
	r.from(2, resume("a"))
	r.want("1 DISCONNECT", "2 CONNACK accepted")
}

func TestUnknownPeers(t *testing.T) {
	for _, c := range []struct {
		packet mqttsn.Packet
		told   bool
	}{
		{mqttsn.Publish{}, true}, {mqttsn.Publish{QoS: 2, MsgID: 1}, true}, {mqttsn.Pubrel{MsgID: 1}, true},
		{mqttsn.Subscribe{MsgID: 1, TopicName: []byte("a")}, true}, {mqttsn.Unsubscribe{MsgID: 1, TopicName: []byte("a")}, true},
		{mqttsn.Register{TopicName: []byte("a")}, true}, {mqttsn.Pingreq{}, true}, {mqttsn.Pingreq{ClientID: []byte("x")}, true},
		{mqttsn.WillTopicUpd{Topic: []byte("a")}, true}, {mqttsn.WillMsgUpd{}, true}, {mqttsn.Disconnect{}, true},
		{mqttsn.Regack{}, false}, {mqttsn.Puback{}, false}, {mqttsn.Pubrec{}, false}, {mqttsn.Pubcomp{}, false},
		{mqttsn.Pingresp{}, false}, {mqttsn.WillTopic{}, false}, {mqttsn.WillMsg{}, false}, {mqttsn.Connack{}, false},
		{mqttsn.Advertise{}, false}, {mqttsn.Publish{QoS: mqttsn.QoSMinusOne}, false},
		{mqttsn.GWInfo{}, false},
	} {
		r := newRig(t, nil)
		r.from(1, c.packet)
		if c.told {
			r.want("1 DISCONNECT")
		} else {
			r.want()
		}
	}
}

func TestUnknownPeerIsToldALimitedNumberOfTimes(t *testing.T) {
	r := newRig(t, nil)
	for range 1000 {
		r.from(1, mqttsn.Pingreq{})
	}
	if n := len(r.link.sent); n < 1 || n > 2*peerBurst {
		t.Errorf("1000 packets were answered %d times", n)
	}
	if n := r.gateway.Stats().Dropped["unknown_peer"]; n != 1000 {
		t.Errorf("%d packets counted as of an unknown peer, want 1000", n)
	}
}

func TestMaxClients(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxClients = 2 })
	r.from(1, connect("a"))
	r.from(2, connect("b"))
	r.from(3, connect("c"))
	r.want("1 CONNACK accepted", "2 CONNACK accepted", "3 CONNACK congestion")
	r.from(2, mqttsn.Disconnect{}) // a clean session ends
	r.from(3, connect("c"))
	r.want("2 DISCONNECT", "3 CONNACK accepted")
}

// A refused CONNECT leaves nothing behind.
func TestRefusedConnect(t *testing.T) {
	r := newRig(t, nil)
	for i := range 100 {
		r.from(i, mqttsn.Connect{ProtocolID: 2, ClientID: fmt.Append(nil, "a", i)})
	}
	r.from(1, mqttsn.Connect{ProtocolID: 1})
	if n := r.gateway.clients.Load(); n != 0 || len(r.gateway.routes.by) != 0 {
		t.Errorf("%d clients and %d routes left", n, len(r.gateway.routes.by))
	}
}

func TestQoSMinusOneWithoutASession(t *testing.T) {
	predefined, err := session.NewPredefined([]session.PredefinedTopic{{ID: 5, Topic: "pre/defined"}, {ID: 6, Topic: "x", Client: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Session.Predefined = predefined })
	minusOne := func(t mqttsn.TopicIDType, id uint16) mqttsn.Packet {
		return mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: t, TopicID: id, Retain: true, DUP: true, MsgID: 5, Data: []byte("hi")}
	}
	r.from(1, minusOne(mqttsn.TopicShort, shortTopic("ab")), minusOne(mqttsn.TopicPredefined, 5),
		minusOne(mqttsn.TopicPredefined, 6), minusOne(mqttsn.TopicPredefined, 7),
		minusOne(mqttsn.TopicShort, shortTopic("a#")), minusOne(mqttsn.TopicNormal, 1))
	r.want()
	var got []string
	for _, p := range r.broker.Published() {
		got = append(got, fmt.Sprint(p.Topic, " ", string(p.Payload), " ", p.QoS, " ", p.Retain))
	}
	if want := []string{"ab hi 0 true", "pre/defined hi 0 true"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if n := r.gateway.Stats().Dropped["qos_minus_one_topic"]; n != 4 {
		t.Errorf("%d messages counted as dropped for their topic, want 4", n)
	}
}

func TestQoSMinusOneWhileTheBrokerIsAway(t *testing.T) {
	r := newRig(t, nil)
	hello := mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}
	r.broker.SetUp(false)
	r.from(1, hello, hello)
	r.broker.SetUp(true)
	r.gateway.start = r.gateway.start.Add(-2 * minusOneRetry)
	r.from(1, hello)
	if n := len(r.broker.Published()); n != 1 {
		t.Errorf("%d messages published, want the one sent after the broker was back", n)
	}
	if n := r.gateway.Stats().Dropped["qos_minus_one_broker"]; n != 2 {
		t.Errorf("%d messages counted as dropped, want 2", n)
	}
}

func TestMalformedPacketsChangeNothing(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	var bad []transports.Datagram
	for _, data := range [][]byte{nil, {2}, {0, 0x16}, {1, 0x16}, {5, 0x16}, {2, 0x16, 0}, {2, 3}, {2, 0xFD}, {6, 0x0C, 0, 0, 5, 0}} {
		bad = append(bad, transports.Datagram{Addr: addr(1), Data: data}, transports.Datagram{Addr: addr(2), Data: data})
	}
	r.gateway.intakes[0].receive(bad)
	r.want()
	if n := r.gateway.Stats().Dropped["malformed"]; n != uint64(len(bad)) {
		t.Errorf("%d datagrams counted as malformed, want %d", n, len(bad))
	}
	r.from(1, mqttsn.Pingreq{})
	r.want("1 PINGRESP")
}

// A broker that is busy makes the gateway say congestion, at once.
func TestBusyBroker(t *testing.T) {
	r := newRig(t, nil)
	r.broker.BusyAfter(0)
	r.from(1, connect("a"))
	r.want("1 CONNACK congestion")
}

// What an ended connection still had to say must not reach the next one.
func TestEventsOfAnEndedConnectionAreVoid(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, connect("a"))
	s := r.gateway.shardOf([]byte("a"))
	c := s.clients["a"]
	c.Receive(broker.Event{Kind: broker.Delivered, Message: &broker.Message{Topic: "ab"}})
	r.from(1, mqttsn.Pingreq{}) // let it through while it counts
	r.want("1 CONNACK accepted", "1 PUBLISH", "1 PINGRESP")
	stale := event{client: c, epoch: c.epoch.Load(), Event: broker.Event{Kind: broker.Delivered, Message: &broker.Message{Topic: "ab"}}}
	r.from(1, mqttsn.Register{TopicName: []byte("x")}) // so that the CONNECT is no duplicate
	r.from(1, connect("a"))
	s.inbox.push(stale)
	r.gateway.settle()
	r.want("1 REGACK", "1 CONNACK accepted")
	if n := r.gateway.Stats().Dropped["disconnection"]; n != 1 {
		t.Errorf("%d messages counted as dropped for the disconnection, want 1", n)
	}
}
