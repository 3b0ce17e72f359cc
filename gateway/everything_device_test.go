package gateway_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// gadget is a device that does one thing after another, as the specification has it, and
// does not give up. What it cannot know, such as crashes of the gateway, it is only told
// for the sake of the ledger.
type gadget struct {
	world    *everything
	number   int
	clientID string
	addr     transports.Addr
	state    gadgetState
	*account

	lasting bool // its sessions outlive connections
	willing bool // it has a will
	sleeps  bool
	robbed  bool // somebody else connects with its id at times
	member  bool // of the group that shares a topic
	wants   map[string]byte

	asks     *ask
	pub      *publishing
	msgID    uint16
	sequence int
	will     string            // the latest
	known    bool              // the store has its session, though it is a clean one
	roused   bool              // it comes back from sleep
	doubtful bool              // the clean session may have ended with a gateway
	afresh   bool              // its next session is to be a new one, though it lasts
	sessions int               // how often it has begun anew
	ids      map[string]uint16 // to publish with
	topics   map[uint16]string // that messages come with
	open     map[uint16]bool   // QoS 2 messages that were not released yet
	retiring bool
}

type gadgetState byte

const (
	offline gadgetState = iota
	connecting
	active
	falling // asleep
	napping
	waking
	dead
	gone
)

// ask is a packet that is sent until it is answered.
type ask struct {
	what   string
	packet func(again bool) []byte
	answer func(p mqttsn.Packet) (done bool)
	tries  int
}

// publishing is a message on its way to the gateway.
type publishing struct {
	*posting
	value    int // of a retained message
	topic    string
	payload  string
	qos      byte
	msgID    uint16
	released bool
}

const (
	gadgetPatience = 3 * time.Second
	gadgetTries    = 7
	gadgetNap      = 40 * time.Second
)

func newGadget(w *everything, i int) *gadget {
	g := &gadget{
		world: w, number: i, clientID: fmt.Sprint("gadget-", i), account: newAccount(fmt.Sprint("gadget-", i)),
		lasting: i%2 == 0, willing: i%6 == 0, sleeps: i%3 != 2, robbed: i == 2, member: i == 8 || i == 10,
		ids: make(map[string]uint16), topics: make(map[uint16]string), open: make(map[uint16]bool), wants: make(map[string]byte),
		msgID: uint16(w.rand.IntN(1 << 16)),
	}
	g.twice = g.robbed
	g.move()
	for _, f := range []string{"t0", "t1", "long/topic/0", "long/#"} {
		if w.rand.IntN(3) == 0 {
			g.wants[f] = byte(1 + w.rand.IntN(2))
		}
	}
	if i < 4 {
		g.wants["t0"], g.wants["long/#"] = 2, 2
	}
	if g.member {
		g.wants["$share/g/s0"] = 2
	}
	return g
}

// move makes the device appear at a new address.
func (g *gadget) move() {
	w := g.world
	delete(w.byAddr, g.addr)
	w.addrs++
	g.addr = transports.NumberAddr(w.addrs)
	w.byAddr[g.addr] = g
}

func (g *gadget) nextID() uint16 {
	if g.msgID++; g.msgID == 0 {
		g.msgID = 1
	}
	return g.msgID
}

// ask sends a packet until it is answered. Whoever is not answered connects anew.
func (g *gadget) ask(what string, packet func(again bool) []byte, answer func(p mqttsn.Packet) bool) {
	a := &ask{what: what, packet: packet, answer: answer}
	g.asks = a
	g.world.transmit(g, packet(false))
	g.repeat(a)
}

func (g *gadget) repeat(a *ask) {
	g.world.plan(gadgetPatience, func() {
		if g.asks != a {
			return
		}
		if a.tries++; a.tries == gadgetTries {
			g.asks = nil
			g.connect()
			return
		}
		g.world.transmit(g, a.packet(true))
		g.repeat(a)
	})
}

// later does something after a while, if nothing else was begun until then.
func (g *gadget) later(after time.Duration, what func()) {
	mark := &ask{what: "pause", answer: func(mqttsn.Packet) bool { return false }}
	g.asks = mark
	g.world.plan(after, func() {
		if g.asks == mark {
			g.asks = nil
			what()
		}
	})
}

