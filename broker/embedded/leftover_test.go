package embedded

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// A message does not leave before its record is applied, or its acknowledgement might come
// before.
func TestNothingIsSentBeforeItIsApplied(t *testing.T) {
	b := newStoreBroker(t, store.NewMemory())
	d := connected(t, b, "d", false)
	s := b.sessions["d"]
	p := newPublication()
	p.Topic, p.QoS = "t", 1
	q := delivery{message: p.keep(), qos: 1, number: b.number(), record: pending}
	var tally tally
	s.mu.Lock()
	s.enqueue(q, &tally)
	s.pump(&tally)
	s.mu.Unlock()
	d.quiet()
	q.record = kept
	s.applied(&queuing{s, q}, p)
	d.delivered("", 1)
}

// What a crash has left of an earlier session of a client does not get into the next one.
func TestLeftovers(t *testing.T) {
	st := store.NewMemory()
	b := newStoreBroker(t, st)
	early := b.number()
	connected(t, b, "d", false).subscribe("mine", 1)
	m := &message{Message: broker.Message{Topic: "t", Payload: []byte("old")}}
	st.Apply(
		store.Put(store.MQTTDelivery, "d", early, appendDelivery(nil, &delivery{message: m, qos: 1}, 0, b.clock())),
		store.Put(store.MQTTSubscription, "d", early, appendSubscription(nil, "old", &subscription{})),
		store.Put(store.MQTTReceived, "d", 7, receivedValue(early)),
		store.Put(store.MQTTFlight, "d", early, appendFlight(nil, &delivery{id: 1})),
		store.Put(store.MQTTDelivery, "nobody", early, appendDelivery(nil, &delivery{message: m, qos: 1}, 0, b.clock())),
		store.Put(store.MQTTMessage, "", early, appendShared(nil, m, b.clock())),
	)
	b = newStoreBroker(t, st.Crash())
	s := b.sessions["d"]
	if s.queue.len() != 0 || s.filters.len() != 1 || s.received.has(7) {
		t.Errorf("the session has %d messages, %d filters, identifiers %v", s.queue.len(), s.filters.len(), s.received)
	}
	tidy(t, b)
	for k := range memory(b.store).Records() {
		if k.Space == store.MQTTReceived {
			t.Errorf("a record is left: %+v", k)
		}
	}
	if n := b.number(); n <= early {
		t.Errorf("number %d was given again, after %d", n, early)
	}
}

// Subscriptions are the same after a restart, whichever were ended in between.
func TestUnsubscribeAcrossRestart(t *testing.T) {
	b := newStoreBroker(t, store.NewMemory())
	d := connected(t, b, "d", false)
	for i := range 6 {
		d.subscribe(fmt.Sprint("t/", i), 1)
	}
	for _, i := range []int{0, 2, 5} {
		d.do(broker.Request{Op: broker.Unsubscribe, Topic: fmt.Sprint("t/", i)})
		d.answer()
	}
	b = newStoreBroker(t, memory(b.store).Crash())
	tidy(t, b)
	got := slices.Sorted(slices.Values(b.sessions["d"].filters.list))
	if want := []string{"t/1", "t/3", "t/4"}; !slices.Equal(got, want) {
		t.Errorf("subscriptions to %q, want %q", got, want)
	}
}

// A retained message that makes room for others, because it has expired, leaves the store.
func TestRetainedMakesRoomInStore(t *testing.T) {
	b := newStoreBroker(t, store.NewMemory(), func(o *Options) { o.MaxRetainedMessages = 1 })
	connected(t, b, "sub", false).subscribe("#", 1)
	for _, topic := range []string{"first", "second"} {
		p := newPublication()
		p.Topic, p.QoS, p.Retain, p.Payload = topic, 1, true, []byte(topic)
		p.expireAt(b, b.now()+time.Minute)
		r, _ := b.topics.route(topic)
		b.publish(p, r)
		p.release()
		b.start = b.start.Add(-2 * time.Minute)
	}
	if n := b.Stats().RetainedMessages; n != 1 {
		t.Fatalf("%d messages are retained", n)
	}
	count := 0
	for k := range memory(b.store).Records() {
		if k.Space == store.MQTTRetained {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d records, want 1", count)
	}
}
