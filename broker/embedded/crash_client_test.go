package embedded

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// wreck is a broker that crashes, and one client of it that keeps its own state. What the
// client sends and the broker does stands in a word: s, the client sends its next packet;
// c, what was applied becomes durable; r, the client connects again; x, the broker crashes,
// and the client connects to what a new one has found in the store.
type wreck struct {
	t       testing.TB
	version mqtt.Version
	st      *store.Memory
	b       *Broker
	stop    func()
	p       *peer
	greeted bool // CONNACK has come
	role    role
}

// role is what the client does.
type role interface {
	// step sends the next packet that is due without another one coming; false if none is.
	step(p *peer) bool
	// handle takes a packet.
	handle(t testing.TB, packet mqtt.Packet)
	// resume goes on with the session on a new connection.
	resume(p *peer)
	// done reports whether all is complete.
	done() bool
}

func newWreck(t testing.TB, v mqtt.Version, r role) *wreck {
	w := &wreck{t: t, version: v, st: store.NewMemory(), role: r}
	w.start()
	return w
}

func (w *wreck) start() {
	o := DefaultOptions()
	o.Listeners = listeners("127.0.0.1:0")
	o.SysInterval = 0
	b, err := New(o, w.st, silent())
	if err != nil {
		w.t.Fatal(err)
	}
	w.b, w.stop = b, run(w.t, b)
}

// connect has the client connect to its session.
func (w *wreck) connect() {
	last := w.b.connection("c")
	if w.p != nil {
		w.p.conn.Close() // which the broker may learn of before or after the CONNECT
	}
	w.p, w.greeted = dial(w.t, w.b, w.version), false
	c := &mqtt.Connect{ClientID: []byte("c")}
	stay(c)
	w.p.send(c)
	until(w.t, "the client is known", func() bool {
		c := w.b.connection("c")
		return c != nil && c != last
	})
	w.settle()
}

// settle reads all that the broker has to say by now.
func (w *wreck) settle() {
	if !w.greeted {
		if w.b.unanswered("c") {
			return
		}
		if ack := expect[*mqtt.Connack](w.p); ack.Code.Failed() {
			w.t.Fatalf("CONNACK %v", ack.Code)
		}
		w.greeted = true
		w.role.resume(w.p)
	}
	w.p.send(&mqtt.Pingreq{})
	for {
		packet, err := w.p.read(patience)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, ok := packet.(*mqtt.Pingresp); ok {
			return
		}
		w.role.handle(w.t, packet)
	}
}

func (w *wreck) commit() {
	w.st.Commit()
	c := w.b.connection("c")
	until(w.t, "what is durable has left", func() bool {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return c.out.held == nil || c.out.held.list[0].mark > w.st.Durable()
	})
	w.settle()
}

func (w *wreck) crash() {
	w.p.conn.Close()
	w.p = nil
	after := w.st.Crash()
	w.stop()
	w.st = after
	w.start()
}

func (w *wreck) do(word string) {
	for _, r := range word {
		switch r {
		case 's':
			if w.greeted && w.role.step(w.p) {
				w.settle()
			}
		case 'c':
			w.commit()
		case 'r':
			w.connect()
		case 'x':
			w.crash()
			w.connect()
		}
	}
}

// finish lets the client and the broker go on until all is complete.
func (w *wreck) finish() {
	for range 100 {
		w.commit()
		if !w.role.step(w.p) && w.role.done() {
			return
		}
	}
	w.t.Fatal("it does not come to an end")
}

// eachWord tries what may happen: all short words, and longer ones by chance.
func eachWord(t *testing.T, try func(t testing.TB, v mqtt.Version, word string)) {
	t.Parallel()
	words := []string{""}
	for range 4 {
		var longer []string
		for _, w := range words {
			for _, c := range "scrx" {
				longer = append(longer, w+string(c))
			}
		}
		words = longer
	}
	chance := rand.New(rand.NewPCG(5, 0))
	for range 100 {
		long := make([]byte, 14)
		for i := range long {
			long[i] = "sssccrxx"[chance.IntN(8)]
		}
		words = append(words, string(long))
	}
	for i, word := range words {
		v := []mqtt.Version{mqtt.V311, mqtt.V5}[(i+i/4)%2]
		try(witness{t, fmt.Sprint(v, " ", word)}, v, word)
	}
}

// witness is a test that says of which word it speaks.
type witness struct {
	*testing.T
	word string
}

func (w witness) Fatal(args ...any) {
	w.Helper()
	w.T.Fatal(append([]any{w.word + ":"}, args...)...)
}

func (w witness) Fatalf(format string, args ...any) {
	w.Helper()
	w.T.Fatalf(w.word+": "+format, args...)
}

