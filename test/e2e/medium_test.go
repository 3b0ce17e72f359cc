package e2e

import (
	"maps"
	"net"
	"sync"
	"testing"
)

// medium is what lies between the devices of a test and the gateway.
type medium string

const (
	overUDP  medium = "udp"
	overRaw  medium = "raw"
	overSLIP medium = "slip"
	overCOBS medium = "cobs"
	overXBee medium = "xbee"
)

// media are those that are no UDP: serial lines, a pseudo-terminal each.
var media = []medium{overRaw, overSLIP, overCOBS, overXBee}

// mtu is the largest packet that the gateway sends over the medium, by default.
func (m medium) mtu() int {
	return map[medium]int{overUDP: 1400, overRaw: 255, overSLIP: 1000, overCOBS: 1000, overXBee: 80}[m]
}

// largest is the payload of the longest PUBLISH that the gateway sends over the medium.
func (m medium) largest() int {
	if m.mtu() > 255 {
		return m.mtu() - 9
	}
	return m.mtu() - 7
}

// codec is the medium's framing by default.
func (m medium) codec() codec {
	switch m {
	case overRaw:
		return rawCodec()
	case overSLIP:
		return slipCodec(false)
	case overCOBS:
		return cobsCodec(false)
	}
	return xbeeCodec()
}

// network is a medium with the devices on it.
type network interface {
	// dial attaches one more device. What it reads and writes are single packets.
	dial(t testing.TB) net.Conn
	// args are the gateway's flags for the medium.
	args() []string
}

// linesOfARig is how many devices a test may have on lines that carry one each.
const linesOfARig = 4

// swift is a speed at which no test has to wait for the line.
const swift = 921600

// newNetwork makes a medium's network; nil for UDP, which needs none.
func newNetwork(t testing.TB, m medium) network {
	switch m {
	case overUDP:
		return nil
	case overXBee:
		return newRadio(t, swift)
	}
	return newLines(t, m)
}

// lines are serial lines with one device each.
type lines struct {
	medium medium
	lines  []*line
	dialed int
}

func newLines(t testing.TB, m medium) *lines {
	l := &lines{medium: m}
	for range linesOfARig {
		l.lines = append(l.lines, newLine(t, lineOptions{codec: m.codec(), baud: swift}))
	}
	return l
}

func (l *lines) args() []string {
	var args []string
	for _, line := range l.lines {
		args = append(args, "--serial", line.flag(l.medium))
	}
	return args
}

func (l *lines) dial(t testing.TB) net.Conn {
	t.Helper()
	if l.dialed == len(l.lines) {
		t.Fatalf("this test needs more than %d lines", len(l.lines))
	}
	line := l.lines[l.dialed]
	l.dialed++
	return line.attach(t)
}

// packetConn is a device's end of a medium. Reading and its deadlines are those of a
// pipe, in which one Write is one Read.
type packetConn struct {
	net.Conn
	label string
	send  func(packet []byte) error
	inbox chan []byte
}

// inboxLimit is more than any device leaves unread.
const inboxLimit = 1 << 12

func newPacketConn(t testing.TB, label string, send func(packet []byte) error) *packetConn {
	near, far := net.Pipe()
	c := &packetConn{Conn: near, label: label, send: send, inbox: make(chan []byte, inboxLimit)}
	var done sync.WaitGroup
	ended := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case b := <-c.inbox:
				if _, err := far.Write(b); err != nil {
					return
				}
			case <-ended:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(ended)
		_ = near.Close()
		_ = far.Close()
		done.Wait()
	})
	return c
}

// deliver lets the device receive a packet. One whose inbox is full is stuck.
func (c *packetConn) deliver(packet []byte) {
	select {
	case c.inbox <- packet:
	default:
	}
}

func (c *packetConn) Write(b []byte) (int, error) { return len(b), c.send(b) }
func (c *packetConn) LocalAddr() net.Addr         { return mediumAddr(c.label) }
func (c *packetConn) RemoteAddr() net.Addr        { return mediumAddr("gateway") }

type mediumAddr string

func (mediumAddr) Network() string  { return "serial" }
func (a mediumAddr) String() string { return string(a) }

// overMedia has the tests of a group run over the other media as well, with the embedded
// broker if they run with that. special has what a medium needs to have otherwise.
func overMedia(special table, tables ...table) []table {
	var all []table
	for _, group := range tables {
		wider := table{}
		for id, setups := range group {
			usual, ok := setups[embedded]
			usual.broker = embedded
			if !ok || usual.run == nil {
				usual = setups[upstream]
				usual.broker = upstream
			}
			wider[id] = maps.Clone(setups)
			for _, m := range media {
				c := usual
				if other, ok := special[id][string(m)]; ok {
					c = other
				}
				c.medium, c.broker = m, usual.broker
				wider[id][string(m)] = c
			}
		}
		all = append(all, wider)
	}
	return all
}

// everyMedium is the same entry for all of them.
func everyMedium(c check) map[string]check {
	all := map[string]check{}
	for _, m := range media {
		all[string(m)] = c
	}
	return all
}
