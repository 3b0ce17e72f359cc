package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	device "mqttsn-gateway/mqttsn/client"
	"mqttsn-gateway/transports"
	network "mqttsn-gateway/transports/memory"
)

// crowd is a set of devices that do what devices do, all at once and in any order, and
// the messages between them. Each has a topic of its own, "to/" and its number.
type crowd struct {
	*testing.T
	networks []*network.Network

	mu       sync.Mutex
	owed     []map[string]bool // to each device: the messages that were acknowledged
	got      []map[string]int  // by each device
	messages int               // acknowledged

	patience time.Duration  // for what is owed in the end
	times    map[string]int // a message was published, if not once
}

const crowdSize = 24

// walker is one device of a crowd.
type walker struct {
	*crowd
	number int
	rand   *rand.Rand
	qos    mqttsn.QoS // of its subscription
	conn   *network.Endpoint
	device *device.Client
	sent   int
}

// wanders reports whether a device changes from network to network, and forgets each
// time which QoS 2 messages it has seen.
func (w *walker) wanders() bool { return w.number%4 == 3 }

// arrive appears as a new device of the same name on a network.
func (w *walker) arrive(n int) {
	conn, err := w.networks[n].Dial("radio")
	if err != nil {
		w.Error(err)
		return
	}
	w.conn = conn
	w.device = device.New(conn, device.Options{
		ClientID: fmt.Sprint("walker-", w.number), Tretry: time.Second, Nretry: 5, Twait: -1,
		OnMessage: func(m device.Message) {
			w.mu.Lock()
			w.got[w.number][string(m.Payload)]++
			w.mu.Unlock()
		},
	})
}

// connect connects, however long it takes.
func (w *walker) connect(ctx context.Context) {
	for tries := 0; ; tries++ {
		if w.device.Connect(ctx, device.ConnectOptions{KeepAlive: time.Minute}) == nil {
			return
		}
		if tries == 100 {
			w.Errorf("device %d cannot connect", w.number)
			return
		}
		<-time.After(time.Second)
	}
}

func (w *walker) subscribe(ctx context.Context) {
	for {
		if _, err := w.device.Subscribe(ctx, device.Named(fmt.Sprint("to/", w.number)), w.qos); err == nil {
			return
		}
		w.connect(ctx)
	}
}

// publish sends a message to another device, and notes what is owed.
func (w *walker) publish(ctx context.Context) {
	to := w.rand.IntN(crowdSize)
	qos := mqttsn.QoS(1 + w.rand.IntN(2))
	w.sent++
	payload := fmt.Sprintf("%d.%d.%d", w.number, w.sent, qos)
	if w.device.Publish(ctx, device.Named(fmt.Sprint("to/", to)), []byte(payload), qos, false) != nil {
		w.connect(ctx) // the message may have arrived or not
		return
	}
	w.mu.Lock()
	w.owed[to][payload] = true
	w.messages++
	w.mu.Unlock()
}

// act does something that devices do.
func (w *walker) act(ctx context.Context) {
	switch n := w.rand.IntN(20); {
	case n < 11:
		w.publish(ctx)
	case n < 13:
		w.conn.Roam() // the gateway finds out with the next packet
	case n < 16:
		if w.device.Sleep(ctx, time.Minute) == nil {
			for range w.rand.IntN(3) {
				<-time.After(time.Duration(w.rand.IntN(30)) * time.Second)
				if w.rand.IntN(2) == 0 {
					w.conn.Roam()
				}
				_, _ = w.device.Wake(ctx)
			}
		}
		w.connect(ctx)
	case n < 18:
		_ = w.device.Disconnect(ctx)
		w.connect(ctx)
	case n < 19:
		w.connect(ctx) // it has restarted
	case w.wanders():
		if err := w.device.Close(); err != nil {
			w.Error(err)
		}
		w.arrive(w.rand.IntN(len(w.networks)))
		w.connect(ctx)
	}
}

