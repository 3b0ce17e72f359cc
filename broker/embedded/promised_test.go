package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// serveStore is serve with a store.
func serveStore(t testing.TB, st store.Store, change ...func(*Options)) *Broker {
	t.Helper()
	o := DefaultOptions()
	o.Listeners = listeners("127.0.0.1:0")
	for _, f := range change {
		f(&o)
	}
	b, err := New(o, st, silent())
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	return b
}

// holding is a store in which nothing becomes durable before Commit.
func holding() *store.Memory {
	st := store.NewMemory()
	st.Hold()
	return st
}

func (p *peer) pubacks(ids ...uint16) {
	p.t.Helper()
	for _, id := range ids {
		if ack := expect[*mqtt.Puback](p); ack.PacketID != id {
			p.t.Fatalf("PUBACK %d, want %d", ack.PacketID, id)
		}
	}
}

// What promises something waits until that is durable, and so does what promises nothing
// behind it. All else does not wait.
func TestPromisesWait(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		st := holding()
		b := serveStore(t, st)
		p := login(t, b, v, "c")
		p.subscribe(0, "t")
		d := connected(t, b, "d", true)
		c := b.connection("c")
		for id := range uint16(3) {
			c.sendPuback(id+1, broker.CodeSuccess, st.Apply())
		}
		c.sendPuback(4, broker.CodeSuccess, 0)
		b.Flush()
		p.quiet()
		d.publish("t", "now", 0, false)
		b.Flush()
		p.gets("now", 0)
		st.Commit()
		p.pubacks(1, 2, 3, 4)
		c.sendPuback(5, broker.CodeSuccess, 1)
		b.Flush()
		p.pubacks(5)
		if c.out.held != nil {
			t.Error("something is held")
		}
	})
}

// What becomes durable later is sent later, to whom it was promised.
func TestPromisesOneByOne(t *testing.T) {
	const clients, rounds = 10, 20
	st := holding()
	b := serveStore(t, st)
	var peers []*peer
	for i := range clients {
		peers = append(peers, login(t, b, mqtt.V311, fmt.Sprint(i)))
	}
	for id := range uint16(rounds) {
		for i := range peers {
			b.connection(fmt.Sprint(i)).sendPuback(id+1, broker.CodeSuccess, st.Apply())
			if (int(id)+i)%7 == 0 {
				st.Commit()
			}
		}
	}
	st.Commit()
	for _, p := range peers {
		for id := range uint16(rounds) {
			p.pubacks(id + 1)
		}
		p.quiet()
	}
}

// An ending connection waits a moment for what it has promised.
func TestPromisesAtTheEnd(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		for _, durable := range []bool{true, false} {
			for name, end := range map[string]func(b *Broker, p *peer, stop func()){
				"takeover":   func(b *Broker, p *peer, _ func()) { login(t, b, v, "c") },
				"disconnect": func(b *Broker, p *peer, _ func()) { p.send(&mqtt.Disconnect{}) },
				"error":      func(b *Broker, p *peer, _ func()) { p.send(&mqtt.Connect{ClientID: []byte("c")}) },
				"shutdown":   func(b *Broker, p *peer, stop func()) { go stop() },
			} {
				t.Run(fmt.Sprint(name, " ", durable), func(t *testing.T) {
					t.Parallel()
					st := holding()
					o := DefaultOptions()
					o.Listeners = listeners("127.0.0.1:0")
					b, err := New(o, st, silent())
					if err != nil {
						t.Fatal(err)
					}
					stop := run(t, b)
					p := login(t, b, v, "c")
					c := b.connection("c")
					c.sendPuback(1, broker.CodeSuccess, st.Apply())
					b.Flush()
					p.quiet()
					end(b, p, stop)
					until(t, "the connection is over", c.over.Load)
					if durable {
						until(t, "it is known", c.out.ending)
						st.Commit()
						p.pubacks(1)
					}
					if v == mqtt.V5 && name != "disconnect" {
						expect[*mqtt.Disconnect](p)
					}
					p.closed()
				})
			}
		}
	})
}
