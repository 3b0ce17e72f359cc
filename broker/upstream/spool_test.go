package upstream

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Messages are answered at once, with the mark of their records, and sent in order; when
// the broker has them nothing is left in the store.
func TestSpoolUp(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			p := h.begin(spoolOptions(), st)
			d := p.device("c")
			d.online(true)
			for i := range 100 {
				d.publish(broker.Token(i), "t", strconv.Itoa(i), qos)
				if ev := d.answer(broker.Token(i), 0); ev.Mark == 0 {
					t.Fatal("no mark")
				}
			}
			pass(time.Second)
			h.want("in order", numbered(0, 100)...)
			if n := records(st, store.UpstreamRequest); n != 0 {
				t.Fatalf("%d records are left", n)
			}
			if s := p.Stats(); s.Drained != 100 || s.SpooledNow != 0 || s.SpooledOctets != 0 {
				t.Fatalf("%+v", s)
			}
			p.end()
		})
	}
}

func numbered(from, to int) (s []string) {
	for i := from; i < to; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}

func records(st *store.Memory, space store.Space) (n int) {
	for k := range st.Records() {
		if k.Space == space {
			n++
		}
	}
	return n
}

// A QoS 2 message is on the wire only once its record is durable, PUBREL only once it is
// durable that the broker has it.
func TestQoS2WaitsForTheDisk(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		p := h.begin(spoolOptions(), st)
		d := p.device("c")
		d.online(true)
		st.Hold()
		d.publish(1, "t", "two", 2)
		d.answer(1, 0)
		pass(time.Second)
		h.set(func() {
			if n := len(h.sessions["c"].up); n != 0 {
				t.Fatal("sent before it was durable")
			}
		})
		st.Commit()
		pass(time.Second)
		h.want("not released yet")
		h.set(func() {
			if n := len(h.sessions["c"].up); n != 1 {
				t.Fatal("not sent")
			}
		})
		st.Commit()
		pass(time.Second)
		h.want("released", "two")
		p.end()
	})
}

// The broker is away: devices are let in, what they publish waits, and is sent when the
// broker is back, also that of a device that has gone, and after a restart.
func TestOutage(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		h.set(func() { h.away = true })
		o := spoolOptions()
		o.DrainRate = 0
		p := h.begin(o, st)
		pass(2 * time.Second)
		if !p.Up() || p.Stats().Up {
			t.Fatal("devices are served while the broker is away, and the statistics say that it is")
		}
		stays, goes := p.device("stays"), p.device("goes")
		for _, d := range []*device{stays, goes} {
			d.do(broker.Request{Op: broker.Connect, Token: 1, CleanSession: false})
			if ev := d.answer(1, 0); ev.SessionPresent {
				t.Fatalf("%+v", ev)
			}
		}
		for i := range 200 {
			stays.publish(2, "t", strconv.Itoa(i), byte(1+i%2))
			stays.answer(2, 0)
		}
		goes.publish(2, "t", "left", 2)
		goes.answer(2, 0)
		goes.do(broker.Request{Op: broker.Disconnect})
		pass(time.Hour)
		if st := p.Stats(); st.SpooledNow != 201 || time.Since(st.Oldest) < time.Hour {
			t.Fatalf("%+v", st)
		}
		h.crash(p)
		p = h.begin(o, st.Crash())
		h.set(func() { h.away = false })
		pass(time.Minute)
		h.set(func() {
			if len(h.taken) != 201 {
				t.Fatalf("%d taken, %+v", len(h.taken), p.Stats())
			}
			last := [2]int{-1, -1} // MQTT orders the messages of one QoS
			for _, s := range h.taken {
				if s == "left" {
					continue
				}
				n, _ := strconv.Atoi(s)
				if n < last[n%2] {
					t.Fatalf("%q", h.taken)
				}
				last[n%2] = n
			}
		})
		if s := p.Stats(); s.SpooledNow != 0 || s.Leaving != 0 {
			t.Fatalf("%+v", s)
		}
		p.end()
	})
}

