package faults

import (
	"fmt"
	"maps"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The outage in full: 10,000 clients that publish once a minute, and a broker that is away
// for an hour, all 60 times as fast. Besides, some clients publish nothing meanwhile, and
// when the broker is back they and as many of the others go on at once.
const (
	outageClients, outageMessages = 10_000, 60
	outagePeriod                  = time.Second
	outageLive                    = 250
	// What the gateway promises: memory, and the time until nothing is left.
	outageMemory, outageMemoryLimit = 256 << 20, "GOMEMLIMIT=230MiB"
	outageDrain                     = 10 * time.Minute
	outageP99                       = time.Second
)

// TestOutage: every client has a connection of its own to Mosquitto.
func TestOutage(t *testing.T) {
	beside(t)
	outage(t, map[string]string{"broker.drain_rate": outageDrainRate})
}

// TestOutageAggregating: all clients share the gateway's connections, each of which
// keeps its messages in order: what is published during the drain waits for its end.
func TestOutageAggregating(t *testing.T) {
	beside(t)
	outage(t, map[string]string{"broker.drain_rate": outageDrainRate, "broker.mode": "aggregating", "broker.max_spooled_messages": "1000000"})
}

// outageDrainRate is what the figures are told for: FAULTS_DRAIN_RATE tries another one.
var outageDrainRate = func() string {
	if rate := os.Getenv("FAULTS_DRAIN_RATE"); rate != "" {
		return rate
	}
	return "2000"
}()

func outage(t *testing.T, options map[string]string) {
	t.Helper()
	clients, live, messages := form(300, outageClients), form(20, outageLive), form(20, outageMessages)
	files(t, clients+live+1000)
	m := startSpaciousMosquitto(t)
	g := newGateway(t)
	g.broker = "mqtt://" + m.addr
	maps.Copy(g.options, options)
	g.options["session.t_retry"] = "10s"
	// As an operator would who has so much memory to give: Go's runtime then collects
	// earlier. Without, connections to 10,000 clients and their spool took 283 MiB once.
	g.env = append(g.env, outageMemoryLimit)
	g.start()
	g.ready()
	o := &observed{T: t, gateway: g, aggregating: options["broker.mode"] == "aggregating",
		herd: newHerd(t, NewLedger(), g.udp, clients+live, form(outagePeriod/4, outagePeriod))}
	h := o.herd
	var publishers []uint32
	for _, s := range h.sensors {
		publishers = append(publishers, s.publisher)
	}
	h.ledger.Subscribe("judge", copiesAfterKills, publishers...)
	o.judge = startJudge(t, h, m.addr)
	o.wait("all are connected", func() bool { return o.back() && h.idle() == len(h.sensors) }, h.idle)
	o.sample()
	t.Logf("%d clients, of which %d are silent during the outage; period %v; %s, %s; load of the machine %s",
		len(h.sensors), live, h.period, options, outageMemoryLimit, load())

	allow(h.sensors, 5)
	o.settle()
	h.stage.Store(int32(away))
	m.end()
	began := time.Now()
	allow(h.sensors[live:], uint64(messages))
	o.wait("all is acknowledged", func() bool { return h.idle() == len(h.sensors) }, func() int { return h.ledger.Acknowledged()[1] })
	o.sample()
	t.Logf("broker away: %d messages acknowledged in %v (as planned: %v); %s", clients*messages, since(began), time.Duration(messages)*h.period, o)

	for _, s := range h.sensors {
		s.owed.Store(s.begun)
	}
	owed := h.indebted()
	h.stage.Store(int32(returning))
	began = time.Now()
	m.start()
	allow(h.sensors[:2*live], math.MaxUint32)
	o.wait("the connections are back", func() bool { return o.back() || h.indebted() == 0 }, h.indebted)
	back := time.Since(began)
	t.Logf("broker back: all connections after %v; %d of %d messages still to come; %s", since(began), h.indebted(), owed, o)
	h.stage.Store(int32(draining))
	o.wait("all of the outage has arrived", func() bool { return h.indebted() == 0 }, h.indebted)
	drain := time.Since(began)
	h.stage.Store(int32(drained))
	t.Logf("drained: %d messages in %v, %.0f/s; %s", owed, since(began), float64(owed)/drain.Seconds(), o)
	pass(form(time.Second, 5*time.Second))
	for _, s := range h.sensors {
		s.quota.Store(0)
	}
	o.settle()
	o.finish(owed, back, drain)
}

// observed is the gateway during an outage, and what was seen of it.
type observed struct {
	*testing.T
	gateway     *gateway
	herd        *herd
	judge       *judge
	aggregating bool

	sampled               time.Time
	spooled, octets, disk float64
	clients               float64
}

// wait waits as long as a figure goes on changing, and looks at the gateway each second.
func (o *observed) wait(what string, done func() bool, figure func() int) {
	o.Helper()
	last, changed := figure(), time.Now()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		<-poll.C
		if time.Since(o.sampled) > time.Second {
			o.sample()
		}
		if now := figure(); now != last {
			last, changed = now, time.Now()
		}
		if time.Since(changed) > patience {
			o.Fatalf("%s: no progress for %v, the figure is %d; %s", what, patience, last, o)
		}
	}
}

