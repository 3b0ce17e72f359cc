package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// network is the address of host h in the nth network of /24.
func network24(n, h int) transports.Addr {
	return transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + n>>16), byte(n >> 8), byte(n), byte(h)}), 1000), 0)
}

// at lets packets arrive from an address, in one batch.
func (r *rig) at(a transports.Addr, packets ...mqttsn.Packet) {
	var batch []transports.Datagram
	for _, p := range packets {
		batch = append(batch, transports.Datagram{Addr: a, Data: p.Append(nil)})
	}
	r.gateway.intakes[0].receive(batch)
}

// timed runs a test in virtual time, and stops the timers of the gateway that it makes.
func timed(t *testing.T, change func(*Options), test func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, change)
		test(r)
		for _, s := range r.gateway.shards {
			s.timer.Stop()
		}
	})
}

// A site of 1,000 devices behind one NAT comes back at once. What comes beyond that is not
// answered, others are not affected, and known clients never are.
func TestConnectRatePerPrefix(t *testing.T) {
	timed(t, nil, func(r *rig) {
		for i := range 1000 {
			r.at(network24(1, i%250), connect(fmt.Sprint("site-", i)))
		}
		r.dropped("connect_rate_per_prefix", 0)
		r.link.sent = nil
		r.at(network24(1, 1), connect("one too many"))
		r.dropped("connect_rate_per_prefix", 1)
		if len(r.link.sent) != 0 {
			t.Errorf("sent % x: want silence", r.link.sent)
		}
		r.at(network24(1, 251), connect("site-7"), mqttsn.Pingreq{})
		r.at(network24(2, 1), connect("elsewhere"))
		if n := len(r.link.sent); n < 2 {
			t.Errorf("%d packets sent, want at least two CONNACKs", n)
		}
		<-time.After(time.Second)
		for i := range 200 {
			r.at(network24(1, 1), connect(fmt.Sprint("later-", i)))
		}
		r.dropped("connect_rate_per_prefix", 101)
		if got := r.gateway.clients.Load(); got != 1101 {
			t.Errorf("%d clients, want 1101", got)
		}
	})
}

// All new clients together have their rate, but for those on this host.
func TestConnectRate(t *testing.T) {
	timed(t, func(o *Options) { o.MaxClients = 100_000 }, func(r *rig) {
		loopback := transports.IPAddr(netip.MustParseAddrPort("127.0.0.1:9"), 0)
		for i := range 1500 {
			r.at(loopback, connect(fmt.Sprint("local-", i)))
		}
		for i := range 10_000 {
			r.at(network24(i, 1), connect(fmt.Sprint("spoofed-", i)))
		}
		r.dropped("connect_rate", 10_000-connectBurst)
		r.dropped("connect_rate_per_prefix", 0)
		<-time.After(time.Second)
		for i := range 10_000 {
			r.at(network24(i, 1), connect(fmt.Sprint("again-", i)))
		}
		if got := r.gateway.clients.Load(); got != 1500+connectBurst+500 {
			t.Errorf("%d clients, want %d", got, 1500+connectBurst+500)
		}
	})
}

// Who has said nothing after CONNECT makes room for others when there is none; who has, stays.
func TestSilentClientsMakeRoom(t *testing.T) {
	const room = 100
	for _, clean := range []bool{true, false} {
		timed(t, func(o *Options) { o.MaxClients, o.Session.MaxAmplification = room, 3 }, func(r *rig) {
			hello := func(id string) mqttsn.Packet {
				if clean {
					return connect(id)
				}
				return mqttsn.Connect{ProtocolID: 1, Duration: 1, ClientID: []byte(id)} // and is lost soon
			}
			r.at(network24(0, 1), resume("honest"), mqttsn.Pingreq{})
			r.at(network24(0, 1), mqttsn.Pingreq{})
			for i := range 2 * room {
				r.at(network24(i, 9), hello(fmt.Sprint("spoofed-", i)))
			}
			if got := r.gateway.clients.Load(); got != room {
				t.Fatalf("%d clients", got)
			}
			r.at(network24(1, 2), connect("too soon"))
			r.dropped("evicted", 0)
			<-time.After(r.gateway.options.Session.TRetry)
			synctest.Wait()
			for i := range room / 4 {
				r.at(network24(1, 2+i), connect(fmt.Sprint("newcomer-", i)))
				r.at(network24(1, 2+i), mqttsn.Pingreq{})
			}
			st := r.gateway.Stats()
			if st.Dropped["evicted"] != room/4 || st.Dropped["max_clients"] != room+2 {
				t.Errorf("clean %v: %v evicted, want %d", clean, st.Dropped, room/4)
			}
			found := 0
			for _, id := range []string{"honest", "newcomer-0", fmt.Sprint("newcomer-", room/4-1)} {
				if r.gateway.shardOf([]byte(id)).clients[id] != nil {
					found++
				}
			}
			if found != 3 {
				t.Errorf("clean %v: %d of 3 honest clients are there; %v", clean, found, st.Dropped)
			}
			r.gateway.check(t)
		})
	}
}

