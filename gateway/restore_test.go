package gateway

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// restartable is a rig whose gateway can crash and come back. The broker stays, like one
// elsewhere; what it is asked by a gateway that has crashed does not reach it.
type restartable struct {
	*rig
	store *store.Memory
	links []transports.Link
	line  *cable
}

// cable leads to a broker, until it is cut.
type cable struct {
	*memory.Broker
	cut atomic.Bool
}

func (c *cable) Open(id string, to broker.Receiver) broker.Conn {
	return &cableConn{c.Broker.Open(id, to), c}
}

type cableConn struct {
	broker.Conn
	cable *cable
}

func (c *cableConn) Do(r *broker.Request) error {
	if c.cable.cut.Load() {
		return broker.ErrClosed
	}
	return c.Conn.Do(r)
}

// newRestartable is a gateway with a store in which all is durable at once.
func newRestartable(t *testing.T, change func(*Options)) *restartable {
	t.Helper()
	r := &restartable{rig: newRig(t, change), store: store.NewMemory()}
	r.broker = memory.New()
	r.links = []transports.Link{r.link}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin starts a gateway with what the store has.
func (r *restartable) begin() error {
	r.broker.Keep(r.store)
	r.line = &cable{Broker: r.broker}
	g, err := New(r.gateway.options, r.links, r.line, r.store, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	r.gateway = g
	r.Cleanup(func() {
		for _, s := range g.shards {
			s.timer.Stop()
		}
	})
	return nil
}

// crash ends the gateway at once and starts another. The sessions do not go on yet.
func (r *restartable) crash() {
	r.Helper()
	r.line.cut.Store(true)
	r.store = r.store.Crash()
	if err := r.begin(); err != nil {
		r.Fatal(err)
	}
	r.gateway.check(r)
}

// restart is crash, and all sessions go on.
func (r *restartable) restart() {
	r.Helper()
	r.crash()
	r.gateway.resume(r.Context())
	r.gateway.check(r)
}

// later lets the time pass that the broker has to deliver what it had before the crash.
func (r *restartable) later() {
	<-time.After(5 * time.Second)
	synctest.Wait()
}

func asleep(seconds uint16) mqttsn.Packet {
	return mqttsn.Disconnect{HasDuration: true, Duration: seconds}
}

// takeMessage wants one QoS 1 PUBLISH at a peer, and acknowledges it.
func (r *restartable) takeMessage(peer int) {
	r.Helper()
	if len(r.link.sent) != 1 {
		r.Fatalf("%d packets sent, want one PUBLISH", len(r.link.sent))
	}
	p, _ := mqttsn.Decode(r.link.sent[0])
	m, ok := p.(*mqttsn.Publish)
	if !ok {
		r.Fatalf("%v sent, want PUBLISH", p.Type())
	}
	r.link.sent, r.link.to = nil, nil
	r.from(peer, mqttsn.Puback{TopicID: m.TopicID, MsgID: m.MsgID, ReturnCode: mqttsn.Accepted})
}

// both runs a test with a packet that comes before it is its sender's turn to go on, and
// with one that comes after.
func both(t *testing.T, f func(t *testing.T, restart func(*restartable))) {
	t.Run("before its turn", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, (*restartable).crash) })
	})
	t.Run("after its turn", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, (*restartable).restart) })
	})
}

// A sleeper wakes up after a crash without a CONNECT, whether its session was to outlive its
// connection or not, and gets what came for it before and after the crash.
func TestSleeperWakesAfterACrash(t *testing.T) {
	both(t, func(t *testing.T, restart func(*restartable)) {
		for _, p := range []mqttsn.Packet{resume("a"), connect("a")} {
			r := newRestartable(t, nil)
			r.from(1, p)
			r.from(1, mqttsn.Subscribe{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), MsgID: 1})
			r.from(1, asleep(60))
			r.want("1 CONNACK accepted", "1 SUBACK", "1 DISCONNECT")
			r.publish("ab", 1)
			restart(r)
			r.want()
			r.publish("ab", 1)
			r.from(1, mqttsn.Pingreq{ClientID: []byte("a")})
			r.takeMessage(1)
			r.takeMessage(1)
			r.later()
			r.want("1 PINGRESP")
			r.gateway.check(t)
		}
	})
}

