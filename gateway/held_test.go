package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// newKeepingRig is a rig with a store, in which nothing becomes durable before commit.
func newKeepingRig(t *testing.T, change func(*Options)) (*rig, *store.Memory) {
	t.Helper()
	r, st := newRig(t, change), store.NewMemory()
	st.Hold()
	r.broker = memory.New()
	r.broker.Keep(st)
	g, err := New(r.gateway.options, []transports.Link{r.link}, r.broker, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway = g
	t.Cleanup(func() {
		for _, s := range g.shards {
			s.timer.Stop()
		}
	})
	return r, st
}

// commit makes durable what was applied, and lets the gateway know.
func (r *rig) commit(st *store.Memory) {
	st.Commit()
	r.gateway.afterCommit()
}

// wantInOrder checks the types and, of PUBACK, the MsgIds of what has been sent since the
// last want, in order.
func (r *rig) wantInOrder(want ...string) {
	r.Helper()
	var got []string
	for _, data := range r.link.sent {
		p, err := mqttsn.Decode(data)
		if err != nil {
			r.Fatal(err)
		}
		s := p.Type().String()
		if ack, ok := p.(*mqttsn.Puback); ok {
			s += fmt.Sprint(" ", ack.MsgID)
		}
		got = append(got, s)
	}
	r.link.sent, r.link.to = nil, nil
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.Fatalf("sent %q, want %q", got, want)
	}
}

func publishing(id uint16) mqttsn.Packet {
	return mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("zz"), MsgID: id, Data: fmt.Append(nil, "message-", id)}
}

// established connects a client at a peer with a session that needs the store, and commits.
func (r *rig) established(st *store.Memory, peer int, p mqttsn.Packet) {
	r.Helper()
	r.from(peer, p)
	r.commit(st)
	r.want(fmt.Sprint(peer, " CONNACK accepted"))
}

// What a packet promises is durable before it leaves, later packets stay behind it, and
// other clients do not notice.
func TestPacketsWaitForTheStore(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	r.established(st, 2, connect("b"))
	r.from(1, publishing(1))
	r.from(1, mqttsn.Pingreq{})
	r.from(1, publishing(2))
	r.from(2, mqttsn.Pingreq{})
	r.want("2 PINGRESP")
	if s := r.gateway.Stats(); s.HeldPackets != 3 || s.HeldBytes == 0 {
		t.Errorf("%d packets of %d octets are held, want 3", s.HeldPackets, s.HeldBytes)
	}
	r.commit(st)
	r.wantInOrder("PUBACK 1", "PINGRESP", "PUBACK 2")
	r.from(1, mqttsn.Pingreq{})
	r.want("1 PINGRESP")
	if s := r.gateway.Stats(); s.HeldPackets != 0 || s.HeldBytes != 0 || r.gateway.shardOf([]byte("a")).holding.Load() {
		t.Errorf("%d packets of %d octets are still held", s.HeldPackets, s.HeldBytes)
	}
}

// What is durable leaves, what is not stays, and what comes with a visit that finds more
// durable than the last one goes with it.
func TestCommitsLetGoAsFarAsTheyGo(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	r.from(1, publishing(1))
	st.Commit() // and nobody has told the gateway yet
	r.from(1, publishing(2))
	r.wantInOrder("PUBACK 1")
	r.from(1, mqttsn.Pingreq{})
	r.want()
	st.Commit()
	r.from(1, mqttsn.Pingreq{})
	r.wantInOrder("PUBACK 2", "PINGRESP", "PINGRESP")
}

// All that a commit sets free leaves in one batch.
func TestOneBatchForEachCommit(t *testing.T) {
	r, st := newKeepingRig(t, func(o *Options) { o.Shards = 1 })
	for i := range 10 {
		r.established(st, i, connect(fmt.Sprint("client-", i)))
	}
	for i := range 10 {
		r.from(i, publishing(1))
	}
	before := r.link.batches
	r.commit(st)
	if n := r.link.batches - before; n != 1 || len(r.link.sent) != 10 {
		t.Errorf("%d packets in %d batches, want 10 in one", len(r.link.sent), n)
	}
}

// While nothing becomes durable, a client has a bounded number of packets held; the others
// are dropped and counted.
func TestHeldPacketsAreBounded(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	for i := range heldPackets + 3 {
		r.from(1, publishing(uint16(1+i)))
	}
	r.want()
	r.dropped("store_slow", 3)
	if n := r.gateway.Stats().HeldPackets; n != heldPackets {
		t.Errorf("%d packets are held, want %d", n, heldPackets)
	}
	r.commit(st)
	if len(r.link.sent) != heldPackets {
		t.Errorf("%d packets left, want %d", len(r.link.sent), heldPackets)
	}
}

// A copy of a packet that was dropped waits for what the packet waited for.
func TestCopiesWaitToo(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	s := r.gateway.shardOf([]byte("a"))
	c := s.clients["a"]
	r.from(1, publishing(1))
	s.giveUp(c) // as if there had been no room
	r.from(1, mqttsn.Pingreq{})
	r.want()
	r.commit(st)
	r.want("1 PINGRESP")
}

