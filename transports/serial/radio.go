package serial

import (
	"bytes"
	"log/slog"
	"slices"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// radio is a medium behind an XBee module: nodes with addresses, of which some sleep. The
// module has at most one packet per node and window packets in total, each until it says
// what became of it; nodes take turns. So a node that does not answer takes up one place
// and not the module; and as the module cannot stop us, for want of RTS/CTS in the
// library, this is also what keeps its buffers from overflowing.
type radio struct {
	framing       framing.Framing
	log           *slog.Logger
	counts        *counts
	max, nodeMax  int // octets that may wait: of all, for one node
	window        int
	statusTimeout time.Duration
	firmware      string // of Options
	old           bool   // the module speaks the frames of 802.15.4 firmware

	nodes       map[transports.Addr]*node // with packets waiting or in hand
	waiting     int                       // octets, of all of them
	packets     int                       // how many these are
	ready       []*node                   // have packets and none in hand, whose turn it is first
	hand        [256]*node                // whose packet the module has, by frame id
	outstanding int                       // how many
	doubtful    int                       // how many of them for nodes in doubt
	lastID      byte                      // the frame id used last
	known       knownNodes
	failures    limited // log of what could not be delivered
	events      limited // log of what else the module tells
	scratch     []byte
}

// node is a radio for which packets wait or are in hand.
type node struct {
	addr     transports.Addr
	queue    fifo
	id       byte // frame id of the packet in hand; 0: none
	deadline time.Time
	doubt    bool // as it was when that packet was taken
}

// xbeeOverhead is what goes over the line with the payload of 0x10, but for escapes.
const xbeeOverhead = 18

// everybody is the address of broadcasts, with which no node can send.
var everybody = nodeAddr(xbee.Broadcast)

func newRadio(o Options, c *counts, log *slog.Logger) *radio {
	return &radio{
		framing:       framing.XBee(o.APIMode),
		log:           log,
		counts:        c,
		max:           o.queue(),
		nodeMax:       o.share(),
		window:        o.Window,
		statusTimeout: o.StatusTimeout,
		firmware:      o.XBeeFirmware,
		old:           o.XBeeFirmware == firmware802,
		nodes:         map[transports.Addr]*node{},
		known:         knownNodes{},
	}
}

func (r *radio) put(to transports.Addr, data []byte) reason {
	if n := len(to.Node()); n != 8 && n != 2 {
		return unknownPeer
	}
	return r.queue(to, 0, data)
}

func (r *radio) broadcast(radius uint8, data []byte) reason {
	return r.queue(everybody, radius, data)
}

func (r *radio) queue(to transports.Addr, radius uint8, data []byte) reason {
	charge := len(data) + xbeeOverhead
	if why := r.admit(to, charge); why != taken {
		return why
	}
	n := r.nodes[to]
	if n == nil {
		n = &node{addr: to}
		r.nodes[to] = n
	}
	if len(n.queue.packets) == 0 && n.id == 0 {
		r.ready = append(r.ready, n)
	}
	n.queue.push(packet{data: bytes.Clone(data), radius: radius, charge: charge})
	r.waiting += charge
	r.packets++
	return taken
}

func (r *radio) take(now time.Time, b []byte, budget int) (grown []byte, n int) {
	r.expire(now)
	for limit := len(b) + budget; len(b) < limit; n++ {
		next := r.next()
		if next == nil {
			break
		}
		p := next.queue.pop()
		r.waiting -= p.charge
		r.packets--
		r.give(next, now)
		r.scratch = r.frame(next, p).Append(r.scratch[:0])
		b = r.framing.Append(b, r.scratch)
	}
	return b, n
}

// next takes the node whose turn it is from those that are ready; nil if none is, or none
// may be given to the module. Nodes in doubt share all places but one, so that those that
// answer always have that.
func (r *radio) next() *node {
	if r.outstanding >= r.window {
		return nil
	}
	for i, n := range r.ready {
		if n.doubt = r.known[n.addr].doubt; n.doubt && r.doubtful >= max(1, r.window-1) {
			continue
		}
		r.ready = slices.Delete(r.ready, i, i+1)
		return n
	}
	return nil
}

// give notes that the module has a packet for n in hand.
func (r *radio) give(n *node, now time.Time) {
	for {
		r.lastID++
		if r.lastID != 0 && r.hand[r.lastID] == nil { // 0 asks for no status
			break
		}
	}
	n.id, n.deadline = r.lastID, now.Add(r.statusTimeout)
	r.hand[n.id] = n
	r.outstanding++
	if n.doubt {
		r.doubtful++
	}
}

// finish notes that the module has n's packet no longer; the next one waits its turn.
func (r *radio) finish(n *node) {
	r.hand[n.id] = nil
	n.id = 0
	r.outstanding--
	if n.doubt {
		r.doubtful--
	}
	if len(n.queue.packets) > 0 {
		r.ready = append(r.ready, n)
	} else {
		delete(r.nodes, n.addr)
	}
}

// frame makes the frame that carries a packet to n.
func (r *radio) frame(n *node, p packet) xbee.Frame {
	short, isShort := addr16(n.addr)
	long := addr64(n.addr)
	switch {
	case r.old && isShort:
		return &xbee.Transmit16{ID: n.id, To: short, Data: p.data}
	case r.old && n.addr == everybody:
		return &xbee.Transmit16{ID: n.id, To: xbee.Broadcast16, Data: p.data}
	case r.old:
		return &xbee.Transmit64{ID: n.id, To: long, Data: p.data}
	case isShort:
		return &xbee.Transmit{ID: n.id, To: unknown64, To16: short, Data: p.data}
	default:
		return &xbee.Transmit{ID: n.id, To: long, To16: r.known.addr16(n.addr), Radius: p.radius, Data: p.data}
	}
}

// expire gives up packets of which the module has not told in time.
func (r *radio) expire(now time.Time) {
	for _, n := range r.hand {
		if n != nil && !now.Before(n.deadline) {
			r.counts.dropped[noStatus].Add(1)
			r.failures.log(r.log, now, slog.LevelDebug, "the XBee module does not say what became of a packet", "node", n.addr, "waited", r.statusTimeout)
			r.known.doubt(n.addr, true)
			r.finish(n)
		}
	}
}

func (r *radio) due() time.Time {
	var due time.Time
	if r.outstanding == 0 {
		return due
	}
	for _, n := range r.hand {
		if n != nil && (due.IsZero() || n.deadline.Before(due)) {
			due = n.deadline
		}
	}
	return due
}

func (r *radio) lose(unwritten int) int {
	lost := r.packets
	r.counts.dropped[noStatus].Add(uint64(max(0, r.outstanding-unwritten)))
	clear(r.nodes)
	r.ready, r.hand = nil, [256]*node{}
	r.waiting, r.packets, r.outstanding, r.doubtful = 0, 0, 0, 0
	return lost
}

func (r *radio) fill(s *Stats) {
	s.Queued, s.Outstanding, s.Nodes = r.waiting, r.outstanding, len(r.nodes)
}
