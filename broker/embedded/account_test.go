package embedded

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// whim is a client that takes what it is sent or does not, as it is told.
type whim struct {
	session  *session
	passes   reason   // what pass answers
	sends    reason   // what send answers
	inFlight []uint16 // in order
}

func (w *whim) accept(s *session, _ bool) { w.session = s }

func (w *whim) pass(*publication, bool, *rare) reason { return w.passes }

func (w *whim) send(d *delivery, _ bool) reason {
	if w.sends == noReason {
		w.inFlight = append(w.inFlight, d.id)
	}
	return w.sends
}

func (w *whim) end(broker.Code) {}

func (w *whim) lost() bool { return false }

// Every message that was accepted is accounted for: for each session that is to get it, it
// was handed over, or is in the queue, or was dropped for a reason, whatever the clients do.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := DefaultOptions()
		o.Listeners, o.MaxQueuedMessages, o.MaxQueuedBytes = nil, 3, 1024
		o.QueueQoS0Messages = rapid.Bool().Draw(t, "queue QoS 0")
		o.UpgradeOutgoingQoS = rapid.Bool().Draw(t, "upgrade QoS")
		b, err := New(o, nil, silent())
		if err != nil {
			t.Fatal(err)
		}
		const retained = 5
		var offered uint64
		publish := func(topic string, m message) {
			r, _ := b.topics.route(topic)
			p := newPublication()
			p.message = m
			p.Topic = r.topic
			b.stats.take(p)
			b.publish(p, r)
			p.release()
			offered += uint64(len(r.targets) + len(r.groups))
		}
		for i := range retained {
			m := message{Message: broker.Message{Payload: []byte("kept"), QoS: byte(i % 3), Retain: true}}
			publish(fmt.Sprint("r/", i), m)
		}
		someID := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		clients := make(map[string]*whim) // that are connected
		sessions := make(map[string]*session)
		connect := func(t *rapid.T, id string) {
			w := new(whim)
			b.attach(id, w, &attachment{
				clean:  rapid.IntRange(0, 3).Draw(t, "clean") == 0,
				expiry: rapid.SampledFrom([]time.Duration{0, 10 * time.Second, forever}).Draw(t, "expiry"),
				window: rapid.Uint16Range(1, 3).Draw(t, "window"),
			})
			clients[id], sessions[id] = w, w.session
		}
		some := func(t *rapid.T) *whim {
			id := someID.Draw(t, "id")
			if clients[id] == nil {
				connect(t, id)
			}
			return clients[id]
		}
		alive := func() (all []*session) {
			for id, s := range sessions {
				if b.sessions[id] == s {
					all = append(all, s)
				}
			}
			return all
		}
		t.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) { connect(t, someID.Draw(t, "id")) },
			"disconnect": func(t *rapid.T) {
				w := some(t)
				delete(clients, w.session.id)
				b.detach(w.session, w, true)
			},
			"subscribe": func(t *rapid.T) {
				w := some(t)
				filter := rapid.SampledFrom([]string{"t", "#", "$share/g/t"}).Draw(t, "filter")
				all := []wanted{{filter: filter, sub: subscription{qos: rapid.ByteMax(2).Draw(t, "qos")}}}
				w.session.subscribe(w, nil, all, func(store.Mark) {
					if all[0].retained {
						offered += uint64(len(retainedFor(b, filter)))
					}
				})
			},
			"unsubscribe": func(t *rapid.T) {
				w := some(t)
				w.session.unsubscribe(w, nil, []string{"t", "#", "$share/g/t"})
			},
			"publish": func(t *rapid.T) {
				m := message{Message: broker.Message{
					QoS:     rapid.ByteMax(2).Draw(t, "qos"),
					Payload: make([]byte, rapid.SampledFrom([]int{0, 100, 600, 2000}).Draw(t, "size")),
				}}
				if rapid.Bool().Draw(t, "expires") {
					m.expires = b.now() + 3*time.Second
				}
				publish("t", m)
			},
			"answer": func(t *rapid.T) {
				w := some(t)
				w.passes = rapid.SampledFrom([]reason{noReason, slowClient, tooLarge, expired}).Draw(t, "pass")
				w.sends = rapid.SampledFrom([]reason{noReason, noRoom, tooLarge}).Draw(t, "send")
				var tally tally
				w.session.mu.Lock()
				w.session.pump(&tally)
				w.session.mu.Unlock()
				b.stats.add(&tally)
			},
			"acknowledge": func(t *rapid.T) {
				w := some(t)
				if len(w.inFlight) == 0 {
					return
				}
				var tally tally
				i := rapid.IntRange(0, len(w.inFlight)-1).Draw(t, "which")
				w.session.mu.Lock()
				at, ok := w.session.queue.inFlight(w.inFlight[i])
				if ok {
					w.session.complete(at, &tally)
				}
				w.session.mu.Unlock()
				w.inFlight = slices.Delete(w.inFlight, i, i+1)
				b.stats.add(&tally)
			},
			"time passes": func(*rapid.T) {
				b.start = b.start.Add(-2 * time.Second)
				b.expire()
			},
			"": func(t *rapid.T) {
				var queued, octets, unsent int
				var connected int
				for _, s := range alive() {
					if s.line != nil {
						connected++
					}
					if s.backlog != nil {
						unsent += s.backlog.len
					}
					for i := range s.queue.len() {
						d := s.queue.at(i)
						queued++
						octets += d.message.size()
						if !d.sent {
							unsent++
						}
					}
				}
				st := b.Stats()
				if st.QueuedMessages != queued || st.QueuedBytes != octets {
					t.Fatalf("%d messages and %d octets are queued, counted are %d and %d", queued, octets, st.QueuedMessages, st.QueuedBytes)
				}
				if st.Connected != connected || st.Sessions != len(b.sessions) {
					t.Fatalf("%d of %d are connected, counted are %d of %d", connected, len(b.sessions), st.Connected, st.Sessions)
				}
				ends := total(st.Sent) + uint64(unsent)
				for _, why := range []reason{queueFull, brokerFull, clientAway, slowClient, tooLarge, expired, sessionEnded} {
					ends += st.Dropped[reasonNames[why]]
				}
				if ends != offered {
					t.Fatalf("%d messages were offered to sessions, but %d are accounted for: %+v, %d wait", offered, ends, st, unsent)
				}
			},
		})
	})
}
