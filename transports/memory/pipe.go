package memory

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Faults is what one direction of a network does to datagrams. The zero Faults deliver
// every datagram at once and in order. Probabilities are from 0 to 1 and independent of
// each other.
type Faults struct {
	// Loss is the probability that a datagram is lost.
	Loss float64
	// Duplicate is the probability that one arrives twice.
	Duplicate float64
	// Reorder is the probability that one is held back for up to Hold, so that those
	// sent meanwhile overtake it.
	Reorder float64
	// Hold is the longest that a reordered datagram is held back; 0 means 20 ms.
	Hold time.Duration
	// DelayMin and DelayMax bound the time that a datagram takes. The delay differs from
	// one to the next but makes none overtake another: all share one medium.
	DelayMin, DelayMax time.Duration
}

// Counters says what became of the datagrams of one direction. Always
//
//	Sent + Duplicated = Delivered + Lost + Partitioned + Oversize + Unreachable + Overflow + InFlight
type Counters struct {
	Sent        uint64 // handed to the network
	Duplicated  uint64 // second copies
	Reordered   uint64 // held back
	Delivered   uint64 // put into a receiver's queue
	Lost        uint64 // by Faults.Loss
	Partitioned uint64 // sent during a partition
	Oversize    uint64 // longer than the MTU
	Unreachable uint64 // nobody had that address on arrival
	Overflow    uint64 // the receiver's queue was full
	InFlight    uint64 // under way
}

// Pipe is one direction of a faulty network as a pure value: no clock, goroutine or
// lock. Time is an argument and must not run backwards. Two pipes with the same seed
// that are given the same calls make the same decisions. Each datagram costs the same
// number of random draws whatever the faults are, so that switching one fault off
// leaves the decisions about the others as they were.
type Pipe[T any] struct {
	faults   Faults
	rng      *rand.Rand
	flying   flights[T]
	sequence uint64
	last     time.Time // nothing arrives before this, unless it is reordered
	counters Counters
}

// NewPipe makes an empty pipe.
func NewPipe[T any](f Faults, seed uint64) *Pipe[T] {
	return &Pipe[T]{faults: f, rng: rand.New(rand.NewPCG(seed, 0x6d717474736e))}
}

// SetFaults changes the faults for what is put in from now on.
func (p *Pipe[T]) SetFaults(f Faults) { p.faults = f }

// Counters says what became of what was put in. Delivered counts what was taken out.
func (p *Pipe[T]) Counters() Counters {
	c := p.counters
	c.InFlight = uint64(len(p.flying))
	return c
}

// Put sends v at the instant now. A duplicated v is taken out twice, as the same value.
func (p *Pipe[T]) Put(now time.Time, v T) {
	p.counters.Sent++
	lost, twice := p.chance(p.faults.Loss), p.chance(p.faults.Duplicate)
	first, second := p.draw(now), p.draw(now)
	if lost {
		p.counters.Lost++
		return
	}
	p.fly(first, v)
	if twice {
		p.counters.Duplicated++
		p.fly(second, v)
	}
}

// Due is the instant at which the next datagram arrives; ok is false if none is under way.
func (p *Pipe[T]) Due() (at time.Time, ok bool) {
	if len(p.flying) == 0 {
		return time.Time{}, false
	}
	return p.flying[0].at, true
}

// Take takes out the next datagram that has arrived by now; ok is false if there is none.
func (p *Pipe[T]) Take(now time.Time) (v T, ok bool) {
	if len(p.flying) == 0 || p.flying[0].at.After(now) {
		return v, false
	}
	p.counters.Delivered++
	return heap.Pop(&p.flying).(flight[T]).value, true
}

func (p *Pipe[T]) chance(probability float64) bool { return p.rng.Float64() < probability }

// passage is how one copy of a datagram would travel.
type passage struct {
	at   time.Time
	held time.Duration
}

func (p *Pipe[T]) draw(now time.Time) passage {
	reordered, delay, held := p.chance(p.faults.Reorder), p.rng.Float64(), p.rng.Float64()
	f := p.faults
	g := passage{at: now.Add(f.DelayMin + time.Duration(delay*float64(max(f.DelayMax-f.DelayMin, 0))))}
	if reordered {
		hold := f.Hold
		if hold == 0 {
			hold = 20 * time.Millisecond
		}
		g.held = max(time.Duration(held*float64(hold)), 1)
	}
	return g
}

func (p *Pipe[T]) fly(g passage, v T) {
	if g.at.Before(p.last) {
		g.at = p.last
	}
	if g.held > 0 {
		p.counters.Reordered++
		g.at = g.at.Add(g.held)
	} else {
		p.last = g.at
	}
	p.sequence++
	heap.Push(&p.flying, flight[T]{at: g.at, sequence: p.sequence, value: v})
}

type flight[T any] struct {
	at       time.Time
	sequence uint64
	value    T
}

// flights is a heap, the next to arrive first.
type flights[T any] []flight[T]

func (f flights[T]) Len() int      { return len(f) }
func (f flights[T]) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights[T]) Push(x any)   { *f = append(*f, x.(flight[T])) }

func (f flights[T]) Less(i, j int) bool {
	if !f[i].at.Equal(f[j].at) {
		return f[i].at.Before(f[j].at)
	}
	return f[i].sequence < f[j].sequence
}

func (f *flights[T]) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = flight[T]{}
	*f = (*f)[:last]
	return x
}
