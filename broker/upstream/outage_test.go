package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

// world is a broker in a bubble of fake time that answers everything by itself, or is
// away, silent, or drops who has connected.
type world struct {
	t  *testing.T
	b  *Broker
	l  *logs
	mu sync.Mutex

	away        bool
	mute        bool
	drop        bool // after CONNACK; the health connection as well, unless dropClients
	dropClients bool
	cut         bool           // end connections of clients at their next packet
	keepAlive   uint16         // Server Keep Alive; 0: none
	tries       map[string]int // CONNECTs by client id
	probes      int
	at          []time.Time // of the CONNECTs of clients
	pings       []time.Time // of clients
	sessions    map[string]bool
}

var errAway = errors.New("connection refused")

// inWorld runs f with a served Broker whose network is a world.
func inWorld(t *testing.T, o Options, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, l: &logs{}, tries: make(map[string]int), sessions: make(map[string]bool)}
		o.URL = "mqtt://broker"
		b, err := New(o, nil, slog.New(slog.NewTextHandler(w.l, nil)))
		if err != nil {
			t.Fatal(err)
		}
		b.dialer.dial = func(ctx context.Context, _ string, _ *tls.Certificate) (net.Conn, error) { return w.dial(ctx) }
		w.b = b
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Serve(ctx, b.Flush) }()
		synctest.Wait()
		f(w)
		cancel()
		begin := time.Now()
		if err := <-done; err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("Serve: %v after %v", err, time.Since(begin))
		}
		w.set(func() { w.mute = false })
		synctest.Wait()
	})
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) dial(context.Context) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		w.probes++
		return nil, errAway
	}
	ours, theirs := net.Pipe()
	go w.serve(theirs)
	return ours, nil
}

func (w *world) serve(conn net.Conn) {
	defer conn.Close()
	first, err := packets.ReadPacket(conn)
	if err != nil {
		return
	}
	c := first.Content.(*packets.Connect)
	health := strings.Contains(c.ClientID, "-health-")
	w.mu.Lock()
	if health {
		w.probes++
	} else {
		w.tries[c.ClientID]++
		w.at = append(w.at, time.Now())
	}
	ack := &packets.Connack{SessionPresent: w.sessions[c.ClientID] && !c.CleanStart, Properties: &packets.Properties{}}
	if w.keepAlive > 0 {
		ack.Properties.ServerKeepAlive = &w.keepAlive
	}
	w.sessions[c.ClientID] = true
	drop, mute := w.drop || w.dropClients && !health, w.mute
	w.mu.Unlock()
	if !mute {
		_, _ = ack.WriteTo(conn)
	}
	for !drop {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		w.mu.Lock()
		mute, away := w.mute, w.away || w.cut && (w.drop || !health)
		if p.Type == packets.PINGREQ && !health {
			w.pings = append(w.pings, time.Now())
		}
		w.mu.Unlock()
		if away {
			return
		}
		if mute {
			continue
		}
		switch p := p.Content.(type) {
		case *packets.Pingreq:
			_, _ = (&packets.Pingresp{}).WriteTo(conn)
		case *packets.Publish:
			if p.QoS == 1 {
				_, _ = (&packets.Puback{PacketID: p.PacketID, Properties: &packets.Properties{}}).WriteTo(conn)
			}
		case *packets.Disconnect:
			return
		}
	}
}

// connect connects n clients.
func (w *world) connect(n int) []*device {
	devices := make([]*device, n)
	for i := range devices {
		d := &device{t: w.t, b: &served{Broker: w.b}}
		d.Conn = w.b.Open("c"+strconv.Itoa(i), d)
		devices[i] = d
		d.do(broker.Request{Op: broker.Connect, Token: 1, CleanSession: true})
	}
	return devices
}

func (w *world) expect(what string, ok bool) {
	w.t.Helper()
	if !ok {
		w.t.Fatalf("%s\n%+v\n%s", what, w.b.Stats(), w.l)
	}
}