func TestHeldOctetsAreBounded(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.subscribedDurably(st, 1, "a", "ab")
	r.from(1, publishing(1))
	for range heldPackets - 10 {
		r.broker.Publish("ab", make([]byte, 1300), 0, false)
		r.gateway.settle()
	}
	s := r.gateway.Stats()
	if s.HeldBytes > heldOctets || s.HeldBytes < heldOctets-2000 {
		t.Errorf("%d octets are held, want nearly %d", s.HeldBytes, heldOctets)
	}
	if s.Dropped["store_slow"] == 0 {
		t.Error("nothing was dropped")
	}
	r.gateway.check(t)
}

func (r *rig) subscribedDurably(st *store.Memory, peer int, id, topic string) {
	r.Helper()
	r.established(st, peer, resume(id))
	r.from(peer, mqttsn.Subscribe{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic(topic), MsgID: 1})
	r.commit(st)
	r.want(fmt.Sprint(peer, " SUBACK"))
}

// A client that is gone still gets what was held for it, unless somebody else is at its
// place by then.
func TestLastWords(t *testing.T) {
	for _, other := range []bool{false, true} {
		r, st := newKeepingRig(t, nil)
		r.established(st, 1, connect("a"))
		r.from(1, publishing(1))
		r.from(1, mqttsn.Disconnect{})
		r.want()
		if n := r.gateway.clients.Load(); n != 0 {
			t.Errorf("%d clients after the only one has left", n)
		}
		if !other {
			r.commit(st)
			r.wantInOrder("PUBACK 1", "DISCONNECT")
			continue
		}
		r.from(1, connect("b"))
		r.commit(st)
		r.want("1 CONNACK accepted")
	}
}

// What is held for a client that moves goes to its new place.
func TestHeldPacketsMoveWithTheirClient(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	r.from(1, publishing(1))
	r.from(2, mqttsn.Pingreq{ClientID: []byte("a")})
	r.commit(st)
	r.want("2 PUBACK", "2 PINGRESP")
}

// A shutdown lets the store finish, and gives up what it does not keep in time.
func TestShutdownGivesUpWhatIsHeld(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, connect("a"))
	r.from(1, publishing(1))
	r.gateway.finish()
	r.want("1 DISCONNECT")
	r.dropped("shutting_down", 1)
	r.commit(st)
	r.want()
}

func TestCrowdedStore(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	r.established(st, 1, resume("a"))
	for level, accepts := range map[store.Level]bool{
		store.Normal: true, store.Warning: true, store.Crowded: false, store.Full: false, store.Degraded: false,
	} {
		st.SetLevel(level)
		r.from(2, connect("b"))
		r.commit(st)
		if accepts {
			r.want("2 CONNACK accepted")
			r.from(2, mqttsn.Disconnect{})
			r.commit(st)
			r.want("2 DISCONNECT")
		} else {
			r.want("2 CONNACK congestion")
		}
		r.from(1, mqttsn.Pingreq{}, resume("a")) // a client that is known
		r.commit(st)
		r.want("1 PINGRESP", "1 CONNACK accepted")
		if got := r.gateway.Stats().StoreLevel; got != level {
			t.Errorf("the level is %v, want %v", got, level)
		}
	}
	r.dropped("store_crowded", 3)
}

func TestLevelsAreLogged(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	var log bytes.Buffer
	r.gateway.log = slog.New(slog.NewTextHandler(&log, nil))
	for _, level := range []store.Level{store.Warning, store.Warning, store.Degraded, store.Normal} {
		st.SetLevel(level)
		r.gateway.afterCommit()
	}
	if n := strings.Count(log.String(), "\n"); n != 3 || !strings.Contains(log.String(), "level=degraded was=warning") {
		t.Errorf("%d lines, want 3:\n%s", n, &log)
	}
}

// promiser is a link that checks each PUBACK and PUBREC as it leaves: a crash at this
// instant would leave the message.
type promiser struct {
	*scriptedLink
	t     *testing.T
	store *store.Memory
	acks  int
}

func (l *promiser) Send(batch []transports.Datagram) (int, error) {
	crashed := l.store.Crash().Records()
	for _, d := range batch {
		p, err := mqttsn.Decode(d.Data)
		if err != nil {
			l.t.Error(err)
		}
		if ack, ok := p.(*mqttsn.Puback); ok {
			l.acks++
			if !holds(crashed, fmt.Sprint("message-", ack.MsgID)) {
				l.t.Errorf("message %d is acknowledged before it is durable", ack.MsgID)
			}
		}
	}
	return l.scriptedLink.Send(batch)
}

func holds(records map[store.Key][]byte, payload string) bool {
	for k, v := range records {
		if k.Space == store.UpstreamRequest && string(v) == payload {
			return true
		}
	}
	return false
}

// Commits and answers come at any time between the packets of a client: no promise leaves
// before it is durable.
func TestPromisesAreDurableWhenTheyLeave(t *testing.T) {
	r, st := newKeepingRig(t, nil)
	link := &promiser{r.link, t, st, 0}
	r.gateway.links[0] = link
	r.established(st, 1, connect("a"))
	for i := range 1000 {
		switch (i * 7919) % 13 {
		case 0, 5:
			r.commit(st)
		case 1:
			st.Commit()
		case 2:
			r.broker.Hold(broker.Answered)
		case 3:
			r.broker.Release()
			r.gateway.settle()
		}
		r.from(1, publishing(uint16(i+1)), publishing(uint16(i+1)))
	}
	r.broker.Release()
	r.gateway.settle()
	r.commit(st)
	if link.acks < 500 {
		t.Errorf("%d acknowledgements only", link.acks)
	}
}
