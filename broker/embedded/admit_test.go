package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// refused are the limits that connections have met with.
func refused(b *Broker) map[string]uint64 {
	all := b.Stats().Refused
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}

// turnedAway sends CONNECT, which must be refused for want of room.
func (p *peer) turnedAway() {
	p.t.Helper()
	p.send(&mqtt.Connect{CleanStart: true, ClientID: []byte("one too many")})
	want := mqtt.CodeQuota
	if p.version < mqtt.V5 {
		want = mqtt.CodeServerUnavailable
	}
	ack := expect[*mqtt.Connack](p)
	if ack.Code != want {
		p.t.Errorf("CONNACK %v, want %v", ack.Code, want)
	}
	if why := string(ack.Properties.ReasonString); p.version == mqtt.V5 && !strings.Contains(why, "max_connections") {
		p.t.Errorf("the reason is %q", why)
	}
	p.closed()
}

func TestMaxConnections(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxConnections = 2 })
	login(t, b, mqtt.V311, "1")
	p := login(t, b, mqtt.V311, "2")
	for _, v := range versions {
		dial(t, b, v).turnedAway()
	}
	if got := refused(b); len(got) != 1 || got["max_connections"] != 3 {
		t.Errorf("refused %v", got)
	}
	for range 3 { // the client's last connection may be dead without the broker knowing
		last := p
		p = login(t, b, mqtt.V311, "2")
		last.closed()
	}
	until(t, "the connections taken over have gone", func() bool { return b.Stats().Connections == 2 })
	p.conn.Close()
	until(t, "there is room again", func() bool { return b.Stats().Connections == 1 })
	login(t, b, mqtt.V311, "3")
}

func TestMaxConnectionsOfListener(t *testing.T) {
	b := serve(t, func(o *Options) {
		o.Listeners = listeners("127.0.0.1:0", "127.0.0.1:0")
		o.Listeners[0].MaxConnections = 1
	})
	one, two := b.Addrs()[0], b.Addrs()[1]
	p := dialAt(t, one, mqtt.V5)
	p.connect("a")
	dialAt(t, one, mqtt.V5).turnedAway()
	for i := range 3 {
		dialAt(t, two, mqtt.V5).connect(fmt.Sprint("b", i))
	}
	if got := refused(b); len(got) != 1 || got["listener_max_connections"] != 1 {
		t.Errorf("refused %v", got)
	}
	p.send(&mqtt.Disconnect{})
	until(t, "there is room again", func() bool { return b.Stats().Connections == 3 })
	dialAt(t, one, mqtt.V5).connect("c")
}

// A thousand connections that say nothing do not keep out whoever does.
func TestSilentConnections(t *testing.T) {
	b := serve(t, func(o *Options) {
		o.MaxConnections, o.MaxPendingConnections, o.ConnectRate, o.ConnectTimeout = 2, 100, 0, time.Hour
	})
	const n = 1000
	silent := make([]*peer, n)
	for i := range silent {
		silent[i] = dial(t, b, mqtt.V5)
		if i == n/2 {
			login(t, b, mqtt.V5, "good").quiet()
		}
	}
	login(t, b, mqtt.V5, "better").quiet()
	until(t, "the oldest ones are closed", func() bool {
		st := b.Stats()
		// 99, since the last one that came is a client now.
		return st.Pending == 99 && st.Connections == 101 && st.Refused["max_pending_connections"] == n-99
	})
	for _, p := range silent[:n-99] {
		p.closed()
	}
	silent[n-1].turnedAway() // it is still there, but not as a client
}

// by connects by a pipe, as from an address.
func by(t *testing.T, b *Broker, addr net.Addr) (*peer, bool) {
	client, server := net.Pipe()
	ok := b.serve(new(listener), from{server, addr})
	return newPeer(t, client, mqtt.V5), ok
}

