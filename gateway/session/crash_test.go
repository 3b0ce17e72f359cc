package session

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"

	"pgregory.net/rapid"
)

// disk is the store of a world in which the gateway crashes, and that of its broker: one
// order of changes, each with what the broker and the records are after it. Packets wait
// until all changes of their step are durable, as in the shell.
type disk struct {
	w      *world
	images []image // the first is durable
	mark   store.Mark
	held   []heldPacket
	with   store.Mark // of the requests of the step that is going on

	crashAt store.Mark // 0: not yet
	moment  moment
	crashes int
}

// moment is when with respect to a change the gateway crashes.
type moment int

const (
	afterApply   moment = iota // it is lost
	beforeCommit               // so too, and some packets had time to come
	afterCommit                // it is durable, and nobody has been told
	afterRelease               // who waited has been told
	moments
)

type image struct {
	mark    store.Mark
	records map[store.Key][]byte
	broker  modelBroker
}

type heldPacket struct {
	mark store.Mark
	b    []byte
	boot int
}

// commitTime is how long a commit takes.
const commitTime = 5 * time.Millisecond

func newDisk(w *world) *disk {
	d := &disk{w: w, mark: 1}
	d.images = []image{{mark: 1, records: map[store.Key][]byte{}, broker: w.broker.image()}}
	w.disk = d
	return d
}

// image is what of the broker a crash leaves, if all is durable.
func (b *modelBroker) image() modelBroker {
	c := *b
	c.waiting, c.unacked = slices.Concat(b.unacked, b.waiting), nil
	c.got, c.uncertain, c.forgotten = maps.Clone(b.got), maps.Clone(b.uncertain), maps.Clone(b.forgotten)
	c.refused = slices.Clone(b.refused)
	c.open = map[broker.Token]string{}
	c.connected, c.will = false, false
	return c
}

// next is the mark of the next change.
func (d *disk) next() store.Mark { return d.mark + 1 }

// request applies what the broker has done, with what goes along, and reports a crash.
func (d *disk) request(r *broker.Request) bool {
	if r != nil && r.Op == broker.Publish && r.QoS == 0 {
		return false
	}
	var with []store.Op
	if r != nil {
		with = r.With
	}
	crash := d.apply(with)
	if len(with) > 0 {
		d.with = d.mark
	}
	return crash
}

func (d *disk) apply(ops []store.Op) bool {
	d.mark++
	records := maps.Clone(d.images[len(d.images)-1].records)
	for _, op := range ops {
		if op.Value == nil {
			delete(records, op.Key)
		} else {
			records[op.Key] = op.Value
		}
	}
	d.images = append(d.images, image{d.mark, records, d.w.broker.image()})
	mark := d.mark
	d.w.after(commitTime, func() { d.commit(mark) })
	return mark == d.crashAt && d.moment == afterApply
}

// hold takes a packet of the step that is going on.
func (d *disk) hold(b []byte, boot int) {
	d.held = append(d.held, heldPacket{0, slices.Clone(b), boot})
}

// end ends the step: what it has applied is what its packets wait for.
func (d *disk) end(records []store.Op, mark store.Mark) bool {
	mark, d.with = max(mark, d.with), 0
	if len(records) > 0 {
		if d.apply(records) {
			return true
		}
		mark = d.mark
	}
	if n := len(d.held); n > 0 {
		mark = max(mark, d.held[0].mark) // the last before
	}
	for i := range d.held {
		if d.held[i].mark == 0 {
			d.held[i].mark = mark
		}
	}
	d.release()
	return false
}

// release sends what waits for nothing any more, in order.
func (d *disk) release() {
	for len(d.held) > 0 && d.held[0].mark <= d.images[0].mark {
		h := d.held[0]
		d.held = d.held[1:]
		d.w.transmit(h.b, h.boot, d.w.device.arrive)
	}
}

func (d *disk) commit(mark store.Mark) {
	if mark <= d.images[0].mark || mark > d.mark {
		return
	}
	crash := mark == d.crashAt
	if crash && d.moment == beforeCommit {
		d.restart()
		return
	}
	for d.images[0].mark < mark {
		d.images = d.images[1:]
	}
	if crash && d.moment == afterCommit {
		d.restart()
		return
	}
	d.release()
	if crash && d.moment == afterRelease {
		d.restart()
	}
}

