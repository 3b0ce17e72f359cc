package embedded

import (
	"fmt"
	"sync"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// retainedFor is what a filter stands for.
func retainedFor(b *Broker, filter string) []*message {
	found, _ := b.retained.match(filter, b.retained.now(), b.now(), anySize)
	return found
}

// A look-up that does not find all it should says so.
func TestLookupLimit(t *testing.T) {
	b := newBroker(t)
	from := connected(t, b, "from", true)
	for i := range 100 {
		from.publish(fmt.Sprintf("a/%d", i), "x", 0, true)
	}
	for filter, visits := range map[string]int{"#": 101, "+/+": 101, "a/#": 101, "a/+": 101, "a/7": 0, "+/7": 2, "none/#": 0, "$SYS/#": 0} {
		whole, all := b.retained.match(filter, b.retained.now(), 0, visits)
		if !all {
			t.Errorf("%s takes more than %d visits", filter, visits)
		}
		if visits > 0 {
			if part, all := b.retained.match(filter, b.retained.now(), 0, visits-1); all || len(part) >= len(whole) {
				t.Errorf("%s: %d of %d messages by %d visits, all %v", filter, len(part), len(whole), visits-1, all)
			}
		}
	}
}

// One SUBSCRIBE with many filters that stand for very many retained messages: those whom
// nobody reads are not looked up, and none when the client has gone.
func TestSubscribeToAllAgainAndAgain(t *testing.T) {
	const kept = 5000
	b := serve(t, func(o *Options) { o.MaxRetainedMessages, o.MaxSubscriptions = kept, 200_000 })
	from := connected(t, b, "from", true)
	for i := range kept {
		from.publish(fmt.Sprint("t/", i), "x", 0, true)
	}
	p := login(t, b, mqtt.V311, "p")
	filters := make([]string, 200_000)
	for i := range filters {
		filters[i] = "#"
	}
	ask := mqtt.Subscribe{PacketID: 1}
	for _, f := range filters {
		ask.Subscriptions = append(ask.Subscriptions, mqtt.Subscription{Filter: []byte(f)})
	}
	if _, err := p.conn.Write(ask.Append(nil, mqtt.V311)); err != nil {
		t.Fatal(err)
	}
	until(t, "the client is sent much", func() bool { return b.Stats().DelayedBytes > 0 || b.Stats().Dropped["slow_client"] > 0 })
	p.conn.Close()
	until(t, "the client is forgotten", func() bool { return b.Stats().Connections == 0 })
	if st := b.Stats(); st.HeldBytes != 0 || st.Sessions != 1 {
		t.Errorf("%d octets are held, %d sessions", st.HeldBytes, st.Sessions)
	}
}

// Whoever waits for its turn to look up many retained messages has its SUBACK meanwhile.
func TestSubackBeforeTheTurn(t *testing.T) {
	b := serve(t, func(o *Options) { o.SysInterval = 0 }) // which would send it, too
	from := connected(t, b, "from", true)
	for i := range smallLookup + 1 {
		from.publish(fmt.Sprint("r/", i), "x", 1, true)
	}
	p := login(t, b, mqtt.V5, "c")
	b.lookups.turn.Lock()
	next := sync.OnceFunc(b.lookups.turn.Unlock)
	defer next()
	p.subscribe(0, "r/#")
	next()
	for range smallLookup + 1 {
		p.gets("x", 0)
	}
}

// What is retained after SUBACK comes once, as the message that it is, however late the
// retained messages are looked up.
func TestRetainedAfterSuback(t *testing.T) {
	b := serve(t)
	from := connected(t, b, "from", true)
	for i := range smallLookup + 1 {
		from.publish(fmt.Sprint("r/", i), "before", 1, true)
	}
	p := login(t, b, mqtt.V5, "c")
	b.lookups.turn.Lock()
	next := sync.OnceFunc(b.lookups.turn.Unlock)
	defer next()
	p.subscribe(0, "r/#")
	from.publish("r/0", "after", 1, true)
	from.publish("r/new", "after", 1, true)
	b.Flush()
	for range 2 {
		if m := p.gets("after", 0); m.Retain {
			t.Errorf("%s comes as a retained message", m.Topic)
		}
	}
	next()
	for range smallLookup {
		p.gets("before", 0)
	}
	p.quiet()
}