func TestMaxConnectionsPerAddress(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		first, _ := by(t, b, tcp("192.0.2.1:1"))
		for addr, want := range map[string]bool{"192.0.2.2:1": true, "[2001:db8::1]:1": true, "[2001:db8:0:1::1]:1": true} {
			if _, ok := by(t, b, tcp(addr)); ok != want {
				t.Errorf("%s is let in: %t", addr, ok)
			}
		}
		if _, ok := by(t, b, tcp("[2001:db8::2]:1")); !ok {
			t.Error("the second one of a network is refused")
		}
		if _, ok := by(t, b, tcp("192.0.2.1:2")); !ok {
			t.Error("the second one is refused")
		}
		third, ok := by(t, b, tcp("192.0.2.1:3"))
		if ok {
			t.Error("the third one is let in")
		}
		third.closed()
		if _, ok := by(t, b, tcp("[2001:db8::3]:1")); ok {
			t.Error("the third one of a network is let in")
		}
		for range 5 {
			if _, ok := by(t, b, &net.UnixAddr{Net: "unix"}); !ok {
				t.Error("a unix socket is refused")
			}
		}
		if got := refused(b); len(got) != 1 || got["max_connections_per_address"] != 2 {
			t.Errorf("refused %v", got)
		}
		first.conn.Close()
		synctest.Wait()
		if _, ok := by(t, b, tcp("192.0.2.1:4")); !ok {
			t.Error("one of two has gone, and another one is refused")
		}
		time.Sleep(time.Minute) // all have said nothing
		synctest.Wait()
		if n := len(b.clients.addresses); n != 0 {
			t.Errorf("%d addresses are remembered", n)
		}
		if got := refused(b); got["connect_timeout"] != 11 {
			t.Errorf("refused %v", got)
		}
	}, func(o *Options) { o.MaxConnectionsPerAddress = 2 })
}

func TestConnectRatePerAddress(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		let := func(addr string) (n int) {
			for range 100 {
				if p, ok := by(t, b, tcp(addr)); ok {
					p.conn.Close()
					n++
				}
			}
			return n
		}
		if n := let("192.0.2.1:1"); n != 20 {
			t.Errorf("%d were let in at once, want 20", n)
		}
		if n := let("192.0.2.2:1"); n != 20 {
			t.Errorf("%d were let in from another address, want 20", n)
		}
		time.Sleep(time.Second)
		if n := let("192.0.2.1:1"); n != 10 {
			t.Errorf("%d were let in after a second, want 10", n)
		}
		if got := refused(b); len(got) != 1 || got["connect_rate_per_address"] != 250 {
			t.Errorf("refused %v", got)
		}
	}, func(o *Options) { o.ConnectRatePerAddress = 10 })
}

// arrivals is a listener that has a number of connections at once.
type arrivals struct {
	net.Listener
	left int
	last net.Conn
	done chan struct{}
}

func (a *arrivals) Accept() (net.Conn, error) {
	if a.left == 0 {
		<-a.done
		return nil, net.ErrClosed
	}
	a.left--
	client, server := net.Pipe()
	a.last = client
	return server, nil
}

func (a *arrivals) Close() error {
	close(a.done)
	return nil
}

// Connections beyond the rate wait for their turn, and none is refused.
func TestConnectRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, func(o *Options) { o.ConnectRate, o.ConnectTimeout = 10, time.Hour })
		a := &arrivals{left: 60, done: make(chan struct{})}
		b.listeners = []*listener{{sockets: []net.Listener{a}}}
		run(t, b)
		for second, want := range []int{21, 31, 41, 51, 60, 60} {
			synctest.Wait()
			if st := b.Stats(); st.Pending != want || len(refused(b)) > 0 {
				t.Errorf("after %d s %d are in, want %d; refused %v", second, st.Pending, want, refused(b))
			}
			time.Sleep(time.Second)
		}
		if n := b.Stats().Slowed["connect_rate"]; n != 40 {
			t.Errorf("%d had to wait, want 40", n)
		}
	})
}

// A client that sends too much is read more slowly, and loses nothing by it.
func TestMaxPacketRate(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		d := connected(t, b, "d", true)
		d.subscribe("t", 0)
		fast := piped(t, b, mqtt.V5, "fast", func(c *mqtt.Connect) { c.KeepAlive = 1 })
		slow := piped(t, b, mqtt.V5, "slow")
		start := time.Now()
		for range 1000 {
			fast.send(&mqtt.Publish{Topic: []byte("t")})
		}
		if took := time.Since(start).Round(100 * time.Millisecond); took != 9*time.Second {
			t.Errorf("a thousand packets took %v, want 9 s", took)
		}
		slow.quiet()
		fast.quiet()
		if n := len(d.take()); n != 1000 {
			t.Errorf("%d messages came", n)
		}
		if st := b.Stats(); st.Slowed["max_packet_rate"] == 0 || len(refused(b)) > 0 {
			t.Errorf("slowed %v, refused %v", st.Slowed, refused(b))
		}
	}, func(o *Options) { o.MaxPacketRate = 100 })
}

