package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// behind is a packet as a forwarder sends it for one of its nodes.
func behind(node string, p mqttsn.Packet) mqttsn.Packet {
	return mqttsn.Encapsulated{NodeID: []byte(node), Packet: p.Append(nil)}
}

// wantBehind checks that exactly these packets have been sent, in any order, each to a node of
// the forwarder at peer, with a radius that means this node alone.
func (r *rig) wantBehind(peer int, want ...string) {
	r.Helper()
	var got []string
	for i, data := range r.link.sent {
		p, err := mqttsn.Decode(data)
		frame, ok := p.(*mqttsn.Encapsulated)
		if err != nil || !ok || frame.Radius != 0 || r.link.to[i] != addr(peer) {
			r.Fatalf("sent % x to %v, want a frame for the forwarder %v", data, r.link.to[i], addr(peer))
		}
		inner, err := mqttsn.Decode(frame.Packet)
		if err != nil {
			r.Fatal(err)
		}
		got = append(got, string(frame.NodeID)+" "+inner.Type().String())
	}
	r.link.sent, r.link.to = nil, nil
	slices.Sort(got) // nodes of different shards are served in any order
	slices.Sort(want)
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.Fatalf("sent %q, want %q", got, want)
	}
}

func subscribe(topic string) mqttsn.Packet {
	return mqttsn.Subscribe{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic(topic), MsgID: 1}
}

// Nodes behind one forwarder are clients of their own, with ids of any length.
func TestNodesBehindAForwarder(t *testing.T) {
	r := newRig(t, nil)
	long := strings.Repeat("x", mqttsn.MaxNodeID)
	for _, node := range []string{"1", "22", long} {
		r.from(1, behind(node, connect("client of "+node[:1])))
		r.from(1, behind(node, subscribe(node[:1]+"b")))
		r.wantBehind(1, node+" CONNACK", node+" SUBACK")
	}
	r.publish("2b", 1)
	r.wantBehind(1, "22 PUBLISH")
	r.publish("xb", 0)
	r.wantBehind(1, long+" PUBLISH")
	r.from(1, behind("3", mqttsn.Pingreq{}))
	r.wantBehind(1, "3 DISCONNECT")
	r.from(1, mqttsn.Pingreq{})
	r.want("1 DISCONNECT")
}

// A client may go from a forwarder to another, and to a way of its own.
func TestNodeMoves(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, behind("n", resume("a")))
	r.from(1, behind("n", subscribe("ab")))
	r.wantBehind(1, "n CONNACK", "n SUBACK")
	r.from(2, behind("m", resume("a")))
	r.wantBehind(2, "m CONNACK")
	r.publish("ab", 0)
	r.wantBehind(2, "m PUBLISH")
	r.from(3, resume("a"))
	r.want("3 CONNACK accepted")
	r.publish("ab", 0)
	r.want("3 PUBLISH")
	r.from(3, mqttsn.Disconnect{HasDuration: true, Duration: 60})
	r.publish("ab", 0)
	r.from(1, behind("n", mqttsn.Pingreq{ClientID: []byte("a")}))
	if r.link.to[0] != addr(3) {
		t.Fatal("DISCONNECT went elsewhere")
	}
	r.link.sent, r.link.to = r.link.sent[1:], r.link.to[1:]
	r.wantBehind(1, "n PUBLISH", "n PINGRESP")
	if n := len(r.gateway.routes.behind); n != 1 {
		t.Errorf("%d forwarders have clients, want 1", n)
	}
}

// A packet to a node fits into the link with the frame around it.
func TestFrameCountsTowardsTheMTU(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, behind("node", connect("a")))
	r.from(1, behind("node", subscribe("ab")))
	r.wantBehind(1, "node CONNACK", "node SUBACK")
	room := r.link.MTU() - len("\x07\xFE\x00node") - len("\x01\x05\x78\x0C\x62ab\x00\x00")
	r.broker.Publish("ab", make([]byte, room), 0, false)
	r.broker.Publish("ab", make([]byte, room+1), 0, false)
	r.gateway.settle()
	if len(r.link.sent) != 1 || len(r.link.sent[0]) != r.link.MTU() {
		t.Errorf("%d packets sent, want the one that fits", len(r.link.sent))
	}
}

