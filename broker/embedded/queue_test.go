package embedded

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mqttsn-gateway/broker"
)

func TestQueueAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		type item struct {
			id   uint16
			size int
		}
		var flying, waiting []item
		n := uint16(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n++
				i := item{n, rapid.IntRange(1, 100).Draw(t, "size")}
				q.push(delivery{message: &message{Message: broker.Message{Payload: make([]byte, i.size)}}, id: i.id})
				waiting = append(waiting, i)
			},
			"fly": func(*rapid.T) {
				if len(waiting) > 0 {
					q.fly()
					flying, waiting = append(flying, waiting[0]), waiting[1:]
				}
			},
			"land": func(*rapid.T) {
				q.land()
				flying, waiting = nil, append(slices.Clone(flying), waiting...)
			},
			"filter": func(t *rapid.T) {
				k := rapid.IntRange(0, 100).Draw(t, "size")
				waiting = slices.DeleteFunc(slices.Clone(waiting), func(i item) bool { return i.size <= k })
				q.filter(func(d *delivery) bool { return d.message.size() > k })
			},
			"remove": func(t *rapid.T) {
				if q.len() == 0 {
					return
				}
				i := rapid.IntRange(0, q.len()-1).Draw(t, "which")
				q.remove(i)
				if i < len(flying) {
					flying = slices.Delete(slices.Clone(flying), i, i+1)
				} else {
					waiting = slices.Delete(slices.Clone(waiting), i-len(flying), i-len(flying)+1)
				}
			},
			"": func(t *rapid.T) {
				bytes := 0
				for _, i := range waiting {
					bytes += i.size
				}
				if q.len() != len(flying)+len(waiting) || int(q.sent) != len(flying) || q.bytes != bytes {
					t.Fatalf("%d in the queue, %d of them sent, %d octets; want %d, %d, %d", q.len(), q.sent, q.bytes, len(flying)+len(waiting), len(flying), bytes)
				}
				for i, want := range append(slices.Clone(flying), waiting...) {
					if q.at(i).id != want.id {
						t.Fatalf("number %d is %d, want %d", i, q.at(i).id, want.id)
					}
					if at, ok := q.inFlight(want.id); ok != (i < len(flying)) || ok && at != i {
						t.Fatalf("number %d in flight: %d, %v", i, at, ok)
					}
				}
			},
		})
	})
}

// Large messages do not count against the queue while they are in flight.
func TestLargeMessagesInFlight(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.MaxQueuedBytes, o.DeviceInflight = 10_000, 4 })
	d := connected(t, b, "d", false)
	d.subscribe("t", 1)
	from := connected(t, b, "from", true)
	large := strings.Repeat("x", 6000)
	for range 10 {
		from.publish("t", large, 1, false)
	}
	if st := b.Stats(); st.QueuedMessages != 5 || st.Dropped["queue_full"] != 5 {
		t.Errorf("%d are queued, dropped %v", st.QueuedMessages, st.Dropped)
	}
	for range 5 {
		d.ack(d.delivered(large, 1))
	}
	for i := range 5 {
		from.publish("t", fmt.Sprint(i), 1, false)
		d.ack(d.delivered(fmt.Sprint(i), 1))
	}
}