// run makes the devices act at the same time, and meddle in between.
func (c *crowd) run(seed uint64, meddle func(r *rand.Rand)) {
	ctx := c.Context()
	var devices []*walker
	var done sync.WaitGroup
	for i := range crowdSize {
		w := &walker{crowd: c, number: i, rand: rand.New(rand.NewPCG(seed, uint64(i))), qos: 2}
		if w.wanders() {
			w.qos = 1
		}
		c.owed, c.got = append(c.owed, map[string]bool{}), append(c.got, map[string]int{})
		devices = append(devices, w)
	}
	for _, w := range devices {
		w.arrive(w.number % len(c.networks))
		w.connect(ctx)
		w.subscribe(ctx)
	}
	for _, w := range devices {
		done.Go(func() {
			for range 60 {
				w.act(ctx)
			}
		})
	}
	over := make(chan struct{})
	done.Go(func() {
		r := rand.New(rand.NewPCG(seed, 1<<32))
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(r.IntN(1000)) * time.Millisecond):
				meddle(r)
			}
		}
	})
	go func() {
		<-time.After(10 * time.Minute)
		close(over)
	}()
	done.Wait()
	for _, w := range devices {
		w.connect(ctx)
		done.Go(func() {
			for deadline := time.Now().Add(c.patience); !c.settled(w.number) && time.Now().Before(deadline); <-time.After(time.Second) {
				if w.device.Ping(ctx) != nil {
					w.connect(ctx)
				}
			}
		})
	}
	done.Wait()
	for _, w := range devices {
		if err := w.device.Close(); err != nil {
			c.Error(err)
		}
	}
}

// settled reports whether a device has got what it is owed.
func (c *crowd) settled(number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for payload := range c.owed[number] {
		if c.got[number][payload] == 0 {
			return false
		}
	}
	return true
}

// judge holds the gateway to its promise: what was acknowledged has arrived, and what was
// sent with QoS 2 all the way has not arrived twice.
func (c *crowd) judge() {
	lost, again := 0, 0
	for i := range c.owed {
		for payload := range c.owed[i] {
			if c.got[i][payload] == 0 {
				lost++
				c.Errorf("device %d did not get message %s", i, payload)
			}
		}
		for payload, n := range c.got[i] {
			if qos, _ := strconv.Atoi(payload[len(payload)-1:]); n > max(1, c.times[payload]) && qos == 2 && i%4 != 3 {
				again++
				c.Errorf("device %d got the QoS 2 message %s %d times", i, payload, n)
			}
		}
	}
	c.Logf("%d messages, %d lost, %d duplicates at QoS 2", c.messages, lost, again)
}

// stress runs a crowd on two links, on which the same addresses belong to different
// devices, against a broker.
func stress(t *testing.T, seed uint64, b broker.Broker, meddle func(r *rand.Rand)) {
	faults := network.Faults{Loss: 0.05, Duplicate: 0.03, Reorder: 0.03, DelayMin: time.Millisecond, DelayMax: 20 * time.Millisecond}
	c := &crowd{T: t, patience: time.Hour}
	var links []transports.Link
	for i := range 2 {
		n := network.NewNetwork(network.Options{Seed: seed + uint64(i), Up: faults, Down: faults})
		c.networks = append(c.networks, n)
		links = append(links, n.Link("radio"))
	}
	o := DefaultOptions()
	o.Shards = 4
	o.Session.TRetry = time.Second
	g, err := New(o, links, b, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	synctest.Wait()
	c.run(seed, func(r *rand.Rand) {
		g.Stats()
		if err := g.Alive(ctx); err != nil {
			t.Error(err)
		}
		meddle(r)
	})
	c.judge()
	synctest.Wait()
	g.check(t)
	if st := g.Stats(); st.Unanswered != 0 {
		t.Errorf("%d requests are unanswered", st.Unanswered)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStressWithAFakeBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New()
		stress(t, 1, b, func(r *rand.Rand) {
			switch r.IntN(8) {
			case 0:
				b.Kick(fmt.Sprint("walker-", r.IntN(crowdSize)), broker.CodeServerUnavailable)
			case 1:
				b.Hold(broker.Answered)
				<-time.After(100 * time.Millisecond)
				b.Release()
			case 2:
				b.SetUp(false)
				<-time.After(3 * time.Second)
				b.SetUp(true)
			}
		})
	})
}

func TestStressWithTheEmbeddedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := embedded.DefaultOptions()
		o.Listeners = nil
		b, err := embedded.New(o, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		stress(t, 2, b, func(*rand.Rand) {})
	})
}