// A PUBREC that comes before the broker has brought the message again does not end the
// exchange: the client would not know the message any more when it does come.
func TestPubrecBeforeTheMessageIsBack(t *testing.T) {
	r := newRestartable(t, nil)
	r.from(1, resume("a"))
	r.from(1, mqttsn.Subscribe{QoS: 2, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), MsgID: 1})
	r.want("1 CONNACK accepted", "1 SUBACK")
	r.publish("ab", 2)
	p, _ := mqttsn.Decode(r.link.sent[0])
	id := p.(*mqttsn.Publish).MsgID
	r.want("1 PUBLISH")
	r.broker.Hold(broker.Delivered)
	r.restart()
	r.from(1, mqttsn.Pubrec{MsgID: id})
	r.want()
	r.broker.Release()
	r.gateway.settle()
	p, _ = mqttsn.Decode(r.link.sent[0])
	if again := p.(*mqttsn.Publish); again.MsgID != id || !again.DUP {
		t.Errorf("the message comes again as %+v, its MsgId was %d", again, id)
	}
	r.want("1 PUBLISH")
	r.from(1, mqttsn.Pubrec{MsgID: id})
	r.want("1 PUBREL")
	r.from(1, mqttsn.Pubcomp{MsgID: id})
	r.gateway.check(t)
}

// What a device has registered before a crash is understood after it.
func TestTopicIDsOutliveACrash(t *testing.T) {
	both(t, func(t *testing.T, restart func(*restartable)) {
		r := newRestartable(t, nil)
		r.from(1, resume("a"))
		r.want("1 CONNACK accepted")
		r.from(1, mqttsn.Register{TopicName: []byte("some/topic"), MsgID: 1})
		registered, err := mqttsn.Decode(r.link.sent[0])
		if err != nil {
			t.Fatal(err)
		}
		r.want("1 REGACK")
		restart(r)
		r.from(1, mqttsn.Publish{QoS: 1, TopicID: registered.(*mqttsn.Regack).TopicID, MsgID: 2, Data: []byte("hi")})
		r.want("1 PUBACK")
		if p := r.broker.Published(); len(p) != 1 || p[0].Topic != "some/topic" {
			t.Errorf("published %+v", p)
		}
	})
}

