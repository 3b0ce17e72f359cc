package embedded

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// deaf is a client that subscribes to filters and reads nothing from then on.
func deaf(t *testing.T, b *Broker, id string, qos mqtt.QoS, filters ...string) *peer {
	p := piped(t, b, mqtt.V311, id)
	s := &mqtt.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f), QoS: qos})
	}
	p.send(s)
	return p
}

// backlogLen is how many retained messages a client is still to get.
func backlogLen(b *Broker, id string) int {
	b.mu.Lock()
	s := b.sessions[id]
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backlog == nil {
		return 0
	}
	return s.backlog.len
}

// Retained messages that a client does not read are not kept for it when they are replaced,
// however many clients do so.
func TestBacklogKeepsNoMessages(t *testing.T) {
	b := serve(t)
	from := connected(t, b, "from", true)
	for i := range 1000 {
		from.publish(fmt.Sprint("t/", i), strings.Repeat("x", 10_000), 0, true)
	}
	p := deaf(t, b, "deaf", 0, "t/#")
	until(t, "the backlog waits", func() bool { n := backlogLen(b, "deaf"); return n > 0 && n < 1000 })
	var old []weak.Pointer[message]
	for _, m := range retainedFor(b, "#") {
		old = append(old, weak.Make(m))
	}
	for i := range 1000 {
		from.publish(fmt.Sprint("t/", i), "new", 0, true)
	}
	until(t, "the old ones are gone", func() bool {
		runtime.GC()
		n := 0
		for _, w := range old {
			if w.Value() != nil {
				n++
			}
		}
		return n == 0
	})
	// Once it reads, it has the old one of a topic or the new one, and the new one last.
	expect[*mqtt.Suback](p)
	last := make(map[string]string)
	fresh := func() (n int) {
		for _, payload := range last {
			if payload == "new" {
				n++
			}
		}
		return n
	}
	for fresh() < 1000-int(b.Stats().Dropped["slow_client"]) {
		m := expect[*mqtt.Publish](p)
		last[string(m.Topic)] = string(m.Payload)
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
	until(t, "nothing is held", func() bool { return b.stats.held.Load() == 0 })
}

// A client that asks for everything many times over, and does not read, makes the broker
// hold no more than for asking once.
func TestBacklogIsBounded(t *testing.T) {
	const topics, filters = 2000, 2000
	b := serve(t, func(o *Options) { o.MaxRetainedMessages, o.MaxQueuedBytes = topics, 64<<10 })
	from := connected(t, b, "from", true)
	for i := range topics {
		from.publish(fmt.Sprint("t/", i), strings.Repeat("x", 1000), 1, true)
	}
	same := strings.Split(strings.Repeat("# ", filters), " ")[:filters]
	for _, qos := range []mqtt.QoS{0, 1} {
		id := fmt.Sprint("deaf", qos)
		dropped := b.Stats().Dropped["slow_client"]
		p := deaf(t, b, id, qos, same...)
		until(t, "it has asked for all", func() bool {
			if n := backlogLen(b, id); n > topics+sysTopics {
				t.Fatalf("%d messages wait", n)
			}
			return b.Stats().Dropped["slow_client"]-dropped > filters*9/10
		})
		p.conn.Close()
	}
	until(t, "they are gone", func() bool { return b.Stats().Connections == 0 && b.stats.held.Load() == 0 })
}

// While the retained messages for a client are found and wait, others are not kept from
// publishing to it or to their topics.
func TestBacklogKeepsNobodyWaiting(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxRetainedMessages = 200_000 })
	from := connected(t, b, "from", true)
	for i := range 100_000 {
		from.publish(fmt.Sprint("t/", i), "x", 0, true)
	}
	// None of these matches anything, but each visits all topics.
	filters := make([]string, 500)
	for i := range filters {
		filters[i] = fmt.Sprint("+/+/", i)
	}
	p := deaf(t, b, "deaf", 0, append(filters, "live")...)
	until(t, "it subscribes", func() bool { return b.Stats().Subscriptions == len(filters)+1 })
	start := time.Now()
	for range 20 {
		from.publish("live", "x", 0, false)
		from.publish("t/0", "y", 0, true)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("it took %v to publish", took)
	}
	p.conn.Close()
}

// A subscription whose client goes before its retained messages were found is as good as
// any: they wait in the session.
func TestRetainedForOneWhoHasGone(t *testing.T) {
	b := newBroker(t)
	from := connected(t, b, "from", true)
	from.publish("t", "kept", 1, true)
	d := connected(t, b, "d", false)
	s := d.Conn.(*device).session
	w := []wanted{{filter: "t", sub: subscription{qos: 1}}}
	s.subscribe(s.line, nil, w, func(store.Mark) {
		if s.mu.TryLock() {
			t.Error("a message may come before the answer to SUBSCRIBE")
			s.mu.Unlock()
		}
	})
	d.ack(d.delivered("kept", 1))
	d.do(broker.Request{Op: broker.Disconnect})
	s.remember(d.Conn.(*device), &w[0])
	if n := b.Stats().QueuedMessages; n != 1 {
		t.Errorf("%d messages wait for the client, want 1", n)
	}
	d.do(broker.Request{Op: broker.Connect})
	d.answer()
	d.ack(d.delivered("kept", 1))
	d.quiet()
	if st := b.Stats(); st.QueuedMessages != 0 {
		t.Errorf("%d are queued", st.QueuedMessages)
	}
}

// Whoever subscribes while a retained message replaces another gets the new one, even if its
// publisher has looked for receivers before.
func TestRetainedForOneWhoHasJustCome(t *testing.T) {
	b := newBroker(t)
	r, _ := b.topics.route("t")
	d := connected(t, b, "d", true)
	d.subscribe("t", 1) // and finds nothing
	p := newPublication()
	p.Topic, p.Payload, p.QoS, p.Retain = "t", []byte("new"), 1, true
	if code := b.publish(p, r); code != broker.CodeSuccess {
		t.Errorf("published with code %v", code)
	}
	p.release()
	d.delivered("new", 1)
}

// Of messages that replace each other as the retained one, subscribers get that one last
// which is kept, whoever publishes at the same time.
func TestRetainedIsTheLastOne(t *testing.T) {
	b := newBroker(t)
	var subscribers [8]*station
	for i := range subscribers {
		subscribers[i] = connected(t, b, fmt.Sprint(i), true)
		subscribers[i].subscribe("t", 0)
	}
	publishers := [2]*station{connected(t, b, "p", true), connected(t, b, "q", true)}
	for round := range 2000 {
		var group sync.WaitGroup
		for _, p := range publishers {
			group.Go(func() { p.publish("t", fmt.Sprint(p.id, round), 0, true) })
		}
		group.Wait()
		kept := string(b.retained.find("t").Payload)
		for _, s := range subscribers {
			all := s.take()
			if last := string(all[len(all)-1].Message.Payload); last != kept {
				t.Fatalf("%s is retained, and a subscriber got %s last", kept, last)
			}
		}
	}
}