func TestForwarderLimits(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ForwarderClients, o.ForwarderRate = 2, 10 })
	for i, id := range []string{"a", "b", "c"} {
		r.from(1, behind(string(rune('1'+i)), connect(id)))
	}
	r.wantBehind(1, "1 CONNACK", "2 CONNACK", "3 CONNACK")
	r.from(1, behind("2", connect("c"))) // in the place of another
	r.wantBehind(1, "2 CONNACK")
	if n := r.gateway.Stats().Dropped["forwarder_clients"]; n != 1 {
		t.Errorf("%d clients refused, want 1", n)
	}
	for range 100 {
		r.from(1, behind("1", mqttsn.Pingreq{}))
		r.from(2, behind("1", mqttsn.Puback{}))
	}
	if n := r.gateway.Stats().Dropped["forwarder_rate"]; n < 150 || n > 190 {
		t.Errorf("%d packets beyond the rate, want some 180", n)
	}
}

// The limits are those of a host, whatever ports it uses.
func TestForwarderIsAHost(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ForwarderClients, o.ForwarderRate = 2, 10 })
	for port := range 100 {
		from := transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+port)), 0)
		r.gateway.intakes[0].receive([]transports.Datagram{{Addr: from, Data: behind("1", connect(fmt.Sprint(port))).Append(nil)}})
	}
	st := r.gateway.Stats()
	if n := st.Sent["CONNACK"] - st.Dropped["forwarder_clients"]; n != 2 || st.Dropped["forwarder_rate"] < 80 {
		t.Errorf("%d clients accepted, %d packets beyond the rate", n, st.Dropped["forwarder_rate"])
	}
}

// A forwarder with very many unknown nodes gets few answers, and others get theirs.
func TestUnknownNodes(t *testing.T) {
	r := newRig(t, func(o *Options) { o.UnknownPeerRate = 300 })
	for n := range 2000 {
		r.from(1, behind(fmt.Sprint("node", n), mqttsn.Pingreq{}), behind(fmt.Sprint("node", n), mqttsn.SearchGW{}))
	}
	if n := len(r.link.sent); n > nodeBurst+peerBurst+10 {
		t.Errorf("%d answers to one forwarder within a moment", n)
	}
	r.link.sent, r.link.to = nil, nil
	r.from(2, mqttsn.Pingreq{}, mqttsn.SearchGW{})
	r.want("2 DISCONNECT", "2 GWINFO")
}

func TestForwarderList(t *testing.T) {
	radio, line := transports.NodeAddr([]byte{1, 2}), transports.NumberAddr(1)
	for _, c := range []struct {
		list     string
		addr     transports.Addr
		identity string
		want     bool
	}{
		{"any", addr(1), "", true}, {"any", radio, "", true}, {"any", addr(1), "hub", false},
		{"", addr(1), "", false}, {"", line, "", false},
		{"10.0.0.1", addr(1), "", true}, {"10.0.0.1", addr(2), "", false}, {"10.0.0.0/24 192.0.2.1", addr(2), "", true},
		{"10.0.0.0/24", radio, "", false}, {"serial", radio, "", true}, {"serial", line, "", true}, {"serial", addr(1), "", false},
		{"identity:hub", line, "hub", true}, {"identity:hub", line, "bub", false}, {"identity:hub serial", line, "bub", false},
	} {
		list, err := newForwarderList(strings.Fields(c.list))
		if err != nil {
			t.Fatal(err)
		}
		if got := list.allows(c.addr, c.identity); got != c.want {
			t.Errorf("%q allows %v %q: %t", c.list, c.addr, c.identity, got)
		}
	}
}

func TestForwarderThatIsNotListed(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Forwarders = []string{"10.0.0.2"} })
	r.from(1, behind("1", connect("a")))
	r.want()
	r.from(2, behind("1", connect("a")))
	r.wantBehind(2, "1 CONNACK")
	if n := r.gateway.Stats().Dropped["forwarder_refused"]; n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

// A forwarder of many nodes costs no more allocations per packet than a plain client.
func TestNodesCostNoAllocations(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, behind("node", connect("a")))
	r.wantBehind(1, "node CONNACK")
	packet := behind("node", mqttsn.Pingreq{}).Append(nil)
	batch := []transports.Datagram{{Addr: addr(1), Data: packet}}
	r.gateway.links[0] = &silentLink{}
	if n := testing.AllocsPerRun(100, func() { r.gateway.intakes[0].receive(batch) }); n > 0 {
		t.Errorf("%v allocations per packet, want none", n)
	}
}

type silentLink struct{ fakeLink }

func (*silentLink) Send(batch []transports.Datagram) (int, error) { return len(batch), nil }