// A client that has subscribed, or whose session the broker had, stays, however silent it is
// after a new CONNECT.
func TestKnownClientsMakeNoRoom(t *testing.T) {
	const room = 3
	timed(t, func(o *Options) { o.Shards, o.MaxClients, o.Session.MaxAmplification = 1, room, 3 }, func(r *rig) {
		r.at(network24(0, 1), resume("listener"))
		r.at(network24(0, 1), mqttsn.Subscribe{QoS: 1, MsgID: 1, TopicName: []byte("orders")})
		r.at(network24(0, 2), resume("listener"))
		conn := r.gateway.broker.Open("stored", receiverFunc(func(broker.Event) {}))
		for _, q := range []broker.Request{{Op: broker.Connect}, {Op: broker.Subscribe, Topic: "orders", QoS: 1}, {Op: broker.Disconnect}} {
			if err := conn.Do(&q); err != nil {
				t.Fatal(err)
			}
		}
		r.at(network24(1, 1), resume("stored"))
		r.at(network24(2, 1), resume("nobody"))
		<-time.After(2 * r.gateway.options.Session.TRetry)
		synctest.Wait()
		r.at(network24(3, 1), connect("first"))
		r.at(network24(3, 2), connect("second"))
		r.dropped("evicted", 1)
		for id, want := range map[string]bool{"listener": true, "stored": true, "nobody": false, "first": true, "second": false} {
			if got := r.gateway.shardOf([]byte(id)).clients[id] != nil; got != want {
				t.Errorf("%s: there %v, want %v", id, got, want)
			}
		}
		r.gateway.check(t)
	})
}

// receiverFunc is a broker.Receiver.
type receiverFunc func(broker.Event)

func (f receiverFunc) Receive(ev broker.Event) { f(ev) }

// A client that publishes faster than it may gets no answers to what is beyond.
func TestPublishRate(t *testing.T) {
	timed(t, func(o *Options) { o.PublishRate, o.PublishByteRate = 10, 1000 }, func(r *rig) {
		r.at(addr(1), connect("a"))
		r.link.sent = nil
		publish := func(id uint16, size int) mqttsn.Packet {
			return mqttsn.Publish{QoS: 1, MsgID: id, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), Data: make([]byte, size)}
		}
		for i := range 100 {
			r.at(addr(1), publish(uint16(i+1), 0))
		}
		if n := len(r.link.sent); n != 20 {
			t.Errorf("%d answers, want those of two seconds", n)
		}
		r.dropped("publish_rate", 80)
		<-time.After(2 * time.Second)
		r.at(addr(1), publish(101, 1500), publish(102, 1500))
		r.dropped("publish_rate", 81)
		<-time.After(time.Second)
		r.at(addr(1), publish(102, 900))
		r.dropped("publish_rate", 81)
	})
}

func TestMeter(t *testing.T) {
	var m meter
	taken := 0
	for ms := range 10_000 { // asked for a thousand times a second
		if m.take(time.Duration(ms)*time.Millisecond, time.Second/10, time.Second) {
			taken++
		}
	}
	if taken < 105 || taken > 110 {
		t.Errorf("%d taken in 10 s at 10 per second with 10 at once", taken)
	}
}