func TestOutageOfAnHour(t *testing.T) {
	const clients = 200
	o := DefaultOptions()
	o.ReconnectRate = 40
	inWorld(t, o, func(w *world) {
		devices := w.connect(clients)
		time.Sleep(time.Second) // fake time
		w.expect("all connected", w.b.Stats().Connected == clients)
		w.set(func() { w.away, w.probes, w.tries = true, 0, make(map[string]int) })
		time.Sleep(70 * time.Second) // all connections end as their PINGREQ comes
		w.expect("away", !w.b.Up() && w.b.Stats().Reconnecting == clients)
		time.Sleep(time.Hour)
		late := w.b.Open("late", devices[0])
		_ = late.Do(&broker.Request{Op: broker.Connect, Token: 2})
		devices[1].publish(3, "t", "waits", 1)
		time.Sleep(11 * time.Second)
		devices[0].answer(1, 0)
		devices[0].answer(2, broker.CodeServerUnavailable)
		w.set(func() {
			// The probe: a try every 2.5 s on average. The clients: at most one each, when
			// their line was lost before the probe's.
			w.expect("few attempts: "+strconv.Itoa(w.probes), w.probes < 3700/2+clients)
			w.away = false
		})
		n := 0
		for tries := 0; n == 0 && tries < 60; tries++ { // until a probe finds it
			time.Sleep(100 * time.Millisecond)
			n = w.b.Stats().Connected
		}
		w.expect("not all at once: "+strconv.Itoa(n), n > 0 && n < clients)
		time.Sleep(clients/40*time.Second + 5*time.Second)
		w.expect("all connected again", w.b.Up() && w.b.Stats().Connected == clients)
		devices[1].answer(1, 0)
		devices[1].answer(3, 0)
		for _, word := range []string{"the broker is there", "the broker is away", "the broker is back"} {
			w.expect("one line: "+word, w.l.count(word) == 1)
		}
		w.expect("no other line", w.l.count("\n") == 3)
	})
}

// A broker that accepts and drops every connection is not asked in a tight loop.
func TestNoReconnectStorm(t *testing.T) {
	const clients = 20
	inWorld(t, DefaultOptions(), func(w *world) {
		w.set(func() { w.drop, w.cut = true, true })
		w.connect(clients)
		time.Sleep(time.Hour)
		w.set(func() {
			for id, n := range w.tries {
				// 30 s on average from the seventh on.
				w.expect(id+" tried "+strconv.Itoa(n)+" times", n > 60 && n < 200)
			}
		})
		w.set(func() { w.drop, w.cut = false, false })
		time.Sleep(61 * time.Second)
		w.expect("all connected", w.b.Stats().Connected == clients)
	})
}

// If it does so with one client alone, that client must be connected elsewhere.
func TestClientThatIsRobbed(t *testing.T) {
	inWorld(t, DefaultOptions(), func(w *world) {
		d := w.connect(1)[0]
		time.Sleep(time.Minute)
		d.answer(1, 0)
		w.set(func() { w.dropClients, w.cut = true, true })
		d.publish(2, "t", "x", 0) // makes the world look at cut
		time.Sleep(time.Minute)
		if ev := d.want(broker.Closed); ev.Code != broker.CodeTakenOver {
			t.Fatalf("%+v", ev)
		}
		w.expect("given in after "+strconv.Itoa(w.tries["c0"])+" CONNECTs", w.tries["c0"] == 1+robberies)
	})
}

