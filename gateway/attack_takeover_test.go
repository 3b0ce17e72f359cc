package gateway

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// The attacks of these files forge packets: they come from other addresses than those of the
// clients they name, or are guessed. Where the peers have proven who they are, and on plain
// UDP with the roaming policy "never", they reach nothing.

// How the clients are protected that are attacked.
const proven = "proven" // by an identity; everything else is a roaming policy

// victims and forgers are where the addresses of either begin.
const victims, forgers = 10, 100_000

// attacked is a rig where the clients "c0", "c1" and so on are at the victims' addresses.
func attacked(t *testing.T, protection string, clients int, change func(*Options)) *rig {
	t.Helper()
	r := newRig(t, func(o *Options) {
		if protection != proven {
			o.Roaming = protection
		}
		o.MaxClients = 1_000_000
		if change != nil {
			change(o)
		}
	})
	if protection != proven {
		return r
	}
	names := map[transports.Addr]string{addr(forgers): "forger"}
	for i := range clients {
		names[addr(victims+i)] = fmt.Sprint("c", i)
	}
	r.broker = memory.New()
	g, err := New(r.gateway.options, []transports.Link{secureLink{r.link, names}}, r.broker, nil, slog.New(slog.DiscardHandler))
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

// sentTo counts what has been sent to forgers and to all others since it was last asked, by
// type.
func (r *rig) sentTo() (forged, honest map[mqttsn.Type]int) {
	r.Helper()
	forged, honest = map[mqttsn.Type]int{}, map[mqttsn.Type]int{}
	isForger := func(a transports.Addr) bool {
		ap, _, _ := a.AddrPort()
		ip := ap.Addr().As4()
		return int(ip[1])<<16|int(ip[2])<<8|int(ip[3]) >= forgers
	}
	for i, data := range r.link.sent {
		p, err := mqttsn.Decode(data)
		if err != nil {
			r.Fatal(err)
		}
		if isForger(r.link.to[i]) {
			forged[p.Type()]++
		} else {
			honest[p.Type()]++
		}
	}
	r.link.sent, r.link.to = nil, nil
	return forged, honest
}

// A CONNECT with a victim's ClientID from other addresses takes its session over only where
// the roaming policy allows it, and each time that is counted.
func TestAttackTakeover(t *testing.T) {
	const tries = 10_000
	for _, protection := range []string{proven, RoamNever, RoamConnect, RoamAny} {
		t.Run(protection, func(t *testing.T) {
			r := attacked(t, protection, 1, nil)
			r.subscribed(victims, "c0", "ab")
			for i := range tries {
				r.from(forgers+i, resume("c0"))
			}
			forged, _ := r.sentTo()
			r.publish("ab", 1)
			leaked, reached := r.sentTo()
			st := r.gateway.Stats()
			refused := st.Dropped["identity_refused"] + st.Dropped["roaming_refused"]
			t.Logf("A1 %s: %d forged CONNECT, %d refused, %d takeovers; afterwards a message reached the forger %d times, the victim %d times",
				protection, tries, refused, st.Takeovers, leaked[mqttsn.TypePublish], reached[mqttsn.TypePublish])
			if forged[mqttsn.TypeConnack] != tries {
				t.Errorf("%d answers to %d CONNECT", forged[mqttsn.TypeConnack], tries)
			}
			wantTakeovers, wantRefused := uint64(0), uint64(tries)
			if protection == RoamAny || protection == RoamConnect {
				wantTakeovers, wantRefused = tries, 0
			}
			if st.Takeovers != wantTakeovers || refused != wantRefused {
				t.Errorf("%d takeovers and %d refused, want %d and %d", st.Takeovers, refused, wantTakeovers, wantRefused)
			}
			if safe := wantTakeovers == 0; safe && (len(leaked) > 0 || reached[mqttsn.TypePublish] != 1) {
				t.Errorf("the forger was sent %v, the victim %v", leaked, reached)
			}
		})
	}
}

// A PINGREQ with a sleeper's ClientID from other addresses neither collects nor deletes what
// waits for it, but for the policy "any".
func TestAttackWakeOfSleepers(t *testing.T) {
	const sleepers, tries = 1000, 100_000
	for _, protection := range []string{proven, RoamNever, RoamConnect} {
		t.Run(protection, func(t *testing.T) {
			r := attacked(t, protection, sleepers, nil)
			for i := range sleepers {
				r.from(victims+i, resume(fmt.Sprint("c", i)))
				r.from(victims+i, subscribe("ab"))
				r.from(victims+i, asleep(60000))
			}
			r.publish("ab", 1)
			if n := r.gateway.Stats().QueuedMessages; n != sleepers {
				t.Fatalf("%d messages wait, want %d", n, sleepers)
			}
			r.sentTo()
			batch := make([]transports.Datagram, 0, 64)
			for i := range tries {
				p := mqttsn.Pingreq{ClientID: fmt.Append(nil, "c", i%sleepers)}
				batch = append(batch, transports.Datagram{Addr: addr(forgers + i%5000), Data: p.Append(nil)})
				if len(batch) == cap(batch) || i == tries-1 {
					r.gateway.intakes[0].receive(batch)
					batch = batch[:0]
				}
			}
			forged, honest := r.sentTo()
			queued := r.gateway.Stats().QueuedMessages
			for i := range sleepers {
				r.from(victims+i, mqttsn.Pingreq{ClientID: fmt.Append(nil, "c", i)})
			}
			_, woken := r.sentTo()
			t.Logf("A2 %s: %d forged PINGREQ for %d sleepers: %d messages to forgers, %d deleted, %d delivered when their owners woke up",
				protection, tries, sleepers, forged[mqttsn.TypePublish], sleepers-queued, woken[mqttsn.TypePublish])
			delete(forged, mqttsn.TypeDisconnect) // who is told to CONNECT learns nothing
			if len(forged) > 0 || len(honest) > 0 || queued != sleepers || woken[mqttsn.TypePublish] != sleepers {
				t.Errorf("forgers were sent %v, sleepers %v, %d messages left, then delivered %v", forged, honest, queued, woken)
			}
		})
	}
}

// DISCONNECT, sleep, and updates of the will from other addresses do nothing to a client,
// whatever the policy: they name nobody, and their address is nobody's.
func TestAttackForgedDisconnects(t *testing.T) {
	const storm, messages = 10_000, 100
	forged := []mqttsn.Packet{
		mqttsn.Disconnect{}, mqttsn.Disconnect{HasDuration: true, Duration: 60000},
		mqttsn.WillTopicUpd{Topic: []byte("evil")}, mqttsn.WillTopicUpd{}, mqttsn.WillMsgUpd{Message: []byte("evil")},
		mqttsn.Unsubscribe{TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")},
	}
	for _, protection := range []string{proven, RoamNever, RoamConnect, RoamAny} {
		r := attacked(t, protection, 1, nil)
		r.from(victims, mqttsn.Connect{ProtocolID: 1, Duration: 60, Will: true, ClientID: []byte("c0")})
		r.from(victims, mqttsn.WillTopic{Topic: []byte("will")})
		r.from(victims, mqttsn.WillMsg{Message: []byte("gone")})
		r.from(victims, subscribe("ab"))
		r.sentTo()
		delivered := 0
		for i := range storm {
			for _, p := range forged {
				r.from(forgers+i%1000, p)
			}
			if i%(storm/messages) == 0 {
				r.publish("ab", 1)
				for _, data := range r.link.sent {
					if p, _ := mqttsn.Decode(data); p.Type() == mqttsn.TypePublish {
						delivered++
						r.from(victims, mqttsn.Puback{TopicID: shortTopic("ab"), MsgID: p.(*mqttsn.Publish).MsgID})
					}
				}
				r.link.sent, r.link.to = nil, nil
			}
		}
		active := r.gateway.Stats().Sessions["active"]
		for _, asked := range r.broker.Asked() {
			if asked.Op != broker.Connect && asked.Op != broker.Subscribe && asked.Op != broker.Ack {
				t.Errorf("%s: the broker was asked %+v", protection, asked)
			}
		}
		t.Logf("A3 %s: %d forged packets: %d of %d QoS 1 messages delivered, %d client active", protection, storm*len(forged), delivered, messages, active)
		if delivered != messages || active != 1 {
			t.Errorf("%s: %d of %d messages delivered, %d client active", protection, delivered, messages, active)
		}
	}
}

// Who guesses the MsgId of an acknowledgement ends nothing from another address, and with the
// client's own address, which plain UDP does not protect, only what is outstanding.
func TestAttackGuessedAcknowledgements(t *testing.T) {
	guesses := []func(id uint16) mqttsn.Packet{
		func(id uint16) mqttsn.Packet { return mqttsn.Puback{TopicID: shortTopic("ab"), MsgID: id} },
		func(id uint16) mqttsn.Packet { return mqttsn.Puback{MsgID: id, ReturnCode: mqttsn.NotSupported} },
		func(id uint16) mqttsn.Packet { return mqttsn.Pubrec{MsgID: id} },
		func(id uint16) mqttsn.Packet { return mqttsn.Pubcomp{MsgID: id} },
		func(id uint16) mqttsn.Packet { return mqttsn.Regack{MsgID: id, ReturnCode: mqttsn.NotSupported} },
	}
	const waiting = 16 // messages, of which one is outstanding
	for _, protection := range []string{proven, RoamAny, "same address"} {
		policy, from := protection, forgers
		if protection == "same address" {
			policy, from = RoamAny, victims
		}
		for n, guess := range guesses {
			r := attacked(t, policy, 1, nil)
			r.subscribed(victims, "c0", "ab")
			for range waiting {
				r.publish("ab", 1)
			}
			for id := range 1 << 16 {
				r.from(from, guess(uint16(id)))
			}
			st := r.gateway.Stats()
			ended := st.Messages.Delivered + st.Messages.Dropped
			t.Logf("A4 %s: 65536 guesses of kind %d ended %d of %d messages, one of which is outstanding at a time", protection, n, ended, waiting)
			// A guess that is right makes the next message outstanding, which is to be guessed
			// anew.
			if protection == "same address" && ended > 4 || protection != "same address" && ended > 0 {
				t.Errorf("%s, kind %d: %d messages ended", protection, n, ended)
			}
		}
	}
}

// Nobody can tell the first MsgId of a session from that of another one.
func TestAttackMsgIDsBeginAnywhere(t *testing.T) {
	const clients = 1000
	r := attacked(t, RoamAny, clients, nil)
	for i := range clients {
		r.from(i, resume(fmt.Sprint("c", i)))
		r.from(i, subscribe("ab"))
	}
	r.sentTo()
	r.publish("ab", 1)
	seen := map[uint16]bool{}
	low := 0
	for _, data := range r.link.sent {
		if p, _ := mqttsn.Decode(data); p.Type() == mqttsn.TypePublish {
			id := p.(*mqttsn.Publish).MsgID
			seen[id] = true
			if id < 1<<15 {
				low++
			}
		}
	}
	t.Logf("A4: %d clients begin with %d different MsgIds, %d of them in the lower half", clients, len(seen), low)
	if len(seen) < clients*8/10 || low < clients/3 || low > clients*2/3 {
		t.Error("the MsgIds do not begin at random")
	}
}

// Addresses are used again by other clients, as behind a NAT: what is for a client reaches
// it, or nobody.
func TestAttackReusedAddresses(t *testing.T) {
	const clients, ports, moves = 20, 10, 10_000
	for _, policy := range []string{RoamAny, RoamConnect, RoamNever} {
		r := attacked(t, policy, clients, nil)
		at := map[int]int{} // port to client
		leaked, reached := 0, 0
		rng := rand.New(rand.NewPCG(1, 1))
		for range moves {
			c, port := rng.IntN(clients), rng.IntN(ports)
			id, topic := fmt.Sprint("c", c), string([]byte{'t', byte('a' + c)})
			r.from(port, resume(id))
			accepted := false
			for _, data := range r.link.sent {
				p, _ := mqttsn.Decode(data)
				ack, ok := p.(*mqttsn.Connack)
				accepted = accepted || ok && ack.ReturnCode == mqttsn.Accepted
			}
			if accepted {
				for p, who := range at {
					if who == c {
						delete(at, p)
					}
				}
				at[port] = c
				r.from(port, mqttsn.Subscribe{TopicIDType: mqttsn.TopicShort, TopicID: shortTopic(topic), MsgID: 1})
			}
			if rng.IntN(4) == 0 {
				r.from(port, mqttsn.Disconnect{})
				if who, ok := at[port]; ok && (accepted || who >= 0) {
					delete(at, port)
				}
			}
			r.link.sent, r.link.to = nil, nil
			other := rng.IntN(clients)
			r.publish(string([]byte{'t', byte('a' + other)}), 0)
			for i := range r.link.sent {
				who := -1
				for p, c := range at {
					if addr(p) == r.link.to[i] {
						who = c
					}
				}
				if who == other {
					reached++
				} else {
					leaked++
				}
			}
			r.link.sent, r.link.to = nil, nil
		}
		r.gateway.check(t)
		t.Logf("A13 %s: %d uses of %d addresses by %d clients: %d messages reached their client, %d somebody else", policy, moves, ports, clients, reached, leaked)
		if leaked > 0 || reached == 0 {
			t.Errorf("%s: %d messages leaked, %d reached their client", policy, leaked, reached)
		}
	}
}
