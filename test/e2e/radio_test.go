package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
)

// radio is a simulated ZigBee network: a coordinator on the gateway's serial line, in API
// mode 2 of Digi's modules, and nodes around it, which are the devices. The frames are
// written from Digi's manuals; nothing is shared with the gateway.
type radio struct {
	t    testing.TB
	line *line

	mu    sync.Mutex
	dice  *rand.Rand
	nodes []*node
	// loss is the share of packets that are lost in each direction without a word;
	// failure the share of those to nodes that are lost and reported.
	loss, failure float64
	// reported counts delivery statuses, by status.
	reported map[byte]int
	// tooLong counts packets that do not fit one frame on the air.
	tooLong int
	// broadcasts are the radii of what went to everybody.
	broadcasts []byte
}

// node is a device's radio module.
type node struct {
	*packetConn
	radio   *radio
	address uint64
	short   uint16
	// state is guarded by the radio's mutex.
	state nodeState
	// missed counts what was sent to it while it did not listen.
	missed int
	// withheld are frames to a node that is off, whose status is still to come.
	withheld []byte
}

type nodeState byte

const (
	nodeOn nodeState = iota
	// nodeOff is not there. The coordinator tries for a long time.
	nodeOff
	// nodeDozing has its receiver off, and a parent that answers for it.
	nodeDozing
)

// The frames of the API, and what a delivery status says.
const (
	apiAT, apiATResponse        = 0x08, 0x88
	apiTransmit, apiStatus      = 0x10, 0x8B
	apiReceive                  = 0x90
	delivered, noNetworkAck     = 0x00, 0x21
	addressNotFound, tooLarge   = 0x24, 0x74
	receivedAlone, receivedAll  = 0x01, 0x02
	everybody, unknown16        = 0xFFFF, 0xFFFE
	airPayload                  = 84 // octets that a unicast carries unfragmented
	nodeAddressPrefix           = 0x0013A200_40000000
	transmitHeader, shortHeader = 14, 12
)

func newRadio(t testing.TB, baud int) *radio {
	return newRadioOn(t, lineOptions{codec: xbeeCodec(), baud: baud})
}

func newRadioOn(t testing.TB, o lineOptions) *radio {
	r := &radio{t: t, dice: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), reported: map[byte]int{}}
	r.line = newLine(t, o)
	hear := r.hear
	r.line.hear.Store(&hear)
	return r
}

func (r *radio) args() []string { return []string{"--serial", r.line.flag(overXBee)} }

func (r *radio) dial(t testing.TB) net.Conn { return r.node(t) }

// node adds a node to the network.
func (r *radio) node(t testing.TB) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.nodes) + 1
	n := &node{radio: r, address: nodeAddressPrefix + uint64(i), short: uint16(i)}
	n.packetConn = newPacketConn(t, fmt.Sprintf("node %016X", n.address), func(b []byte) error { return n.transmit(b, receivedAlone) })
	r.nodes = append(r.nodes, n)
	return n
}

// transmit sends a packet to the coordinator, which was meant alone or with all others.
func (n *node) transmit(packet []byte, options byte) error {
	if len(packet) > airPayload {
		return fmt.Errorf("%d octets do not fit the air", len(packet))
	}
	n.radio.mu.Lock()
	lost := n.state == nodeOff || n.radio.dice.Float64() < n.radio.loss
	n.radio.mu.Unlock()
	if lost {
		return nil
	}
	data := binary.BigEndian.AppendUint64([]byte{apiReceive}, n.address)
	data = append(binary.BigEndian.AppendUint16(data, n.short), options)
	return n.radio.line.write(append(data, packet...))
}

// become switches the node's module. Status that was held back is given at last.
func (n *node) become(state nodeState) {
	r := n.radio
	r.mu.Lock()
	defer r.mu.Unlock()
	n.state = state
	for _, id := range n.withheld {
		r.report(id, unknown16, noNetworkAck)
	}
	n.withheld = nil
}

// hear is a frame from the gateway.
func (r *radio) hear(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case data[0] == apiTransmit && len(data) > transmitHeader:
		r.forward(data)
	case data[0] == apiAT && len(data) >= 4 && data[1] != 0:
		// Whatever is asked, its value is two octets of FF, as NP's is on a coordinator.
		_ = r.line.write([]byte{apiATResponse, data[1], data[2], data[3], 0, 0xFF, 0xFF})
	}
}

// forward is a packet to a node, or to all.
func (r *radio) forward(data []byte) {
	id, address, radius := data[1], binary.BigEndian.Uint64(data[2:]), data[12]
	packet := slices.Clone(data[transmitHeader:])
	if len(packet) > airPayload {
		r.tooLong++
		r.report(id, unknown16, tooLarge)
		return
	}
	if address == everybody {
		r.broadcasts = append(r.broadcasts, radius)
		for _, n := range r.nodes {
			if n.state == nodeOn && r.dice.Float64() >= r.loss {
				n.deliver(packet)
			}
		}
		r.report(id, unknown16, delivered)
		return
	}
	i := slices.IndexFunc(r.nodes, func(n *node) bool { return n.address == address })
	if i < 0 {
		r.report(id, unknown16, addressNotFound)
		return
	}
	switch n := r.nodes[i]; {
	case n.state == nodeOff:
		n.missed++
		n.withheld = append(n.withheld, id)
	case n.state == nodeDozing:
		if kind := packet[1]; kind == 0x0C || kind == 0x0A { // else a late copy of an answer
			n.missed++
		}
		r.report(id, n.short, delivered)
	case r.dice.Float64() < r.failure:
		r.report(id, n.short, noNetworkAck)
	default:
		if r.dice.Float64() >= r.loss {
			n.deliver(packet)
		}
		r.report(id, n.short, delivered)
	}
}

// report tells the gateway what became of its frame, if it wants to know.
func (r *radio) report(id byte, short uint16, status byte) {
	if id == 0 {
		return
	}
	r.reported[status]++
	_ = r.line.write([]byte{apiStatus, id, byte(short >> 8), byte(short), 0, status, 0})
}

// heardOverTheAir is the MQTT-SN packet in a frame to the radio module.
func heardOverTheAir(data []byte) ([]byte, error) {
	if len(data) <= transmitHeader || data[0] != apiTransmit {
		return nil, errors.New("no packet for a node")
	}
	return data[transmitHeader:], nil
}