// One that connects while its spool is drained goes on with it.
func TestConnectAdoptsTheSpool(t *testing.T) {
	for _, clean := range []bool{false, true} {
		inHub(t, func(t *testing.T, h *hub) {
			st := store.NewMemory()
			o := spoolOptions()
			o.DrainRate = 10
			p := h.begin(o, st)
			d := p.device("c")
			d.online(clean)
			h.set(func() { h.away = true; h.cut() })
			pass(2 * time.Second)
			for i := range 100 {
				d.publish(2, "t", strconv.Itoa(i), 2)
				d.answer(2, 0)
			}
			d.do(broker.Request{Op: broker.Disconnect})
			h.set(func() { h.away = false })
			pass(5 * time.Second)
			if n := p.Stats().Leaving; n != 1 {
				t.Fatalf("not being drained: %+v", p.Stats())
			}
			d.online(clean)
			d.publish(2, "t", "100", 2)
			d.answer(2, 0)
			pass(20 * time.Second)
			h.want("in order", numbered(0, 101)...)
			p.end()
		})
	}
}

// While the spool of one client is drained slowly, another one does not wait.
func TestLiveTrafficDoesNotWait(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		o := spoolOptions()
		o.DrainRate = 20
		p := h.begin(o, store.NewMemory())
		late, live := p.device("late"), p.device("live")
		late.online(true)
		live.online(true)
		h.set(func() { h.away = true; h.cut() })
		pass(2 * time.Second)
		for range 1000 {
			late.publish(2, "t", "late", 1)
			late.answer(2, 0)
		}
		h.set(func() { h.away = false })
		pass(5 * time.Second)
		for range 10 {
			before := time.Now()
			live.publish(2, "t", "live", 1)
			live.answer(2, 0)
			pass(time.Second)
			h.set(func() {
				for i := len(h.taken) - 1; i >= 0 && h.at[i].Sub(before) >= 0; i-- {
					if h.taken[i] == "live" {
						if wait := h.at[i].Sub(before); wait > 10*time.Millisecond {
							t.Fatalf("waited %v", wait)
						}
						return
					}
				}
				t.Fatal("not sent")
			})
		}
		left := p.Stats().SpooledNow
		if left < 600 || left > 950 {
			t.Fatalf("%d left", left)
		}
		pass(time.Minute)
		if left = p.Stats().SpooledNow; left != 0 {
			t.Fatalf("%d left", left)
		}
		p.end()
	})
}

// What is waiting costs little memory: no frames are held while there is no connection,
// and few while there is one.
func TestSpoolMemory(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		p := h.begin(spoolOptions(), store.NewMemory())
		d := p.device("c")
		d.online(true)
		h.set(func() { h.silent = true })
		for i := range 5000 {
			d.publish(2, "t", strconv.Itoa(i), 1)
			d.answer(2, 0)
		}
		pass(time.Second)
		held := func() int {
			n := 0
			for _, s := range p.all(nil) {
				s.mu.Lock()
				n += len(s.requests.queue)
				s.mu.Unlock()
			}
			return n
		}
		if n := held(); n > spoolWindow {
			t.Fatalf("%d frames in memory", n)
		}
		h.set(func() { h.away = true; h.cut() })
		pass(time.Second)
		if n := held(); n > 0 {
			t.Fatalf("%d frames in memory", n)
		}
		p.end()
	})
}

