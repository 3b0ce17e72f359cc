package embedded

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// FuzzHistories lets three MQTT clients and two devices, of which one shares its client id
// with a client, do anything in any order: connect, vanish, subscribe, publish with every
// QoS, share, have limits of their own, acknowledge late and in any order, send rubbish.
// With a store the broker may crash, too. After each step every one of them
// has been sent what the model says, no more and no less, and every message that was
// accepted is accounted for.
func FuzzHistories(f *testing.F) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, seed))
		history := make([]byte, 400)
		for i := range history {
			history[i] = byte(random.Uint32())
		}
		f.Add(history)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		h := newHistory(t, octets)
		defer h.end()
		for steps := 0; len(h.octets) > 0 && steps < 80; steps++ {
			h.compare(h.step())
		}
	})
}

// The bounds of the broker in a history: low, so that they are met.
const (
	historyWindow = 2
	historyRoom   = 3
	// The maximum packet size of the clients that have one: the answers fit.
	historyPacket = 100
)

type history struct {
	t      *testing.T
	broker *Broker
	change func(*Options)
	model  *model
	actors []*actor
	octets []byte // what is to happen
	n      int    // numbers the messages
	log    strings.Builder
}

// actor is one client: an MQTT client, or a device if version is 0.
type actor struct {
	id      string
	version mqtt.Version
	device  *station
	peer    *peer
	online  bool
	seen    []modelDelivery // what came and was not compared yet
	aliases map[uint16]string
}

func newHistory(t *testing.T, octets []byte) *history {
	h := &history{t: t, octets: octets, model: newModel(historyWindow, historyRoom)}
	h.model.queueQoS0, h.model.upgradeQoS = h.draw(3) == 0, h.draw(3) == 0
	h.change = func(o *Options) {
		o.QueueQoS0Messages, o.UpgradeOutgoingQoS = h.model.queueQoS0, h.model.upgradeQoS
		o.MaxTopicAliasBroker = 2
		o.MaxInflightMessages, o.DeviceInflight, o.MaxQueuedMessages = historyWindow, historyWindow, historyRoom
	}
	if h.model.stored = h.draw(2) == 0; h.model.stored {
		h.broker = newStoreBroker(t, store.NewMemory(), h.change)
	} else {
		h.broker = newBroker(t, h.change)
	}
	h.actors = []*actor{
		{id: "a", version: mqtt.V311}, {id: "b", version: mqtt.V5}, {id: "c", version: mqtt.V5}, {id: "c"}, {id: "d"},
	}
	for _, a := range h.actors {
		if a.version == 0 {
			a.device = open(t, h.broker, a.id)
		}
	}
	return h
}

// end ends all connections and looks at what is left.
func (h *history) end() {
	if h.t.Failed() {
		h.t.Logf("history:\n%s", h.log.String())
		return
	}
	for _, a := range h.actors {
		if a.online {
			h.drop(a)
		}
	}
	h.broker.clients.group.Wait()
	checkAccounts(h.t, h.broker)
}

// draw takes one of n choices from the input.
func (h *history) draw(n int) int {
	if len(h.octets) == 0 {
		return 0
	}
	c := int(h.octets[0]) % n
	h.octets = h.octets[1:]
	return c
}

// step lets one actor do one thing.
func (h *history) step() *actor {
	a := h.actors[h.draw(len(h.actors))]
	what := h.draw(18)
	if what == 17 && h.model.stored {
		h.restart()
		what = 0
	}
	fmt.Fprintf(&h.log, "%s (%v): ", a.id, a.version)
	switch {
	case !a.online || what == 0:
		h.connect(a)
	case what == 1:
		h.drop(a)
	case what == 2:
		h.disconnect(a)
	case what < 6:
		h.subscribe(a)
	case what == 6:
		h.unsubscribe(a)
	case what < 12:
		h.publish(a)
	case what < 15:
		h.acknowledge(a)
	case a.device != nil:
		h.persist(a)
	case h.draw(2) == 0:
		h.release(a, uint16(1+h.draw(3)))
	default:
		h.rubbish(a)
	}
	fmt.Fprintln(&h.log)
	return a
}

func (h *history) message(a *actor) *modelMessage {
	h.n++
	m := &modelMessage{
		topic:   []string{"t/one", "t/two", "r", "x/one"}[h.draw(4)],
		payload: fmt.Sprint(h.n), from: a.id, qos: byte(h.draw(3)),
	}
	// One topic at most has a retained message, or their order would be open.
	if m.retain = m.topic == "r" && h.draw(2) == 0; m.retain && h.draw(3) == 0 {
		m.payload = ""
	} else if h.draw(4) == 0 {
		m.payload += strings.Repeat("x", historyPacket)
	}
	return m
}
