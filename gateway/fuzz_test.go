package gateway

import (
	"log/slog"
	"maps"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// check looks for what must hold whenever nobody is in a shard and all is settled.
func (g *Gateway) check(t testing.TB) {
	t.Helper()
	clients := 0
	for _, s := range g.shards {
		clients += len(s.clients)
		for id, c := range s.clients {
			if c.gone || c.session.ID() != id || c.shard != s || g.shardOf([]byte(id)) != s {
				t.Fatalf("client %q is not where it belongs", id)
			}
			if c.place == nil && g.restored > 0 {
				continue // its link is not there any more, or proves who is who
			}
			if c.place == nil || c.place.client != c || !c.place.stale.Load() != (g.routes.by[c.place.peer] == c.place) {
				t.Fatalf("client %q and the routes do not agree on its place", id)
			}
			if at := c.session.Deadline(); !at.IsZero() && !c.asIs && (c.filed == notFiled || c.due > g.since(at)) {
				t.Fatalf("client %q would miss its deadline", id)
			}
			if c.waiting < 0 {
				t.Fatalf("client %q got more answers than it asked for", id)
			}
		}
		for i, c := range s.deadlines.heap {
			if c.filed != i || s.clients[c.session.ID()] != c || i > 0 && s.deadlines.heap[(i-1)/2].due > c.due {
				t.Fatalf("deadline %d of %d is wrong", i, len(s.deadlines.heap))
			}
		}
		if s.inbox.some() {
			t.Fatal("an event was left behind")
		}
	}
	if int64(clients) != g.clients.Load() || clients > g.options.MaxClients {
		t.Fatalf("%d clients are counted as %d, at most %d are allowed", clients, g.clients.Load(), g.options.MaxClients)
	}
	for peer, p := range g.routes.by {
		if p.peer != peer || p.client.gone || p.client.place != p || p.stale.Load() {
			t.Fatal("a route leads astray")
		}
	}
	behind := make(map[forwarder]int)
	for peer := range g.routes.by {
		if peer.Node != "" {
			behind[forwarderOf(&peer)]++
		}
	}
	if !maps.Equal(behind, g.routes.behind) {
		t.Fatalf("clients behind forwarders: %v, counted as %v", behind, g.routes.behind)
	}
	st := g.Stats()
	if m := st.Messages; m.Received != m.Delivered+m.Returned+m.Dropped+uint64(st.QueuedMessages) {
		t.Errorf("the broker's messages do not add up: %+v, %d queued", m, st.QueuedMessages)
	}
}

// FuzzIntake feeds a gateway with whatever datagrams, from a few peers on two links, and
// has the broker misbehave in between. The input is a row of records: one octet of what
// and who, one of length, and a datagram.
func FuzzIntake(f *testing.F) {
	var script []byte
	add := func(who byte, packets ...mqttsn.Packet) {
		for _, p := range packets {
			data := p.Append(nil)
			script = append(append(script, who, byte(len(data))), data...)
		}
	}
	end := func() {
		f.Add(script)
		script = nil
	}
	short := shortTopic("ab")
	minusOne := mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: short, Data: []byte("x")}
	add(0, connect("a"), mqttsn.Subscribe{QoS: 2, TopicIDType: mqttsn.TopicShort, TopicID: short, MsgID: 1},
		mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: short, MsgID: 2}, mqttsn.Puback{TopicID: short, MsgID: 1})
	add(1, minusOne)
	end()
	add(0, mqttsn.Connect{Will: true, ProtocolID: 1, ClientID: []byte("w")}, mqttsn.WillTopic{Topic: []byte("t")},
		mqttsn.WillMsg{Message: []byte("m")}, mqttsn.Register{MsgID: 1, TopicName: []byte("x/y")},
		mqttsn.Disconnect{HasDuration: true, Duration: 9})
	add(4, mqttsn.Pingreq{ClientID: []byte("w")}, connect("b"))
	add(0, resume("w"), mqttsn.Encapsulated{NodeID: []byte{1}, Packet: []byte{2, 0x16}})
	end()
	behind := func(node byte, p mqttsn.Packet) mqttsn.Packet {
		return mqttsn.Encapsulated{NodeID: []byte{node}, Packet: p.Append(nil)}
	}
	add(2, behind(1, connect("a")), behind(2, connect("b")), behind(1, connect("b")), behind(2, mqttsn.Pingreq{}),
		connect("b"), mqttsn.SearchGW{}, behind(3, mqttsn.SearchGW{Radius: 1}))
	end()
	add(2, resume("a"), mqttsn.Subscribe{QoS: 1, MsgID: 1, TopicName: []byte("#")})
	script = append(script, 0xF8, 0, 0xF9, 0) // the broker away, and back
	add(6, resume("a"), minusOne)
	end()
	f.Fuzz(func(t *testing.T, script []byte) {
		o := DefaultOptions()
		o.Shards, o.MaxClients, o.ForwarderClients = 2, 3, 2
		b := memory.New()
		links := []transports.Link{&fakeLink{room: 1 << 30}, &fakeLink{room: 2}}
		g, err := New(o, links, b, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, s := range g.shards {
				s.timer.Stop()
			}
		}()
		datagrams := uint64(0)
		for len(script) >= 2 {
			what, n := script[0], min(int(script[1]), len(script)-2)
			data := script[2 : 2+n]
			script = script[2+n:]
			if what >= 0xF0 {
				misbehave(b, what)
				g.settle()
			} else {
				datagrams++
				batch := []transports.Datagram{{Addr: addr(int(what>>1) % 3), Data: append([]byte{}, data...)}}
				g.intakes[what&1].receive(batch)
			}
			g.check(t)
		}
		for _, link := range links {
			for _, data := range link.(*fakeLink).sent {
				if _, err := mqttsn.Decode(data); err != nil {
					t.Fatalf("sent % x: %v", data, err)
				}
			}
		}
		st := g.Stats()
		counted := st.Dropped["malformed"]
		for _, n := range st.Received {
			counted += n
		}
		if counted != datagrams {
			t.Fatalf("%d of %d datagrams are accounted for", counted, datagrams)
		}
	})
}

func misbehave(b *memory.Broker, what byte) {
	switch what & 15 {
	case 0:
		b.Hold(broker.Answered)
	case 1:
		b.Hold()
	case 2:
		b.Step(1)
	case 3:
		b.Release()
	case 4:
		b.Refuse(broker.Connect, broker.CodeNotAuthorized)
	case 5:
		b.Refuse(broker.Publish, broker.CodeQuota)
	case 6:
		b.Refuse(broker.Connect, broker.CodeSuccess)
		b.Refuse(broker.Publish, broker.CodeSuccess)
	case 7:
		b.BusyAfter(1)
	case 8:
		b.SetUp(false)
	case 9:
		b.SetUp(true)
		b.BusyAfter(-1)
	case 10:
		b.Kick("a", broker.CodeTakenOver)
	case 11:
		b.Kick("w", broker.CodeServerUnavailable)
	case 12:
		b.Forget("a")
	case 13:
		b.Kick(DefaultOptions().QoSMinusOneClientID, broker.CodeTakenOver)
	default:
		b.Publish("ab", []byte("x"), what&1+1, what&2 != 0)
	}
}
