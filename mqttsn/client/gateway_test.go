package client

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/mqttsn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is the other end of a client's connection, played by the test.
type gateway struct {
	t    *testing.T
	conn *pipe
	c    *Client

	mu         sync.Mutex
	lost, errs []error // what OnLost and OnError were told
}

// play runs a test with a client and a gateway in a bubble of fake time. The client is
// not connected yet.
func play(t *testing.T, o Options, test func(t *testing.T, c *Client, g *gateway)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := newPipe(perfect)
		g := &gateway{t: t, conn: far}
		o.ClientID = "cli-1"
		o.OnLost = func(err error) { g.note(&g.lost, err) }
		o.OnError = func(err error) { g.note(&g.errs, err) }
		g.c = New(near, o)
		test(t, g.c, g)
		g.silent()
		if err := g.c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// playConnected is play with a client that is connected, without keep alive.
func playConnected(t *testing.T, o Options, test func(t *testing.T, c *Client, g *gateway)) {
	t.Helper()
	play(t, o, func(t *testing.T, c *Client, g *gateway) {
		g.connect(ConnectOptions{CleanSession: true})
		test(t, c, g)
	})
}

// connect lets the client connect, without a will.
func (g *gateway) connect(o ConnectOptions) {
	g.t.Helper()
	done := g.call(func() error { return g.c.Connect(g.t.Context(), o) })
	g.expect(&mqttsn.Connect{
		CleanSession: o.CleanSession, ProtocolID: 1,
		Duration: uint16(o.KeepAlive / time.Second), ClientID: []byte("cli-1"),
	})
	g.send(mqttsn.Connack{})
	g.ok(done)
}

// call makes a call of the client while the test plays the gateway.
func (g *gateway) call(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// ok waits for a call, which has to succeed.
func (g *gateway) ok(done <-chan error) {
	g.t.Helper()
	if err := <-done; err != nil {
		g.t.Fatalf("call: %v", err)
	}
}

func (g *gateway) send(packets ...mqttsn.Packet) {
	g.t.Helper()
	for _, p := range packets {
		if _, err := g.conn.Write(p.Append(nil)); err != nil {
			g.t.Fatal(err)
		}
	}
}

// receive waits for a datagram of the client, in fake time at most an hour.
func (g *gateway) receive() []byte {
	g.t.Helper()
	select {
	case b := <-g.conn.in:
		return b
	case <-time.After(time.Hour):
		g.t.Fatal("nothing from the client for an hour")
		return nil
	}
}

// expect waits for packets of the client: these, in this order.
func (g *gateway) expect(packets ...mqttsn.Packet) {
	g.t.Helper()
	for _, want := range packets {
		b := g.receive()
		if bytes.Equal(b, want.Append(nil)) {
			continue
		}
		got, err := mqttsn.Decode(b)
		g.t.Fatalf("client sends %v %+v (% X, %v), want %v %+v", got.Type(), got, b, err, want.Type(), want)
	}
}

// expectAfter is expect, and the time that it has to take.
func (g *gateway) expectAfter(d time.Duration, p mqttsn.Packet) {
	g.t.Helper()
	start := time.Now()
	g.expect(p)
	if took := time.Since(start); took != d {
		g.t.Fatalf("%v after %v, want %v", p.Type(), took, d)
	}
}

// pass lets fake time pass.
func (g *gateway) pass(d time.Duration) { <-time.After(d) }

// silent checks that the client has nothing to say.
func (g *gateway) silent() {
	g.t.Helper()
	synctest.Wait()
	select {
	case b := <-g.conn.in:
		p, _ := mqttsn.Decode(b)
		g.t.Fatalf("client sends %v %+v, want silence", p.Type(), p)
	default:
	}
}

func (g *gateway) note(list *[]error, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*list = append(*list, err)
}

// told checks what OnError and OnLost have been told since the last call.
func (g *gateway) told(want string) {
	g.t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	got := fmt.Sprint(g.errs, g.lost)
	g.errs, g.lost = nil, nil
	if got != want {
		g.t.Fatalf("errors and losses reported: %s, want %s", got, want)
	}
}

// message takes the next message without waiting.
func (g *gateway) message() Message {
	g.t.Helper()
	synctest.Wait()
	select {
	case m := <-g.c.Messages():
		return m
	default:
		g.t.Fatal("no message")
		return Message{}
	}
}