// What is published once the broker is back is not of the outage, even if its client has no
// connection yet; and that client gets one before those that have nothing to say.
func TestLiveTrafficIsConnectedFirst(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		const clients = 100
		o := spoolOptions()
		o.DrainRate, o.ReconnectRate = 1, 2
		p := h.begin(o, store.NewMemory())
		var devices []*device
		for i := range clients {
			devices = append(devices, p.device("late-"+strconv.Itoa(i)))
			devices[i].online(true)
		}
		h.set(func() { h.away = true; h.cut() })
		pass(10 * time.Second)
		for _, d := range devices[1:] {
			d.publish(2, "t", "late", 1)
			d.answer(2, 0)
		}
		h.set(func() { h.away = false })
		for !p.Stats().Up {
			pass(time.Second)
		}
		live := devices[0]
		began := time.Now()
		for i := range 5 {
			live.publish(2, "t", "live-"+strconv.Itoa(i), 1)
			live.answer(2, 0)
		}
		pass(5 * time.Second)
		h.set(func() {
			var taken []string
			for i, s := range h.taken {
				if h.at[i].After(began) && s != "late" {
					taken = append(taken, s)
				}
			}
			if len(taken) != 5 || len(h.taken) > clients/2 {
				t.Fatalf("%q of %d", taken, len(h.taken))
			}
		})
		p.end()
	})
}

// All clients have their turn before one has its second.
func TestDrainIsFair(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		const clients = 20
		o := spoolOptions()
		o.DrainRate = clients
		p := h.begin(o, store.NewMemory())
		var devices []*device
		for i := range clients {
			devices = append(devices, p.device(strconv.Itoa(i)))
			devices[i].online(true)
		}
		h.set(func() { h.away = true; h.cut() })
		pass(2 * time.Second)
		for i, d := range devices {
			for range 20 {
				d.publish(2, "t", strconv.Itoa(i), 1)
				d.answer(2, 0)
			}
		}
		h.set(func() { h.away = false })
		for p.Stats().Connected < clients {
			pass(100 * time.Millisecond)
		}
		pass(4 * time.Second)
		h.set(func() {
			sent := make(map[string]int)
			for _, s := range h.taken {
				sent[s]++
			}
			if len(sent) != clients || len(h.taken) > 10*clients {
				t.Fatalf("%d messages, of each client %v", len(h.taken), sent)
			}
		})
		pass(time.Minute)
		if left := p.Stats().SpooledNow; left != 0 {
			t.Fatalf("%d left", left)
		}
		p.end()
	})
}

// Clients that the rate keeps back are not looked at again before the next tick, however
// many messages of others the broker takes meanwhile.
func TestRationedWaitForTheTick(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		const clients = 20
		o := spoolOptions()
		o.DrainRate = 4
		p := h.begin(o, store.NewMemory())
		var devices []*device
		for i := range clients {
			devices = append(devices, p.device("late-"+strconv.Itoa(i)))
			devices[i].online(true)
		}
		live := p.device("live")
		live.online(true)
		h.set(func() { h.away = true; h.cut() })
		pass(2 * time.Second)
		for _, d := range devices {
			for range 10 {
				d.publish(2, "t", "late", 1)
				d.answer(2, 0)
			}
		}
		h.set(func() { h.away = false })
		pass(10 * time.Second)
		live.publish(2, "t", "live", 1)
		live.answer(2, 0)
		synctest.Wait()
		f := &p.feeder
		f.mu.Lock()
		hungry, rationed := len(f.hungry), len(f.rationed)
		f.mu.Unlock()
		if hungry > 0 || rationed < clients/2 {
			t.Fatalf("%d clients are looked at for every message, %d wait for the tick", hungry, rationed)
		}
		pass(time.Minute)
		if left := p.Stats().SpooledNow; left != 0 {
			t.Fatalf("%d left", left)
		}
		p.end()
	})
}

// What is to be durable together with a message is applied whatever its QoS is: a will may
// have 0.
func TestWithOfQoS0(t *testing.T) {
	inHub(t, func(t *testing.T, h *hub) {
		st := store.NewMemory()
		p := h.begin(spoolOptions(), st)
		d := p.device("c")
		d.online(true)
		for qos := range byte(3) {
			with := store.Put(store.SessionState, "c", uint64(qos), []byte{1})
			r := broker.Request{Op: broker.Publish, Token: 1, Topic: "t", QoS: qos, With: []store.Op{with}}
			if err := d.Do(&r); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Read(with.Key, nil); err != nil || r.Mark == 0 {
				t.Errorf("QoS %d: mark %d, %v", qos, r.Mark, err)
			}
		}
		p.end()
	})
}