// connect connects: with a clean session if the device has none that lasts, unless it
// comes back from sleep.
func (g *gadget) connect() {
	g.roused = g.known && (g.roused || g.state == waking)
	clean := !g.lasting && !g.roused || g.retiring || g.afresh
	g.connectWith(clean)
}

func (g *gadget) connectWith(clean bool) {
	w := g.world
	g.state = connecting
	if clean {
		g.wipe()
		g.pub, g.known, g.doubtful = nil, false, false
		clear(g.ids)
	}
	if g.willing {
		g.will = fmt.Sprintf("will %d.%d", g.number, w.order)
		w.order++
	}
	will := g.willing && !g.retiring
	packet := mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, CleanSession: clean, Will: will, Duration: 60, ClientID: []byte(g.clientID)}.Append(nil)
	g.ask("connect", func(bool) []byte { return packet }, func(p mqttsn.Packet) bool {
		switch p := p.(type) {
		case *mqttsn.WillTopicReq:
			w.transmit(g, mqttsn.WillTopic{QoS: 2, Topic: []byte("w/" + g.clientID)}.Append(nil))
		case *mqttsn.WillMsgReq:
			w.transmit(g, mqttsn.WillMsg{Message: []byte(g.will)}.Append(nil))
		case *mqttsn.Connack:
			if p.ReturnCode != mqttsn.Accepted {
				g.later(5*time.Second, func() { g.connectWith(clean) })
				return false
			}
			g.joined(clean)
			return true
		}
		return false
	})
}

func (g *gadget) joined(clean bool) {
	g.asks, g.state, g.roused, g.afresh = nil, active, false, false
	if clean {
		g.sessions++
		clear(g.open)
		clear(g.topics)
		clear(g.got) // what a crash has taken back may come again to another session
		clear(g.last)
	}
	switch {
	case g.retiring:
		g.say(mqttsn.Disconnect{}, func() { g.state = gone })
	case clean && g.lasting:
		g.later(20*time.Second, func() { // no copies of CONNACK come any more
			g.connectWith(false) // from now on it lasts; the ledger begins anew
			g.wipe()
		})
	default:
		g.act()
	}
}

// say sends DISCONNECT and waits for the answer.
func (g *gadget) say(p mqttsn.Disconnect, then func()) {
	packet := p.Append(nil)
	g.ask("disconnect", func(bool) []byte { return packet }, func(p mqttsn.Packet) bool {
		if _, ok := p.(*mqttsn.Disconnect); !ok {
			return false
		}
		g.asks = nil
		then()
		return true
	})
}

// idle goes on after a while.
func (g *gadget) idle() {
	g.asks = nil
	pause := g.world.within(3 * time.Second)
	if g.world.calm {
		pause = 10 * time.Second
	}
	g.later(pause, g.act)
}

// act does something.
func (g *gadget) act() {
	w := g.world
	if g.pub != nil {
		g.publish()
		return
	}
	for _, f := range slices.Sorted(maps.Keys(g.wants)) {
		if _, ok := g.filters[f]; !ok {
			g.subscribe(f, g.wants[f])
			return
		}
	}
	n := w.rand.IntN(100)
	switch {
	case w.calm || n < 10:
		g.ping()
	case n < 65:
		g.begin()
	case n < 70 && !g.member:
		switch filters := slices.Sorted(maps.Keys(g.wants)); {
		case len(filters) == 0:
			g.idle()
		case w.rand.IntN(2) == 0:
			g.subscribe(filters[0], g.wants[filters[0]]) // once more
		default:
			g.unsubscribe(filters[0])
		}
	case n < 82 && g.sleeps:
		g.sleep()
	case n < 87:
		g.leave()
	case n < 92:
		g.move()
		if g.lasting {
			g.connectWith(false)
		} else {
			g.connectWith(true)
		}
	case n < 94 && g.lasting: // it has restarted
		clear(g.ids)
		clear(g.topics)
		g.connectWith(false)
	case n < 96 && g.willing:
		g.die()
	case n < 99 && g.robbed:
		g.robbery()
	default:
		g.idle()
	}
}