func TestKeepAlive(t *testing.T) {
	for _, ordered := range []uint16{0, 10} {
		every := 60 * time.Second
		if ordered > 0 {
			every = time.Duration(ordered) * time.Second
		}
		inWorld(t, DefaultOptions(), func(w *world) {
			w.set(func() { w.keepAlive = ordered })
			d := w.connect(1)[0]
			time.Sleep(10*every + time.Second)
			w.set(func() {
				w.expect("a PINGREQ per period: "+strconv.Itoa(len(w.pings)), len(w.pings) == 10)
				for i := 1; i < len(w.pings); i++ {
					gap := w.pings[i].Sub(w.pings[i-1])
					w.expect("gap "+gap.String(), gap <= every && gap > every-time.Second)
				}
				w.mute, w.pings = true, nil
			})
			d.answer(1, 0)
			d.publish(2, "t", "into the void", 1)
			time.Sleep(every + pongTimeout + time.Second)
			w.expect("given up", w.b.Stats().Reconnecting == 1)
			w.set(func() { w.mute = false })
			time.Sleep(2 * time.Minute)
			d.answer(2, 0)
		})
	}
}

// Stopped for a minute, a broker loses nobody: half a keep alive and a pong's time are more.
func TestStalledBroker(t *testing.T) {
	o := DefaultOptions()
	o.KeepAlive = 120 * time.Second
	inWorld(t, o, func(w *world) {
		devices := w.connect(10)
		time.Sleep(time.Second)
		w.set(func() { w.mute = true })
		for i, d := range devices {
			d.answer(1, 0)
			d.publish(broker.Token(i), "t", "x", 1)
		}
		newcomer := &device{t: t, b: &served{Broker: w.b}}
		newcomer.Conn = w.b.Open("new", newcomer)
		newcomer.do(broker.Request{Op: broker.Connect, Token: 5})
		time.Sleep(16 * time.Second)
		newcomer.answer(5, broker.CodeServerUnavailable)
		w.expect("noticed", !w.b.Up() && w.b.Stats().Connected == 10)
		time.Sleep(44 * time.Second)
		tries := 0
		w.set(func() {
			w.mute = false
			for _, n := range w.tries {
				tries += n
			}
		})
		w.expect("no new connections: "+strconv.Itoa(tries), tries <= 11)
		time.Sleep(11 * time.Second) // an attempt that was not answered, and a pause
		w.expect("up", w.b.Up())
	})
}

// Who connects anew does not wait behind those who come back.
func TestConnectGoesBeforeReconnect(t *testing.T) {
	o := DefaultOptions()
	o.ReconnectRate = 1
	inWorld(t, o, func(w *world) {
		w.connect(100)
		time.Sleep(time.Second)
		w.set(func() { w.away = true })
		time.Sleep(70 * time.Second)
		w.set(func() { w.away = false })
		time.Sleep(6 * time.Second)
		w.expect("slowly", w.b.Up() && w.b.Stats().Reconnecting > 80)
		d := &device{t: t, b: &served{Broker: w.b}}
		d.Conn = w.b.Open("new", d)
		d.do(broker.Request{Op: broker.Connect, Token: 5})
		synctest.Wait()
		d.answer(5, 0)
	})
}

// A broker that comes and goes does not fill the log.
func TestFlappingBroker(t *testing.T) {
	inWorld(t, DefaultOptions(), func(w *world) {
		for i := range 600 {
			time.Sleep(6 * time.Second)
			w.set(func() { w.away = i%2 == 0 })
		}
		n := w.l.count("\n")
		w.expect("lines: "+strconv.Itoa(n), n > 10 && n <= 3600/10+5)
	})
}

func TestNoticesAreLimited(t *testing.T) {
	inWorld(t, DefaultOptions(), func(w *world) {
		for i := range 1000 {
			w.b.notice(broker.CodeQuota, "trouble", "client", i)
			w.b.notice(broker.CodeServerBusy, "trouble", "client", i)
		}
		w.expect("one each", w.l.count("trouble") == 2)
		time.Sleep(11 * time.Second)
		w.b.notice(broker.CodeQuota, "trouble", "client", "last")
		w.expect("and what was left out", w.l.count("client=last omitted=999") == 1)
	})
}
