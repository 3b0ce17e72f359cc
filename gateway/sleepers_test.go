package gateway_test

import (
	"container/heap"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/transports"
)

// The full run: go test ./gateway -run TestSleepers -sleepers 5000 -timeout 30m
var (
	sleeperCount = flag.Int("sleepers", 200, "sleeping devices of TestSleepers")
	sleeperSeed  = flag.Uint64("sleepers.seed", 1, "seed of TestSleepers")
)

const (
	sleepersTime = 7 * 24 * time.Hour
	airTime      = 20 * time.Millisecond // from device to gateway and back
	shortestNap  = 10 * time.Second
	longestNap   = 12 * time.Hour
	messagesADay = 24 // to each device
	restarts     = 20 // of the gateway, each a crash
)

// Devices sleep for 7 days, wake up at random times, and often lose the radio in the middle
// of collecting their messages. The gateway crashes now and then. Each message is delivered
// in the first wake that is complete, in order, PINGRESP comes last, and with QoS 2 nothing
// comes twice.
func TestSleepers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeping(t, *sleeperCount, *sleeperSeed)
		s.run()
		s.report()
	})
}

// sleeping is the world of the sleepers: one goroutine in which everything happens in the
// order of its time.
type sleeping struct {
	*testing.T
	rand     *rand.Rand
	start    time.Time
	events   agenda
	devices  []*sleeper
	byAddr   map[transports.Addr]*sleeper
	store    *store.Memory
	air      *air
	launched time.Time // the gateway
	stop     func()    // of the gateway
	sender   broker.Conn
	answers  answers
	wakes, cut, delivered, repeated,
	sent int
}

// event is something that happens at an instant.
type event struct {
	at     time.Duration
	number int // those of one instant happen in the order in which they were planned
	happen func()
}

// agenda is a heap of events.
type agenda struct {
	events []event
	last   int
}

func (a *agenda) Len() int { return len(a.events) }
func (a *agenda) Less(i, j int) bool {
	x, y := &a.events[i], &a.events[j]
	return x.at < y.at || x.at == y.at && x.number < y.number
}
func (a *agenda) Swap(i, j int) { a.events[i], a.events[j] = a.events[j], a.events[i] }
func (a *agenda) Push(x any)    { a.events = append(a.events, x.(event)) }
func (a *agenda) Pop() any {
	n := len(a.events) - 1
	e := a.events[n]
	a.events[n] = event{}
	a.events = a.events[:n]
	return e
}

// answers takes what the broker tells the sender of the messages.
type answers struct {
	mu sync.Mutex
	ok map[broker.Token]bool
}

func (a *answers) Receive(ev broker.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ev.Kind == broker.Answered && !ev.Code.Failed() {
		a.ok[ev.Token] = true
	}
}

func (a *answers) take(token broker.Token) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ok := a.ok[token]
	delete(a.ok, token)
	return ok
}

// air is the link between the gateway and the devices.
type air struct {
	recv chan func([]transports.Datagram)
	news chan struct{}

	mu   sync.Mutex
	dead bool // the gateway has crashed: nothing leaves it
	sent []transports.Datagram
}

func (a *air) Name() string { return "air" }
func (a *air) MTU() int     { return 1400 }
func (a *air) Close() error { return nil }

func (a *air) Serve(ctx context.Context, recv func([]transports.Datagram)) error {
	a.recv <- recv
	<-ctx.Done()
	return nil
}

func (a *air) Send(batch []transports.Datagram) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range batch {
		if !a.dead {
			d.Data = append([]byte{}, d.Data...)
			a.sent = append(a.sent, d)
		}
	}
	select {
	case a.news <- struct{}{}:
	default:
	}
	return len(batch), nil
}

func (a *air) take() []transports.Datagram {
	a.mu.Lock()
	defer a.mu.Unlock()
	sent := a.sent
	a.sent = nil
	return sent
}

func newSleeping(t *testing.T, n int, seed uint64) *sleeping {
	s := &sleeping{T: t, rand: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), store: store.NewMemory(), byAddr: make(map[transports.Addr]*sleeper)}
	s.launch()
	for i := range n {
		d := &sleeper{world: s, number: i, clientID: []byte(fmt.Sprint("sleeper-", i)), addr: transports.NumberAddr(uint64(i + 1)), qos: byte(1 + i%2)}
		s.devices = append(s.devices, d)
		s.byAddr[d.addr] = d
		s.plan(s.within(time.Minute), d.begin)
	}
	for range restarts {
		s.plan(time.Hour+s.within(sleepersTime-2*time.Hour), s.crash)
	}
	return s
}

