package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// radioLink can reach everybody, and records when and what.
type radioLink struct {
	*scriptedLink
	nobody bool
	mu     sync.Mutex
	start  time.Time
	said   []string
	at     []time.Duration
}

func (l *radioLink) Broadcast(near transports.Addr, radius uint8, data []byte) error {
	if l.nobody {
		return transports.ErrNobody
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf("%v %d % x", near, radius, data))
	l.at = append(l.at, time.Since(l.start))
	return nil
}

func (l *radioLink) heard(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if fmt.Sprint(l.said) != fmt.Sprint(want) {
		t.Errorf("broadcast %q, want %q", l.said, want)
	}
	l.said = nil
}

// gap is the time between two of the packets.
func (l *radioLink) gap(i, j int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[j] - l.at[i]
}

func newRadioRig(t *testing.T, change func(*Options)) (*rig, *radioLink) {
	r := newRig(t, change)
	link := &radioLink{scriptedLink: r.link, start: time.Now()}
	b := memory.New()
	g, err := New(r.gateway.options, []transports.Link{link}, b, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway, r.broker = g, b
	return r, link
}

// all sends packets of a radio to everybody on the link.
func (r *rig) all(local transports.Addr, packets ...mqttsn.Packet) {
	for _, p := range packets {
		r.gateway.intakes[0].receive([]transports.Datagram{{Addr: transports.NodeAddr([]byte{1}), Local: local, Data: p.Append(nil), Multicast: true}})
	}
}

// Who asks this gateway alone is answered alone and at once, client or not.
func TestSearchOfOne(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ID = 7 })
	r.from(1, mqttsn.SearchGW{Radius: 1})
	r.want("1 GWINFO")
	r.subscribed(2, "a", "ab")
	r.from(2, mqttsn.SearchGW{})
	if string(r.link.sent[0]) != "\x03\x02\x07" {
		t.Errorf("GWINFO is % x", r.link.sent[0])
	}
	r.want("2 GWINFO")
	r.from(2, mqttsn.Pingreq{})
	r.want("2 PINGRESP")
	for range 100 {
		r.from(3, mqttsn.SearchGW{})
	}
	r.want("3 GWINFO", "3 GWINFO", "3 GWINFO")
	r.dropped("search_rate", 97)
}

// A node behind a forwarder gets the answer in a frame that tells to broadcast it.
func TestSearchBehindAForwarder(t *testing.T) {
	for radius, want := range map[uint8]string{0: "05 fe 03 00 07 03 02 01", 1: "05 fe 01 00 07 03 02 01", 9: "05 fe 03 00 07 03 02 01"} {
		r := newRig(t, nil)
		r.from(1, behind("\x00\x07", mqttsn.SearchGW{Radius: radius}))
		if len(r.link.sent) != 1 || fmt.Sprintf("% x", r.link.sent[0]) != want {
			t.Errorf("radius %d: sent % x, want %s", radius, r.link.sent, want)
		}
	}
}

// A SEARCHGW shows that its sender lives, like any other packet.
func TestSearchIsASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.from(1, connect("a"))
		r.want("1 CONNACK accepted")
		for range 3 {
			<-time.After(time.Minute)
			r.from(1, mqttsn.SearchGW{})
			r.want("1 GWINFO")
		}
		r.from(1, mqttsn.Pingreq{})
		r.want("1 PINGRESP")
		if st := r.gateway.Stats(); st.Received["SEARCHGW"] != 3 || st.Dropped["unexpected_packet"] != 0 {
			t.Errorf("%d SEARCHGW counted, %d dropped", st.Received["SEARCHGW"], st.Dropped["unexpected_packet"])
		}
	})
}

// Between the question and the answer to all, the broker may go.
func TestSearchOfAllBeforeTheBrokerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, link := newRadioRig(t, nil)
		r.all(addr(90), mqttsn.SearchGW{})
		r.broker.SetUp(false)
		<-time.After(searchJitter)
		synctest.Wait()
		link.heard(t)
		r.dropped("not_ready", 1)
		r.gateway.intakes[0].search.timer.Stop()
	})
}

