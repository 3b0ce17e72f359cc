package memory

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

type arrival struct {
	value int
	at    time.Time
}

// run puts n values in, one every interval, and takes all out at the instants they are due.
func run(p *Pipe[int], n int, interval time.Duration) (arrivals []arrival) {
	now := start
	take := func(until time.Time) {
		for at, ok := p.Due(); ok && !at.After(until); at, ok = p.Due() {
			v, _ := p.Take(at)
			arrivals = append(arrivals, arrival{v, at})
		}
	}
	for v := range n {
		p.Put(now, v)
		now = now.Add(interval)
		take(now)
	}
	take(now.Add(time.Hour))
	return arrivals
}

func values(arrivals []arrival) (v []int) {
	for _, a := range arrivals {
		v = append(v, a.value)
	}
	return v
}

func TestPerfectPipe(t *testing.T) {
	got := run(NewPipe[int](Faults{}, 1), 100, time.Second)
	for i, a := range got {
		if a.value != i || !a.at.Equal(start.Add(time.Duration(i)*time.Second)) {
			t.Fatalf("%d arrived at %v, place %d", a.value, a.at, i)
		}
	}
	if len(got) != 100 {
		t.Fatalf("%d of 100 arrived", len(got))
	}
}

var anyFaults = rapid.Custom(func(t *rapid.T) Faults {
	p := rapid.Float64Range(0, 1)
	d := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, int(time.Second)).Draw(t, name))
	}
	return Faults{
		Loss: p.Draw(t, "loss"), Duplicate: p.Draw(t, "duplicate"), Reorder: p.Draw(t, "reorder"),
		Hold: d("hold"), DelayMin: d("min"), DelayMax: d("max"),
	}
})

// TestPipeAccounts: each datagram is lost, delivered or under way, and none comes out
// that did not go in, too early, or more often than twice.
func TestPipeAccounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, seed := anyFaults.Draw(t, "faults"), rapid.Uint64().Draw(t, "seed")
		p := NewPipe[int](f, seed)
		const n, interval = 200, 10 * time.Millisecond
		got := run(p, n, interval)
		seen := map[int]int{}
		for _, a := range got {
			seen[a.value]++
			if took := a.at.Sub(start.Add(time.Duration(a.value) * interval)); took < f.DelayMin {
				t.Fatalf("%d took %v", a.value, took)
			}
		}
		twice := uint64(0)
		for v, times := range seen {
			if v < 0 || v >= n || times > 2 {
				t.Fatalf("%d came %d times", v, times)
			}
			twice += uint64(times - 1)
		}
		c := p.Counters()
		if c.Sent != n || c.InFlight != 0 || c.Delivered != uint64(len(got)) || c.Duplicated != twice ||
			c.Lost != n-uint64(len(seen)) || c.Sent+c.Duplicated != c.Delivered+c.Lost {
			t.Fatalf("%+v: %d arrived, %d of them twice", c, len(got), twice)
		}
		if again := run(NewPipe[int](f, seed), n, interval); !slices.Equal(got, again) {
			t.Fatal("the same seed gave other arrivals")
		}
		f.Reorder = 0
		if got := values(run(NewPipe[int](f, seed), n, interval)); !slices.IsSorted(got) {
			t.Fatalf("out of order without Reorder: %v", got)
		}
	})
}

// TestFaultsAreIndependent: a scenario that fails with all faults can be narrowed down by
// switching them off one by one.
func TestFaultsAreIndependent(t *testing.T) {
	all := Faults{Loss: 0.3, Duplicate: 0.2, Reorder: 0.2, DelayMax: time.Second}
	survivors := func(f Faults) []int {
		v := values(run(NewPipe[int](f, 7), 1000, time.Millisecond))
		slices.Sort(v)
		return slices.Compact(v)
	}
	if !slices.Equal(survivors(all), survivors(Faults{Loss: 0.3})) {
		t.Error("other datagrams were lost when the other faults were switched off")
	}
}

func TestFaultRates(t *testing.T) {
	const n = 100_000
	p := NewPipe[int](Faults{Loss: 0.3, Duplicate: 0.1, Reorder: 0.05}, 3)
	got := values(run(p, n, time.Millisecond))
	c := p.Counters()
	for _, r := range []struct {
		name      string
		n, want   float64
		tolerance float64
	}{
		{"lost", float64(c.Lost), 0.3 * n, 0.02},
		{"duplicated", float64(c.Duplicated), 0.7 * 0.1 * n, 0.05},
		{"reordered", float64(c.Reordered), 0.7 * 1.1 * 0.05 * n, 0.05},
	} {
		if r.n < r.want*(1-r.tolerance) || r.n > r.want*(1+r.tolerance) {
			t.Errorf("%s: %v, want about %v", r.name, r.n, r.want)
		}
	}
	if slices.IsSorted(got) {
		t.Error("nothing was overtaken")
	}
}

func TestSetFaults(t *testing.T) {
	p := NewPipe[int](Faults{Loss: 1}, 1)
	p.Put(start, 1)
	p.SetFaults(Faults{})
	p.Put(start, 2)
	if v, ok := p.Take(start); !ok || v != 2 {
		t.Errorf("took %d, %v", v, ok)
	}
	if _, ok := p.Take(start); ok {
		t.Error("took what was lost")
	}
}