// settle waits until nobody has anything under way and all has arrived.
func (o *observed) settle() {
	o.Helper()
	h := o.herd
	o.wait("all is acknowledged", func() bool { return h.idle() == len(h.sensors) }, func() int { return h.ledger.Acknowledged()[1] })
	o.wait("all has arrived", func() bool { return h.ledger.Missing() == 0 }, h.ledger.Missing)
}

func (o *observed) sample() {
	o.Helper()
	o.sampled = time.Now()
	o.spooled = max(o.spooled, o.gateway.metric("upstream_spooled"))
	o.octets = max(o.octets, o.gateway.metric("upstream_spooled_octets"))
	o.disk = max(o.disk, o.gateway.metric("state_log_bytes"))
	o.clients = o.gateway.metric("upstream_clients", `state="connected"`)
}

// back reports whether the gateway has all its connections.
func (o *observed) back() bool {
	return o.clients >= float64(len(o.herd.sensors)) || o.aggregating && o.clients > 0
}

// String has the greatest figures so far.
func (o *observed) String() string {
	return fmt.Sprintf("gateway: memory %d MiB at most, spooled %.0f messages with %.1f MiB, state directory %.0f MiB; load %s",
		o.memory()>>20, o.spooled, o.octets/(1<<20), o.disk/(1<<20), load())
}

// memory is the most that the gateway had resident.
func (o *observed) memory() int {
	o.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.gateway.cmd.Process.Pid))
	if err != nil {
		o.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		o.Fatalf("no VmHWM:\n%s", status)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		o.Fatal(err)
	}
	return n << 10
}

// finish judges.
func (o *observed) finish(owed int, back, drain time.Duration) {
	o.Helper()
	h := o.herd
	o.Logf("%s", h.table())
	h.stop()
	o.judge.stop()
	repeats, refused := 0, 0
	for _, s := range h.sensors {
		repeats += s.repeats
		refused += s.refused
	}
	v := h.ledger.Judge()
	o.Logf("seed %d: %s; devices repeated %d packets and were refused %d; %s", *seed, v, repeats, refused, o)
	if !v.Good() {
		o.Error("the oracle has found faults")
	}
	// A few may meet a connection that is just being made again, and repeat themselves.
	if refused > 10 {
		o.Errorf("devices were refused %d times", refused)
	}
	if o.judge.lost.Load() > 0 {
		o.Error("Mosquitto has lost the judge's session")
	}
	if n := o.memory(); n > outageMemory {
		o.Errorf("the gateway took %d MiB, %d are allowed", n>>20, outageMemory>>20)
	}
	if most := float64(owed); o.spooled < most {
		o.Errorf("%.0f messages were spooled at most, want %.0f", o.spooled, most)
	}
	if !long {
		return
	}
	if drain > outageDrain {
		o.Errorf("it took %v to drain the spool, %v are allowed", drain, outageDrain)
	}
	// On a machine that is busy with other things, messages take long before the outage, too.
	slowest := func(when stage) time.Duration {
		s := setting{when, true}
		return max(h.acks.percentile(s, 99), h.arrivals.percentile(s, 99))
	}
	if p99, most := slowest(draining), max(outageP99, 2*slowest(calm)); !o.aggregating && p99 > most {
		o.Errorf("99 of 100 live messages took %v at most, %v are allowed", p99, most)
	}
}

// startSpaciousMosquitto starts one that limits nothing.
func startSpaciousMosquitto(t testing.TB) *mosquitto {
	t.Helper()
	m := startMosquitto(t)
	m.end()
	config, err := os.ReadFile(m.config())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "max_inflight_messages 100", "max_inflight_messages 0\nset_tcp_nodelay true", 1)
	if err := os.WriteFile(m.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	return m
}

// files lets this process and those that it starts have so many files open.
func files(t testing.TB, want int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < uint64(want) {
		t.Fatalf("%d files may be open, and %d are needed: ulimit -n %d", limit.Max, want, want)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:min(3, len(strings.Fields(string(text))))], " ")
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }
