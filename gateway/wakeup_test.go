package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// The first QoS -1 message waits for the broker connection. Once that is there, the
// clients of this gateway get the message at once, and not when something else happens.
func TestFirstQoSMinusOneReachesAClientHere(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(2, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
	r.want("1 PUBLISH")
}

// Who asks whether the gateway is well stands in the way of others for a moment. They
// count on that one to do their work, even if a shard further on is stuck.
func TestAliveLeavesNoEventBehind(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	s := r.gateway.shardOf([]byte("a"))
	stuck := newShard(r.gateway, 1)
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	r.gateway.shards = []*shard{s, stuck}
	r.broker.Publish("ab", nil, 0, false)
	ctx, cancel := context.WithTimeout(t.Context(), 2*pollTime)
	defer cancel()
	if r.gateway.Alive(ctx) == nil {
		t.Error("a gateway with a stuck shard says that it is well")
	}
	r.want("1 PUBLISH")
}

// feedingLink leads to another event for the client with each of the first datagrams
// that it is given.
type feedingLink struct {
	*scriptedLink
	feed func()
	left atomic.Int32
}

func (l *feedingLink) Send(batch []transports.Datagram) (int, error) {
	for range batch {
		if l.left.Add(-1) >= 0 {
			l.feed()
		}
	}
	return len(batch), nil
}

// A goroutine that finds more and more to do for others is let go: were it a link's
// reader, the link would be deaf. The timers go on with it.
func TestNobodyWorksForOthersForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.subscribed(1, "a", "ab")
		link := &feedingLink{scriptedLink: r.link}
		link.left.Store(1000)
		link.feed = func() { r.broker.Publish("ab", nil, 0, false) }
		for _, s := range r.gateway.shards {
			s.outbox.links[0] = link
		}
		r.publish("ab", 0)
		if link.left.Load() < 500 {
			t.Error("one goroutine did half of 1000 tasks in a row")
		}
		<-time.After(time.Second)
		synctest.Wait()
		if n := link.left.Load(); n > 0 {
			t.Errorf("%d of 1000 tasks were left behind", n)
		}
	})
}

// A broker that is faster than the shards waits for them.
func TestWakeCatchesUp(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	c := r.gateway.shardOf([]byte("a")).clients["a"]
	for range 5*inboxBatch + 7 {
		c.Receive(broker.Event{Kind: broker.Delivered, Message: &broker.Message{Topic: "ab"}})
	}
	r.gateway.wake()
	if n := len(r.link.sent); n != 5*inboxBatch+7 {
		t.Errorf("%d messages were sent, want all %d", n, 5*inboxBatch+7)
	}
}

func TestInbox(t *testing.T) {
	const limit = 12 * inboxBatch
	in := inbox{limit: limit}
	token := broker.Token(0)
	push := func(qos byte) {
		token++
		in.push(event{Event: broker.Event{Kind: broker.Delivered, QoS: qos, Token: token}})
	}
	var got []event
	last := broker.Token(0)
	take := func() {
		for got = in.take(got); len(got) > 0; got = got[1:] {
			if got[0].Token != last+1 {
				t.Fatalf("event %d came after event %d", got[0].Token, last)
			}
			last = got[0].Token
		}
	}
	for range 10 * inboxBatch { // more comes than is taken
		push(1)
		if token%(2*inboxBatch) == 0 {
			take()
		}
	}
	for in.some() {
		take()
	}
	if last != token {
		t.Errorf("%d events were taken, want %d", last, token)
	}
	for range limit {
		push(0)
	}
	push(0)
	push(1)
	if in.lost != 1 || in.waiting.Load() != limit+1 {
		t.Errorf("of %d QoS 0 messages and a QoS 1 message %d were lost, and %d events wait", limit+1, in.lost, in.waiting.Load())
	}
	for in.some() {
		in.take(nil)
	}
	if cap(in.events) > 10*inboxBatch {
		t.Errorf("an empty inbox keeps room for %d events", cap(in.events))
	}
}
