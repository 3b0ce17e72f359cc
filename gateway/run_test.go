package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
	device "mqttsn-gateway/mqttsn/client"
	"mqttsn-gateway/transports"
	network "mqttsn-gateway/transports/memory"
)

// connected is a client with a session, in a bubble of virtual time.
func connected(t *testing.T, n *network.Network, id string) *device.Client {
	t.Helper()
	conn, err := n.Dial("radio")
	if err != nil {
		t.Fatal(err)
	}
	c := device.New(conn, device.Options{ClientID: id})
	if err := c.Connect(t.Context(), device.ConnectOptions{KeepAlive: time.Minute}); err != nil {
		t.Fatal(err)
	}
	return c
}

// A shutdown waits for the broker's answer, so that the client gets its PUBACK, and
// tells the client that it is over.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.NewNetwork(network.Options{})
		_, b, stop := running(t, n, DefaultOptions())
		c := connected(t, n, "a")
		defer c.Close()
		b.Hold(broker.Answered)
		published := make(chan error)
		go func() {
			published <- c.Publish(t.Context(), device.Short("ab"), nil, mqttsn.QoS1, false)
		}()
		synctest.Wait()
		stopped := make(chan time.Duration)
		go func() {
			begin := time.Now()
			stop()
			stopped <- time.Since(begin)
		}()
		<-time.After(finishTime / 2)
		b.Release()
		if err := <-published; err != nil {
			t.Errorf("publish: %v", err)
		}
		if d := <-stopped; d > finishTime {
			t.Errorf("the shutdown took %v, though the broker had answered", d)
		}
		synctest.Wait()
		if c.State() != device.Disconnected {
			t.Error("the client was not told")
		}
	})
}

func TestShutdownDoesNotWaitForABrokerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.NewNetwork(network.Options{})
		_, b, stop := running(t, n, DefaultOptions())
		c := connected(t, n, "a")
		defer c.Close()
		b.SetUp(false)
		go func() { _ = c.Publish(t.Context(), device.Short("ab"), nil, mqttsn.QoS1, false) }()
		synctest.Wait()
		begin := time.Now()
		stop()
		if d := time.Since(begin); d > finishTime+closeTime {
			t.Errorf("the shutdown took %v", d)
		}
	})
}

// A QoS -1 message does not open the broker connection again that a shutdown has closed.
func TestQoSMinusOneDuringShutdown(t *testing.T) {
	r := newRig(t, nil)
	hello := mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}
	r.from(1, hello)
	r.gateway.finish()
	r.from(1, hello)
	if r.broker.Connected(r.gateway.options.QoSMinusOneClientID) {
		t.Error("the broker connection is open after the shutdown")
	}
	if n := r.gateway.Stats().Dropped["shutting_down"]; n != 1 {
		t.Errorf("%d messages counted as dropped for the shutdown, want 1", n)
	}
}

// A timer that goes off while Run stops it is the last.
func TestTimersEndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.gateway.Run(ctx) }()
		r.subscribed(1, "a", "ab")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.want("1 DISCONNECT")
		for _, s := range r.gateway.shards {
			s.ring()
		}
		<-time.After(24 * time.Hour)
		synctest.Wait()
		r.want()
	})
}

// During a shutdown nobody new is let in.
func TestConnectDuringShutdown(t *testing.T) {
	r := newRig(t, nil)
	r.gateway.closing.Store(true)
	r.from(1, connect("a"))
	r.want("1 CONNACK congestion")
}

// Sleepers get what waited for them, whatever the timers of a day did to them in between.
func TestDayOfASleeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.NewNetwork(network.Options{})
		g, b, stop := running(t, n, DefaultOptions())
		defer stop()
		c := connected(t, n, "a")
		defer c.Close()
		ctx := t.Context()
		if _, err := c.Subscribe(ctx, device.Named("to/#"), mqttsn.QoS1); err != nil {
			t.Fatal(err)
		}
		if err := c.Sleep(ctx, 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		for hour := range 24 {
			for range 6 {
				<-time.After(10 * time.Minute)
				b.Publish(fmt.Sprint("to/", hour), []byte("x"), 1, false)
				if got, err := c.Wake(ctx); err != nil || got != 1 {
					t.Fatalf("hour %d: woke up to %d messages, %v", hour, got, err)
				}
				<-c.Messages()
			}
		}
		if st := g.Stats(); st.Sessions["asleep"] != 1 || st.QueuedMessages != 0 {
			t.Errorf("at the end: %+v", st)
		}
		<-time.After(16 * time.Minute) // beyond the tolerance of half the duration
		if st := g.Stats(); st.Sessions["lost"] != 1 {
			t.Errorf("a sleeper that never came back: %+v", st.Sessions)
		}
	})
}

func TestAlive(t *testing.T) {
	r := newRig(t, nil)
	if err := r.gateway.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	r.gateway.shards[1].mu.Lock()
	defer r.gateway.shards[1].mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 5*pollTime)
	defer cancel()
	if r.gateway.Alive(ctx) == nil {
		t.Error("a gateway with a stuck shard says that it is well")
	}
}

func TestReady(t *testing.T) {
	r := newRig(t, nil)
	if !r.gateway.Ready() {
		t.Error("not ready")
	}
	r.broker.SetUp(false)
	if r.gateway.Ready() {
		t.Error("ready without a broker")
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) { o.ID = 256 }, func(o *Options) { o.MaxClients = 0 }, func(o *Options) { o.Roaming = "maybe" },
		func(o *Options) { o.QoSMinusOneRate = 0 }, func(o *Options) { o.QoSMinusOneClientID = "" },
		func(o *Options) { o.UnknownPeerRate = -1 }, func(o *Options) { o.ForwarderClients = 0 },
		func(o *Options) { o.ForwarderRate = 0 }, func(o *Options) { o.Advertise = 65536 * time.Second },
		func(o *Options) { o.Advertise = time.Millisecond }, func(o *Options) { o.Forwarders = []string{"192.0.2.0/33"} },
		func(o *Options) { o.Forwarders = []string{"identity:"} }, func(o *Options) { o.IdentityClientIDs = []string{"${name}"} }, func(o *Options) { o.Shards = 257 }, func(o *Options) { o.Session.TRetry = 0 },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(o, nil, nil, nil, nil); err == nil {
			t.Errorf("New accepts %+v", o)
		}
	}
}

// A link that is lost for good ends the gateway with its name.
func TestLinkLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.gateway.links[0] = lostLink{r.link}
		err := r.gateway.Run(t.Context())
		if !errors.Is(err, errLost) || err.Error() != "fake: unplugged" {
			t.Errorf("Run: %v", err)
		}
	})
}

var errLost = errors.New("unplugged")

type lostLink struct{ *scriptedLink }

func (lostLink) Serve(context.Context, func([]transports.Datagram)) error { return errLost }