func (s *sleeping) within(d time.Duration) time.Duration {
	return time.Duration(s.rand.Int64N(int64(d)))
}

// plan has something happen after a while.
func (s *sleeping) plan(after time.Duration, happen func()) {
	s.events.last++
	heap.Push(&s.events, event{at: time.Since(s.start) + after, number: s.events.last, happen: happen})
}

// launch starts a gateway with what is in the store.
func (s *sleeping) launch() {
	bo := embedded.DefaultOptions()
	bo.Listeners, bo.SysInterval = nil, 0
	log := slog.New(slog.DiscardHandler)
	b, err := embedded.New(bo, s.store, log)
	if err != nil {
		s.Fatal(err)
	}
	s.air = &air{recv: make(chan func([]transports.Datagram), 1), news: make(chan struct{}, 1)}
	g, err := gateway.New(gateway.DefaultOptions(), []transports.Link{s.air}, b, s.store, log)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	}
	recv := <-s.air.recv
	s.air.recv <- recv
	s.launched = time.Now()
	s.answers.ok = make(map[broker.Token]bool)
	s.sender = b.Open("sender", &s.answers)
	if err := s.sender.Do(&broker.Request{Op: broker.Connect, Token: 1, CleanSession: true}); err != nil {
		s.Fatal(err)
	}
}

// crash ends the gateway as if it was killed, and starts another one.
func (s *sleeping) crash() {
	s.air.mu.Lock()
	s.air.dead = true
	s.air.mu.Unlock()
	after := s.store.Crash()
	s.stop()
	s.store = after
	s.launch()
}

// run lets 7 days pass.
func (s *sleeping) run() {
	timer := time.NewTimer(0)
	for len(s.events.events) > 0 {
		next := s.events.events[0].at
		if next > sleepersTime || s.Failed() {
			break
		}
		timer.Reset(next - time.Since(s.start))
		select {
		case <-s.air.news:
			synctest.Wait()
			for _, d := range s.air.take() {
				s.plan(airTime, func() { s.arrive(d) })
			}
		case <-timer.C:
			heap.Pop(&s.events).(event).happen()
		}
	}
	s.stop()
}

// arrive brings a packet of the gateway to its device.
func (s *sleeping) arrive(d transports.Datagram) {
	s.byAddr[d.Addr].packet(d.Data)
}

// transmit brings a packet of a device to the gateway.
func (s *sleeping) transmit(d *sleeper, packet []byte) {
	s.plan(airTime, func() {
		recv := <-s.air.recv
		s.air.recv <- recv
		recv([]transports.Datagram{{Addr: d.addr, Data: packet}})
	})
}

// nap is a random time to sleep, as often short as long.
func (s *sleeping) nap() time.Duration {
	lo, hi := math.Log(float64(shortestNap)), math.Log(float64(longestNap))
	return time.Duration(math.Exp(lo + s.rand.Float64()*(hi-lo)))
}

// write sends a device the next message.
func (s *sleeping) write(d *sleeper) {
	s.plan(time.Duration(s.rand.ExpFloat64()*float64(24*time.Hour)/messagesADay), func() { s.write(d) })
	payload := binary.BigEndian.AppendUint32(nil, uint32(d.owed))
	token := broker.Token(s.sent + 2)
	s.sent++
	r := broker.Request{Op: broker.Publish, Token: token, Topic: fmt.Sprintf("to/%d/%d", d.number, d.owed%3), Payload: payload, QoS: d.qos}
	if err := s.sender.Do(&r); err != nil || !s.answers.take(token) {
		s.Fatalf("message %d to device %d: %v", d.owed, d.number, err)
	}
	d.owed++
}

func (s *sleeping) report() {
	owed, got := 0, 0
	for _, d := range s.devices {
		owed += d.owed
		got += d.next
	}
	s.Logf("%d sleepers, %v: %d wakes, %d of them cut, %d messages, %d delivered, %d repeated with QoS 1, %d not collected yet",
		len(s.devices), sleepersTime, s.wakes, s.cut, s.sent, s.delivered, s.repeated, owed-got)
	if s.cut < s.wakes/10 || s.delivered < s.sent*9/10 {
		s.Error("that is no test")
	}
}