// What gateways tell each other is counted by itself, and not answered.
func TestOtherGateways(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, mqttsn.Advertise{GatewayID: 2}, mqttsn.GWInfo{GatewayID: 2})
	r.want()
	r.dropped("other_gateway", 2)
}

// Without a broker a gateway is silent.
func TestSearchWithoutBroker(t *testing.T) {
	r := newRig(t, nil)
	r.broker.SetUp(false)
	r.from(1, mqttsn.SearchGW{}, behind("1", mqttsn.SearchGW{}))
	r.want()
	r.dropped("not_ready", 2)
}

// Who asks everybody is answered so that everybody hears it: after a moment, once for
// all who have asked meanwhile, as far as the one furthest away, where they are.
func TestSearchOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, link := newRadioRig(t, nil)
		here, there := addr(90), addr(91)
		r.all(here, mqttsn.SearchGW{Radius: 1}, mqttsn.SearchGW{Radius: 3}, mqttsn.SearchGW{Radius: 2})
		r.all(there, mqttsn.SearchGW{Radius: 1}, mqttsn.SearchGW{Radius: 0}, mqttsn.SearchGW{Radius: 1})
		synctest.Wait()
		link.heard(t)
		<-time.After(searchJitter)
		synctest.Wait()
		link.heard(t, here.String()+" 3 03 02 01", there.String()+" 0 03 02 01")
		r.all(here, mqttsn.SearchGW{})
		<-time.After(2 * searchSpacing)
		synctest.Wait()
		link.heard(t, here.String()+" 0 03 02 01")
		if gap := link.gap(0, 2); gap < searchSpacing {
			t.Errorf("two answers to all within %v", gap)
		}
		for n := range 2 * searchPlaces {
			r.all(addr(n), mqttsn.SearchGW{})
		}
		r.dropped("search_rate", searchPlaces)
		r.want()
		r.gateway.intakes[0].search.timer.Stop()
	})
}

// On an IP network who asks everybody is answered by itself as well: a link without
// groups hears a broadcast, too.
func TestSearchOfAllOnIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, link := newRadioRig(t, nil)
		r.gateway.intakes[0].receive([]transports.Datagram{{Addr: addr(1), Local: addr(90), Data: mqttsn.SearchGW{}.Append(nil), Multicast: true}})
		r.want("1 GWINFO")
		<-time.After(searchJitter)
		synctest.Wait()
		link.heard(t, addr(90).String()+" 0 03 02 01")
		r.gateway.intakes[0].search.timer.Stop()
	})
}

// A link that reaches nobody sends nothing that would be counted.
func TestAdvertiseToNobody(t *testing.T) {
	r, link := newRadioRig(t, nil)
	link.nobody = true
	in := r.gateway.intakes[0]
	in.broadcast(transports.Addr{}, 0, mqttsn.TypeAdvertise, nil)
	if st := r.gateway.Stats(); st.Sent["ADVERTISE"] != 0 || st.Dropped["link_busy"] != 0 {
		t.Errorf("%d sent, %d dropped", st.Sent["ADVERTISE"], st.Dropped["link_busy"])
	}
}

// ADVERTISE tells its true period, and waits for the broker.
func TestAdvertise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, link := newRadioRig(t, func(o *Options) { o.ID, o.Advertise = 3, 1000*time.Second })
		r.broker.SetUp(false)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			r.gateway.advertise(ctx)
			close(ended)
		}()
		<-time.After(time.Hour)
		link.heard(t)
		r.broker.SetUp(true)
		<-time.After(2 * readyPoll)
		const packet = "- 0 05 00 03 03 e8"
		link.heard(t, packet)
		<-time.After(2000 * time.Second)
		link.heard(t, packet, packet)
		if gap := link.gap(1, 2); gap != 1000*time.Second {
			t.Errorf("%v between two ADVERTISE, which say 1000 s", gap)
		}
		r.broker.SetUp(false)
		<-time.After(time.Hour)
		link.heard(t)
		cancel()
		<-ended
		r.gateway.options.Advertise = 0
		r.gateway.advertise(t.Context())
	})
}