// A session that ends with its connection ends with the gateway.
func TestCleanSessionsEndWithTheGateway(t *testing.T) {
	r := newRestartable(t, nil)
	r.from(1, connect("a"))
	r.want("1 CONNACK accepted")
	r.restart()
	r.from(1, mqttsn.Pingreq{})
	r.want("1 DISCONNECT")
	if n := len(r.store.Records()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// A session that is over leaves nothing in the store.
func TestNothingIsLeftOfASession(t *testing.T) {
	r := newRestartable(t, nil)
	r.from(1, resume("a"))
	r.from(1, mqttsn.Register{TopicName: []byte("some/topic"), MsgID: 1})
	r.from(1, asleep(60))
	r.restart()
	r.from(2, connect("a"))
	r.from(2, mqttsn.Disconnect{})
	if n := len(r.store.Records()); n != 0 {
		t.Errorf("%d records are left: %v", n, r.store.Records())
	}
}

// A node behind a forwarder is found again, and counts among its clients.
func TestNodesBehindForwardersAreRestored(t *testing.T) {
	r := newRestartable(t, func(o *Options) { o.ForwarderClients = 1 })
	r.from(1, behind("n", resume("a")))
	r.wantBehind(1, "n CONNACK")
	r.restart()
	r.from(1, behind("m", resume("b")))
	r.wantBehind(1, "m CONNACK")
	r.dropped("forwarder_clients", 1)
	r.from(1, behind("n", mqttsn.Pingreq{}))
	r.wantBehind(1, "n PINGRESP")
}

// Who is displaced from a peer does not get what the other one sends, before a crash or
// after it, though the store does not know the other one.
func TestDisplacedClientsStayDisplaced(t *testing.T) {
	r := newRestartable(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(1, connect("b"))
	r.want("1 CONNACK accepted")
	r.restart()
	r.from(1, mqttsn.Pingreq{})
	r.want("1 DISCONNECT")
	r.from(2, mqttsn.Pingreq{ClientID: []byte("a")})
	r.want("2 PINGRESP")
	r.restart()
	r.from(2, mqttsn.Pingreq{})
	r.want("2 PINGRESP")
}

// The newcomer is not told that it is welcome before the store knows who has left.
func TestDisplacementIsDurableFirst(t *testing.T) {
	r := newRestartable(t, nil)
	r.subscribed(1, "a", "ab")
	r.store.Hold()
	r.from(1, connect("b"))
	r.want()
	r.commit(r.store)
	r.want("1 CONNACK accepted")
}

// Where a client moved to last is where it is.
func TestMovesAreKept(t *testing.T) {
	r := newRestartable(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(2, resume("a"))
	r.want("2 CONNACK accepted")
	r.restart()
	r.from(1, mqttsn.Pingreq{})
	r.from(2, mqttsn.Pingreq{})
	r.want("1 DISCONNECT", "2 PINGRESP")
}

// A session that was begun with an identity is out of reach for everybody else after a crash
// as well, and needs no CONNECT from whoever has it.
func TestIdentitiesOutliveACrash(t *testing.T) {
	both(t, func(t *testing.T, restart func(*restartable)) {
		r := newRestartable(t, nil)
		r.links = []transports.Link{secureLink{r.link, map[transports.Addr]string{addr(1): "a", addr(2): "a", addr(4): "b"}}}
		if err := r.begin(); err != nil {
			t.Fatal(err)
		}
		r.from(1, resume("a"))
		r.from(1, asleep(60))
		r.want("1 CONNACK accepted", "1 DISCONNECT")
		restart(r)
		r.from(5, resume("a"))
		r.from(4, resume("a"))
		r.want("4 CONNACK not supported", "5 CONNACK not supported")
		r.from(5, mqttsn.Pingreq{ClientID: []byte("a")})
		r.want("5 DISCONNECT")
		r.from(2, mqttsn.Pingreq{ClientID: []byte("a")})
		r.later()
		r.want("2 PINGRESP")
	})
}

// Clients on a link that is not there any more are nowhere, and may come back elsewhere
// whatever the policy.
func TestRestoreWithoutTheLink(t *testing.T) {
	for _, policy := range []string{RoamAny, RoamConnect, RoamNever} {
		r := newRestartable(t, func(o *Options) { o.Roaming = policy })
		r.from(1, resume("a"))
		r.want("1 CONNACK accepted")
		r.links = []transports.Link{renamedLink{r.link}}
		r.restart()
		r.from(1, mqttsn.Pingreq{})
		r.want("1 DISCONNECT")
		r.from(2, resume("a"))
		r.want("2 CONNACK accepted")
	}
}

type renamedLink struct{ *scriptedLink }

func (renamedLink) Name() string { return "another" }

// Restored clients count among max_clients.
func TestRestoredClientsCount(t *testing.T) {
	r := newRestartable(t, func(o *Options) { o.MaxClients = 2 })
	r.from(1, resume("a"))
	r.from(2, resume("b"))
	r.want("1 CONNACK accepted", "2 CONNACK accepted")
	r.restart()
	r.from(3, resume("c"))
	r.want("3 CONNACK congestion")
	if n := r.gateway.Stats().Restored; n != 2 {
		t.Errorf("%d sessions restored, want 2", n)
	}
}

// A restart loses nothing of what a shutdown leaves: sleepers wake up, and who was connected
// and has not heard the goodbye goes on. The broker does not publish a will.
func TestRestartAfterAShutdown(t *testing.T) {
	both(t, func(t *testing.T, restart func(*restartable)) {
		r := newRestartable(t, nil)
		r.subscribed(1, "a", "ab")
		r.from(1, asleep(60))
		r.from(2, connect("b"))
		r.from(2, asleep(60))
		r.from(3, resume("c"))
		r.from(4, connect("d"))
		r.link.sent, r.link.to = nil, nil
		r.gateway.finish()
		r.want("3 DISCONNECT", "4 DISCONNECT")
		restart(r)
		r.from(1, mqttsn.Pingreq{ClientID: []byte("a")})
		r.from(2, mqttsn.Pingreq{ClientID: []byte("b")})
		r.from(3, publishing(1))
		r.from(4, mqttsn.Pingreq{})
		r.later()
		r.want("1 PINGRESP", "2 PINGRESP", "3 PUBACK", "4 DISCONNECT")
	})
}

// A record that cannot be read stops the start, and the error says whose it is.
func TestUnreadablePlaces(t *testing.T) {
	r := newRestartable(t, nil)
	r.from(1, resume("sensor-1"))
	for _, value := range []string{"", "\x02", "\x01", "\x01\x00\x04fake\x02ab\x00more", "\x01\x00\x04fake\x03abc\x00", "\x01\x00"} {
		r.store.Apply(store.Put(store.ClientPlace, "sensor-1", 0, []byte(value)))
		before := len(r.store.Records())
		err := r.begin()
		if err == nil || !strings.Contains(err.Error(), `"sensor-1"`) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("value %q: %v", value, err)
		}
		if len(r.store.Records()) != before {
			t.Error("something was changed")
		}
	}
}

// A place without a session is nobody's.
func TestOrphanedPlaces(t *testing.T) {
	r := newRestartable(t, nil)
	r.store.Apply(store.Put(store.ClientPlace, "nobody", 0, []byte("whatever")))
	r.restart()
	if n := len(r.store.Records()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestPlaceRecord(t *testing.T) {
	for _, p := range []placeRecord{
		{}, {as: broker.Principal{Identity: "i"}}, {link: "udp", addr: addr(1)},
		{broker.Principal{User: "u", Identity: "i"}, "serial", transports.NumberAddr(0), "node"},
	} {
		got, err := readPlace(p.append(nil))
		if err != nil || got != p {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
		whole := p.append(nil)
		for n := range whole {
			if _, err := readPlace(whole[:n]); err == nil {
				t.Errorf("%d of the %d octets of %+v are read", n, len(whole), p)
			}
		}
	}
}

// Records of releases that knew no users are read as they were meant.
func TestPlaceRecordWithoutAUser(t *testing.T) {
	got, err := readPlace([]byte("\x01\x01i\x03udp\x06\x0a\x00\x00\x01\x07\x5b\x00"))
	ap := netip.MustParseAddrPort("10.0.0.1:1883")
	want := placeRecord{as: broker.Principal{Identity: "i"}, link: "udp", addr: transports.IPAddr(ap, 0)}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// BenchmarkRestore is the time from a store with sessions to a gateway that serves them all.
func BenchmarkRestore(b *testing.B) {
	const clients = 10_000
	st := store.NewMemory()
	links := []transports.Link{&nullLink{}}
	o := DefaultOptions()
	g, err := New(o, links, nullBroker{}, st, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for i := range clients {
		for _, p := range []mqttsn.Packet{resume(fmt.Sprint("client-", i)), mqttsn.Register{TopicName: []byte("a/topic"), MsgID: 1}, asleep(60)} {
			g.intakes[0].receive([]transports.Datagram{{Addr: addr(i), Data: p.Append(nil)}})
		}
	}
	for b.Loop() {
		g, err := New(o, links, nullBroker{}, st.Crash(), slog.New(slog.DiscardHandler))
		if err != nil || g.restored != clients {
			b.Fatal(g.restored, err)
		}
		g.resume(b.Context())
	}
}
