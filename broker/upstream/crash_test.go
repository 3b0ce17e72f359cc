package upstream

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// crashing is a store that crashes at its n-th change, or at its n-th commit: what is left
// is then in after, and nobody hears of this process any more.
type crashing struct {
	*store.Memory
	h     *hub
	delay time.Duration // from a change to its commit

	mu     sync.Mutex
	steps  int // until the crash; negative: never
	after  *store.Memory
	halted bool
	busy   bool
	safe   store.Mark // what was durable then
}

func newCrashing(h *hub, m *store.Memory, steps int, delay time.Duration) *crashing {
	m.Hold()
	return &crashing{Memory: m, h: h, steps: steps, delay: delay}
}

func (c *crashing) step() {
	if c.steps--; c.steps == 0 {
		c.halted = true
		c.after, c.safe = c.Crash(), c.Durable()
		c.h.ignoring = true
	}
}

func (c *crashing) Apply(ops ...store.Op) store.Mark {
	mark := c.Memory.Apply(ops...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.h.set(c.step)
	if !c.busy && !c.halted {
		c.busy = true
		time.AfterFunc(c.delay, c.commit)
	}
	return mark
}

func (c *crashing) commit() {
	c.mu.Lock()
	c.busy = false
	halted := c.halted
	c.mu.Unlock()
	if halted {
		return
	}
	c.Commit()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.h.set(c.step)
}

func (c *crashing) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halted
}

// publisher is a device with a gateway session: it publishes again what was not
// acknowledged, and a QoS 2 message only if the gateway does not know that it has it.
type publisher struct {
	marks map[int]store.Mark
	acked map[int]bool
}

func exchangeOf(n int) store.Op { return store.Put(store.SessionExchange, "c", uint64(n), []byte{1}) }

// run publishes what is left of n messages until the process crashes or all are answered.
func (p *publisher) run(t *testing.T, d *device, c *crashing, n int, qos byte) {
	p.marks = make(map[int]store.Mark)
	for i := range n {
		if c.crashed() {
			return
		}
		if p.acked[i] {
			continue
		}
		if _, err := c.Read(exchangeOf(i).Key, nil); err == nil && qos == 2 {
			p.acked[i] = true
			continue
		}
		r := broker.Request{Op: broker.Publish, Token: broker.Token(i), Topic: "t", Payload: []byte(strconv.Itoa(i)), QoS: qos}
		if qos == 2 {
			r.With = []store.Op{exchangeOf(i)}
		}
		if err := d.Do(&r); err != nil {
			t.Fatal(err)
		}
		d.b.Flush()
		p.marks[i] = d.answer(broker.Token(i), 0).Mark
		pass(3 * time.Millisecond)
	}
}

// settle notes what was acknowledged before the crash.
func (p *publisher) settle(safe store.Mark) {
	for i, mark := range p.marks {
		if mark <= safe {
			p.acked[i] = true
		}
	}
}

// A crash at every change of the store, and after every commit: nothing that was
// acknowledged is lost, at QoS 2 nothing is doubled, and the order is kept.
func TestCrashWhilePublishing(t *testing.T) {
	const messages = 6
	for qos := byte(1); qos <= 2; qos++ {
		for _, delay := range []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second} {
			for mode := range 4 {
				t.Run(fmt.Sprint(qos, delay, mode), func(t *testing.T) {
					for steps := 1; ; steps++ {
						crashed := true
						inHub(t, func(t *testing.T, h *hub) {
							crashed = crashOnce(t, h, steps, messages, qos, delay, mode)
						})
						if !crashed || t.Failed() {
							t.Logf("%d crashes", steps)
							if steps < 2*messages {
								t.Errorf("only %d crashes", steps)
							}
							return
						}
					}
				})
			}
		}
	}
}

// The modes of crashOnce: the client has CleanSession, the broker crashes as well and
// keeps its sessions, or loses them.
const (
	modeClean = iota + 1
	modeRestart
	modeLoss
)

func crashOnce(t *testing.T, h *hub, steps, messages int, qos byte, delay time.Duration, mode int) (crashed bool) {
	clean := mode == modeClean
	p := &publisher{acked: make(map[int]bool)}
	st := newCrashing(h, store.NewMemory(), steps, delay)
	b := h.begin(spoolOptions(), st)
	d := b.device("c")
	d.do(broker.Request{Op: broker.Connect, Token: 1000, CleanSession: clean})
	pass(10 * time.Millisecond)
	d.answer(1000, 0)
	p.run(t, d, st, messages, qos)
	for range 100 {
		if st.crashed() {
			break
		}
		pass(100 * time.Millisecond)
	}
	if crashed = st.crashed(); crashed {
		p.settle(st.safe)
		h.crash(b)
		if mode >= modeRestart {
			h.restart(mode == modeRestart)
		}
		st = newCrashing(h, st.after, -1, delay)
		b = h.begin(spoolOptions(), st)
		d = b.device("c")
		d.online(clean)
		p.run(t, d, st, messages, qos)
	}
	pass(20 * time.Second)
	var first, taken []string
	h.set(func() { taken = slices.Clone(h.taken) })
	for _, s := range taken {
		if !slices.Contains(first, s) {
			first = append(first, s)
		} else if qos == 2 {
			t.Errorf("step %d: doubled %q", steps, taken)
		}
	}
	want := numbered(0, messages)
	if n := b.Stats().Uncertain; n > 0 {
		// The broker had these and has lost them, or not: they are counted, not sent again.
		before := len(want)
		want = slices.DeleteFunc(want, func(s string) bool { return !slices.Contains(first, s) })
		if mode != modeLoss || before-len(want) > int(n) {
			t.Errorf("step %d: %d uncertain, taken %q", steps, n, taken)
		}
	}
	if !slices.Equal(first, want) {
		t.Errorf("step %d: taken %q, want %q", steps, first, want)
	}
	if n := records(st.Memory, store.UpstreamRequest); n > 0 {
		t.Errorf("step %d: %d records are left", steps, n)
	}
	b.end()
	return crashed
}