// restart is the crash, and the start after it: what is not durable is gone, with all that
// was in memory.
func (d *disk) restart() {
	w := d.w
	w.note("crash")
	d.crashes++
	d.crashAt = 0
	d.held, d.with = nil, 0
	safe := d.images[0]
	safe.records, safe.broker = maps.Clone(safe.records), safe.broker.image()
	// Marks go on, so that commits under way mean nothing.
	d.mark++
	safe.mark = d.mark
	d.images = []image{safe}

	epoch := w.broker.epoch
	for _, m := range slices.Concat(w.broker.unacked, w.broker.waiting) {
		if !slices.ContainsFunc(safe.broker.waiting, func(s modelMessage) bool { return s.payload == m.payload }) &&
			!slices.Contains(w.device.order, m.payload) {
			safe.broker.forgotten[m.payload] = true // nobody was told that it was accepted
		}
	}
	*w.broker = safe.broker.image()
	w.broker.epoch = epoch + 1
	if w.broker.clean && !w.broker.persisted {
		w.broker.exists = false
		w.broker.forget()
	}
	w.kept = newMirror()
	for k, v := range safe.records {
		w.kept.store.Apply(store.Op{Key: k, Value: v})
	}
	seed := w.s.msgID
	w.s = nil
	if err := Load(w.kept.store, &w.o, w.now, func(s *Session) error { w.s = s; return nil }); err != nil {
		w.failf("%v", err)
	}
	if w.s == nil {
		w.s = New("dev", &w.o, seed+1000)
	}
	path := w.path()
	path.Credit = 2 << 10 // it was there before
	w.came = path.Credit
	w.s.SetPath(path)
	w.freeAt = time.Time{}
	w.fx.Reset()
	w.received, w.delivered, w.returned, w.dropped = 0, 0, 0, 0
	clear(w.published)
	w.step("resume", func() { w.s.Resume(w.now, &w.fx) })
}

// crashScripts are what goes on when the gateway crashes. They return the payloads that must
// have arrived.
var crashScripts = map[string]func(w *world) (up, down []string){
	"publish": func(w *world) (up, down []string) {
		for i, qos := range []mqttsn.QoS{2, 1, 2, 2} {
			up = append(up, fmt.Sprintf("up %d qos=%d", i, qos))
			w.device.add(publishUp(qos, up[i]))
		}
		w.device.add(&mqttsn.Register{TopicName: []byte("r/1")})
		w.run(time.Minute, w.device.idle)
		for id, name := range w.device.topics {
			if name == "r/1" {
				up = append(up, "up by topic id qos=2")
				w.device.add(&mqttsn.Publish{QoS: 2, TopicID: id, Data: []byte(up[len(up)-1])})
			}
		}
		w.run(time.Minute, w.device.idle)
		return up, nil
	},
	"deliver": func(w *world) (up, down []string) {
		for i, qos := range []byte{2, 1, 2, 2} {
			down = append(down, fmt.Sprintf("%s %d", modelTopics[i], i))
			w.broker.publish(qos, modelTopics[i], down[i])
			w.run(50*time.Millisecond, never)
		}
		w.run(10*time.Second, never)
		return nil, down
	},
	"sleep": func(w *world) (up, down []string) {
		for i := range 3 {
			w.device.add(&mqttsn.Disconnect{HasDuration: true, Duration: 60})
			w.run(time.Minute, w.device.idle)
			for qos := byte(1); qos < 3; qos++ {
				payload := fmt.Sprintf("%s %d/%d", modelTopics[i], i, qos)
				down = append(down, payload)
				w.broker.publish(qos, modelTopics[i], payload)
			}
			w.run(20*time.Second, never)
			w.device.add(&mqttsn.Pingreq{ClientID: []byte("dev")})
			w.run(time.Minute, w.device.idle)
		}
		return nil, down
	},
	"both ways": func(w *world) (up, down []string) {
		for i := range 3 {
			up = append(up, fmt.Sprintf("up %d qos=2", i))
			w.device.add(publishUp(2, up[i]), &mqttsn.Register{TopicName: fmt.Appendf(nil, "r/%d", i)})
			down = append(down, fmt.Sprintf("w/%d %d", i, i))
			w.broker.publish(2, fmt.Sprintf("w/%d", i), down[i])
		}
		w.run(time.Minute, w.device.idle)
		w.device.add(&mqttsn.Disconnect{})
		w.run(time.Minute, w.device.idle)
		payload := "s/temp last"
		w.broker.publish(2, "s/temp", payload)
		return up, append(down, payload)
	},
}

// crashWorld is a world with a disk in which the device has connected and subscribed.
func crashWorld(seed uint64, loss int, fail func(string, ...any)) *world {
	w := newWorld(seed, fail)
	w.loss, w.double, w.delay = loss, loss/2, 20*time.Millisecond
	newDisk(w)
	return w
}

