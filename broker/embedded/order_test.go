package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// meddler is a device's receiver that does something else when it is given a message.
type meddler struct {
	*station
	meddle func()
}

func (m *meddler) Receive(ev broker.Event) {
	if ev.Kind == broker.Delivered && m.meddle != nil {
		m.meddle()
	}
	m.station.Receive(ev)
}

// While a retained message is being replaced, the last one who waits for the old one
// acknowledges it: no crash leaves a record that refers to a message that is not there.
func TestReplacedWhileAcknowledged(t *testing.T) {
	st := newMoments()
	b := newStoreBroker(t, st)
	last := connected(t, b, "last", false)
	last.subscribe("t", 1)
	other := &meddler{station: &station{t: t, id: "other"}}
	other.Conn = b.Open("other", other)
	other.do(broker.Request{Op: broker.Connect, CleanSession: true})
	other.answer()
	other.subscribe("t", 0)
	pub := connected(t, b, "pub", true)
	pub.publish("t", "old", 1, true)
	old := last.delivered("old", 1)
	other.meddle = func() { last.ack(old) }
	pub.publish("t", "new", 1, true)
	last.ack(last.delivered("new", 1))
	pub.publish("t", "", 1, true)
	tidy(t, b)
	for at := range st.after {
		tidy(t, newStoreBroker(t, st.after[at].Crash()))
	}
}

// A sleeper's clean session keeps what was on its way when the client fell asleep.
func TestPersistKeepsWhatIsOnItsWay(t *testing.T) {
	st := store.NewMemory()
	b := newStoreBroker(t, st)
	d := connected(t, b, "d", true)
	d.subscribe("t", 2)
	pub := connected(t, b, "pub", true)
	pub.publish("t", "1", 1, false)
	pub.publish("t", "2", 2, false)
	first, second := d.delivered("1", 1), d.delivered("2", 2)
	d.do(broker.Request{Op: broker.Persist})
	b = newStoreBroker(t, st.Crash())
	d = connected(t, b, "d", false)
	if d.delivered("1", 1) != first || d.delivered("2", 2) != second {
		t.Error("other tokens after the crash")
	}
	d.ack(first)
	d.ack(second)
	tidy(t, b)
}

// A crash while a will is being published: either the gateway does not know yet that its
// client was lost, and the will is armed again; or it knows, and the will is published.
func TestWillIsPublishedOnce(t *testing.T) {
	for _, clean := range []bool{false, true} {
		t.Run(fmt.Sprint("clean ", clean), func(t *testing.T) {
			st := newMoments()
			b := newStoreBroker(t, st)
			connected(t, b, "heir", false).subscribe("will", 1)
			will := &broker.Message{Topic: "will", Payload: []byte("gone"), QoS: 1}
			lost := store.Put(store.SessionState, "d", 0, []byte("lost"))
			d := open(t, b, "d")
			d.do(broker.Request{Op: broker.Connect, CleanSession: clean, Will: will})
			d.answer()
			d.do(broker.Request{Op: broker.Persist})
			before := len(st.after) - 1
			d.do(broker.Request{Op: broker.Abandon, With: []store.Op{lost}})
			for at := before; at < len(st.after); at++ {
				left := st.after[at].Crash()
				b := newStoreBroker(t, left)
				if _, err := left.Read(lost.Key, nil); err != nil {
					// The gateway goes on with it, and finds that the client is lost.
					d := open(t, b, "d")
					d.do(broker.Request{Op: broker.Connect, Will: will})
					d.answer()
					d.do(broker.Request{Op: broker.Abandon, With: []store.Op{lost}})
				}
				b.start = b.start.Add(-2 * restartGrace)
				b.expire()
				if got := payloads(b, "heir"); len(got) != 1 {
					t.Errorf("after change %d of %d: the will was published %d times", at-before, len(st.after)-1-before, len(got))
				}
			}
		})
	}
}