// Acknowledgements do not count, and a client that waits can be disconnected.
func TestMaxPacketRateSparesAcknowledgements(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V5, "p")
		p.subscribe(1, "t")
		d := connected(t, b, "d", true)
		start := time.Now()
		for range 50 {
			d.publish("t", "x", 1, false)
			b.Flush()
			p.send(&mqtt.Puback{PacketID: p.gets("x", 1).PacketID})
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("acknowledgements took %v", took)
		}
		for range 9 {
			p.send(&mqtt.Pingreq{})
			expect[*mqtt.Pingresp](p)
		}
		start = time.Now()
		piped(t, b, mqtt.V5, "p") // while the first one waits
		if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeTakenOver {
			t.Errorf("DISCONNECT %v", code)
		}
		p.closed()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it was disconnected after %v", took)
		}
	}, func(o *Options) { o.MaxPacketRate = 1 })
}

// The log is told at once that a limit was reached, and then at most every 10 s how often.
func TestLimitsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var text bytes.Buffer
		b := newBroker(t)
		b.log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &text}, nil))
		run(t, b)
		synctest.Wait()
		for i := range 25 {
			for k := range 10 {
				if i == 0 && k > 0 {
					break // the first one is told of at once, however many follow
				}
				b.limited.meet(pendingLimit, tcp(fmt.Sprintf("192.0.2.%d:1", i)))
			}
			synctest.Wait()
			time.Sleep(990 * time.Millisecond) // not at the instants of the reports
		}
		time.Sleep(time.Minute)
		b.limited.meet(packetRateLimit, tcp("192.0.2.1:1"))
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		var counts []string
		for line := range strings.Lines(text.String()) {
			_, rest, _ := strings.Cut(line, "limit=")
			counts = append(counts, strings.TrimSpace(rest))
		}
		want := []string{
			"max_pending_connections count=1 last=192.0.2.0:1",
			"max_pending_connections count=100 last=192.0.2.10:1",
			"max_pending_connections count=100 last=192.0.2.20:1",
			"max_pending_connections count=40 last=192.0.2.24:1",
			"max_packet_rate count=1 last=192.0.2.1:1",
		}
		if fmt.Sprint(counts) != fmt.Sprint(want) {
			t.Errorf("the log says\n%s", text.String())
		}
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

// A client that has left is not connected any more, however many packets it has sent before.
func TestPacketRateLetsClientsLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V311, "p", stay)
		var packets []mqtt.Packet
		for range 30 {
			packets = append(packets, &mqtt.Publish{Topic: []byte("t")})
		}
		p.send(append(packets, &mqtt.Disconnect{})...)
		synctest.Wait()
		if n := b.Stats().Connected; n != 0 {
			t.Errorf("%d clients are connected", n)
		}
		p.untilClosed()
	}, func(o *Options) { o.MaxPacketRate = 1 })
}

// A connection that had to make room for others is not let in by a CONNECT that came just
// then.
func TestDroppedConnectionIsNotLetIn(t *testing.T) {
	b := newBroker(t)
	c := &client{broker: b, listener: new(listener), stage: droppedStage}
	if c.admit("c") || b.clients.connected != 0 || b.clients.pending.Len() != 0 {
		t.Errorf("%d are connected, %d pending", b.clients.connected, b.clients.pending.Len())
	}
}

// Whoever does not speak MQTT is not waited for, however long its first packet would be.
func TestOtherProtocols(t *testing.T) {
	b := serve(t, func(o *Options) { o.ConnectTimeout = time.Hour })
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "\xC0", "\x16\x03\x01\x02\x00\x01"} {
		p := dial(t, b, mqtt.V5)
		if _, err := p.conn.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		if packet, err := p.read(patience); err == nil {
			t.Errorf("%q is answered by %+v", first, packet)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection is still open", first)
		}
	}
}
