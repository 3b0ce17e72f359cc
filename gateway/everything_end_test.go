package gateway_test

import (
	"maps"
	"slices"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// conclude brings all to an end: nothing goes wrong any more, and everybody gets what is
// owed to him.
func (w *everything) conclude() {
	w.calm, w.stuck = true, false
	w.store.SetLevel(store.Normal)
	if !w.until(everythingEnd, func() bool { return w.settled() }) && !w.Failed() {
		w.complain()
	}
}

// settled reports whether everybody has got what is owed to him.
func (w *everything) settled() bool {
	for _, g := range w.gadgets {
		if g.busy() {
			return false
		}
	}
	return len(w.missing()) == 0
}

// clear ends all sessions, and looks for what is left.
func (w *everything) clear() {
	if w.Failed() {
		w.stop()
		return
	}
	w.check()
	for _, g := range w.gadgets {
		g.retire()
	}
	if !w.until(time.Hour, func() bool {
		return !slices.ContainsFunc(w.gadgets, func(g *gadget) bool { return g.state != gone })
	}) {
		w.Error("not all devices could take leave")
	}
	w.watcher.retire()
	w.pass(time.Minute)
	w.stop()
	left := w.store.Records()
	delete(left, store.Key{Space: store.MQTTMessage}) // up to where numbers are used
	for _, k := range slices.SortedFunc(maps.Keys(left), store.CompareKeys) {
		w.Errorf("left in the store: space %d, client %q, number %d", k.Space, k.Client, k.Number)
	}
	w.restartEmpty()
}

// check compares what the gateway has counted.
func (w *everything) check() {
	synctest.Wait()
	st := w.gateway.Stats()
	if m := st.Messages; m.Received != m.Delivered+m.Returned+m.Dropped+uint64(st.QueuedMessages) {
		w.Errorf("messages do not add up: %+v, %d queued", m, st.QueuedMessages)
	}
}

// restartEmpty starts once more, with the empty store.
func (w *everything) restartEmpty() {
	w.launch()
	if n := w.gateway.Stats().Restored; n != 0 {
		w.Errorf("%d sessions are left", n)
	}
	w.stop()
}

func (w *everything) report() {
	w.Logf("%d crashes, %d restarts, %d packets, %d lost; %d messages acknowledged, %d received, %d of them again; %d wills",
		w.crashes, w.restarts, w.packets, w.missed, w.acknowledged, w.received, w.again, w.wills)
	if !w.Failed() && (w.crashes < 5 || w.acknowledged < 200 || w.received < 400 || w.wills == 0) {
		w.Error("that is no test")
	}
}

// shortID is the id of a topic with two letters.
func shortID(name string) uint16 {
	id, _ := mqttsn.ShortTopic(name)
	return id
}