const messages = 3

// sender publishes messages with QoS 2, all with the same identifier.
type sender struct {
	sent    int // completely
	waits   mqtt.Type
	release bool // PUBREC has come
}

func (s *sender) publish(dup bool) *mqtt.Publish {
	s.waits = mqtt.TypePubrec
	return &mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, s.sent), QoS: 2, PacketID: 1, DUP: dup}
}

func (s *sender) pubrel() *mqtt.Pubrel {
	s.waits = mqtt.TypePubcomp
	return &mqtt.Pubrel{PacketID: 1}
}

func (s *sender) done() bool { return s.sent == messages }

func (s *sender) step(p *peer) bool {
	switch {
	case s.waits != 0 || s.done():
		return false
	case s.release:
		p.send(s.pubrel())
	default:
		p.send(s.publish(false))
	}
	return true
}

func (s *sender) resume(p *peer) {
	switch {
	case s.release:
		p.send(s.pubrel())
	case s.waits == mqtt.TypePubrec:
		p.send(s.publish(true))
	}
}

func (s *sender) handle(t testing.TB, packet mqtt.Packet) {
	switch p := packet.(type) {
	case *mqtt.Pubrec:
		if p.Code.Failed() || s.waits != mqtt.TypePubrec {
			t.Fatalf("%+v", p)
		}
		s.release, s.waits = true, 0
	case *mqtt.Pubcomp:
		if s.waits != mqtt.TypePubcomp {
			t.Fatalf("%+v", p)
		}
		s.release, s.waits = false, 0
		s.sent++
	default:
		t.Fatalf("%T %+v", packet, packet)
	}
}

// taker takes messages with QoS 2.
type taker struct {
	got  []string
	open map[uint16]bool
	acks []mqtt.Packet
}

func (s *taker) done() bool { return len(s.got) >= messages && len(s.open) == 0 && len(s.acks) == 0 }

func (s *taker) step(p *peer) bool {
	if len(s.acks) == 0 {
		return false
	}
	p.send(s.acks[0])
	s.acks = s.acks[1:]
	return true
}

func (s *taker) resume(*peer) { s.acks = nil }

func (s *taker) handle(t testing.TB, packet mqtt.Packet) {
	switch p := packet.(type) {
	case *mqtt.Publish:
		if !s.open[p.PacketID] {
			s.got = append(s.got, string(p.Payload))
			s.open[p.PacketID] = true
		}
		s.acks = append(s.acks, &mqtt.Pubrec{PacketID: p.PacketID})
	case *mqtt.Pubrel:
		delete(s.open, p.PacketID)
		s.acks = append(s.acks, &mqtt.Pubcomp{PacketID: p.PacketID})
	default:
		t.Fatalf("%T %+v", packet, packet)
	}
}

func (s *taker) check(t testing.TB) {
	t.Helper()
	if want := []string{"0", "1", "2"}; !slices.Equal(s.got, want) {
		t.Fatalf("got %q, want %q", s.got, want)
	}
}

// What a client publishes with QoS 2 is published once, whatever happens.
func TestCrashOnceFromClient(t *testing.T) {
	eachWord(t, func(t testing.TB, v mqtt.Version, word string) {
		w := newWreck(t, v, new(sender))
		s := login(t, w.b, v, "s", stay)
		s.subscribe(2, "t")
		s.conn.Close()
		w.connect()
		w.st.Hold()
		w.do(word)
		w.finish()
		w.st.Commit()
		got := &taker{open: make(map[uint16]bool)}
		s = dial(t, w.b, v)
		again := &mqtt.Connect{ClientID: []byte("s")}
		stay(again)
		s.send(again)
		soon[*mqtt.Connack](s, w.st)
		for !got.done() {
			got.handle(t, soon[mqtt.Packet](s, w.st))
			for got.step(s) {
			}
		}
		got.check(t)
		s.conn.Close()
		w.p.conn.Close()
		w.stop()
	})
}

// What a client gets with QoS 2 it gets once, whatever happens.
func TestCrashOnceToClient(t *testing.T) {
	eachWord(t, func(t testing.TB, v mqtt.Version, word string) {
		r := &taker{open: make(map[uint16]bool)}
		w := newWreck(t, v, r)
		w.connect()
		w.p.subscribe(2, "t")
		w.st.Hold()
		d := connected(t, w.b, "d", true)
		for i := range messages {
			d.publish("t", fmt.Sprint(i), 2, false)
		}
		w.b.Flush()
		w.st.Commit() // or the device would have to publish them again
		w.do(word)
		w.finish()
		r.check(t)
		w.p.conn.Close()
		w.stop()
	})
}