// Wherever the gateway crashes, nothing that was acknowledged is lost and nothing comes twice
// at QoS 2, either way: at every change to the store, before and after it is durable, and
// after those who waited for it have been told.
func TestCrashAtEveryCommit(t *testing.T) {
	for name, script := range crashScripts {
		for _, loss := range []int{0, 20} {
			t.Run(fmt.Sprintf("%s, %d %% loss", name, loss), func(t *testing.T) {
				points := 0
				for at, more := store.Mark(2), true; more; at++ {
					for m := range moments {
						w := crashWorld(uint64(at), loss, t.Fatalf)
						w.disk.crashAt, w.disk.moment = at, m
						if loss == 0 { // and nothing comes late
							w.device.strict = true
							w.delay, w.broker.slow = 2*time.Millisecond, 50*time.Millisecond
						}
						runScript(w, script)
						more = w.disk.crashes > 0
						points += w.disk.crashes
					}
				}
				if points < 20 {
					t.Errorf("%d crashes", points)
				}
				t.Logf("%d crashes", points)
			})
		}
	}
}

func runScript(w *world, script func(*world) (up, down []string)) {
	w.device.reconnect()
	subscribeAll(w.device)
	w.run(10*time.Minute, w.device.idle)
	up, down := script(w)
	settle(w)
	w.run(time.Minute, func() bool { return len(w.device.open) == 0 })
	checkUp(w, up)
	checkDown(w, down)
	if len(w.device.open) > 0 {
		w.failf("the device still waits for PUBREL of %v", w.device.open)
	}
}

// The same with crashes at any time, one after the other.
func TestModelCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := crashWorld(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 30).Draw(t, "loss"), t.Fatalf)
		w.broker.window = rapid.IntRange(1, 8).Draw(t, "window")
		w.broker.slow = time.Duration(rapid.IntRange(0, 3000).Draw(t, "slow")) * time.Millisecond
		w.device.will, w.forgeable = rapid.Bool().Draw(t, "will"), rapid.Bool().Draw(t, "forgeable")
		w.setPath(rapid.SampledFrom(modelRates).Draw(t, "rate"))
		runScript(w, func(w *world) (up, down []string) {
			for n := range rapid.IntRange(1, 40).Draw(t, "actions") {
				qos := rapid.IntRange(1, 2).Draw(t, "qos")
				switch rapid.IntRange(0, 7).Draw(t, "action") {
				case 0, 1:
					topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
					down = append(down, fmt.Sprintf("%s %d", topic, n))
					w.broker.publish(byte(qos), topic, down[len(down)-1])
				case 2, 3:
					up = append(up, fmt.Sprintf("up %d qos=%d", n, qos))
					w.device.add(publishUp(mqttsn.QoS(qos), up[len(up)-1]))
				case 4:
					w.device.add(&mqttsn.Disconnect{HasDuration: true, Duration: uint16(rapid.IntRange(10, 100).Draw(t, "sleep"))})
				case 5:
					w.device.add(&mqttsn.Pingreq{ClientID: []byte("dev")})
				case 6:
					w.device.add(&mqttsn.Disconnect{})
				case 7:
					w.disk.crashAt = w.disk.mark + store.Mark(rapid.IntRange(1, 10).Draw(t, "changes"))
					w.disk.moment = moment(rapid.IntRange(0, int(moments)-1).Draw(t, "moment"))
				}
				w.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause"))*time.Millisecond, never)
			}
			return up, down
		})
	})
}

// The will of a client that is lost is published once, wherever the gateway crashes; that of
// one that says goodbye is not.
func TestCrashAndWill(t *testing.T) {
	for _, lost := range []bool{true, false} {
		for at, more := store.Mark(2), true; more; at++ {
			for m := range moments {
				w := crashWorld(uint64(at), 0, t.Fatalf)
				w.disk.crashAt, w.disk.moment = at, m
				w.device.will = true
				w.device.reconnect()
				w.run(10*time.Minute, w.device.idle)
				want := 0
				if lost {
					w.loss, want = 100, 1
				} else {
					w.device.add(&mqttsn.Disconnect{})
					w.run(10*time.Minute, w.device.idle)
				}
				w.run(10*time.Minute, never)
				if more = w.disk.crashes > 0; w.broker.wills != want {
					w.failf("crash at %d, %d: the will was published %d times, want %d", at, m, w.broker.wills, want)
				}
			}
		}
	}
}
