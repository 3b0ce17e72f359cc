package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Group X of the checklist: forwarder encapsulation.
var forwarding = overMedia(table{
	"X03": { // as long as fits with CONNECT or CONNACK
		string(overXBee): does(nodeIDs(1, 2, 8, 66)),
		string(overRaw):  does(nodeIDs(1, 2, 8, 249)),
	},
	"X07": {string(overRaw): does(badFrames("02 FE", "04 FE 00 2A", "09 FE 00 2A 02 16", "04 FE 00 2A 05 16"))},
	"X08": {string(overXBee): absent("a packet that needs the long form does not fit a ZigBee frame")},
	"X09": everyMedium(does(func(r *rig) { // lines and radios are not on the list
		d, direct := r.device("forwarder"), r.device("cli-1")
		d.tell("05 FE 00 00 07 0B 04 04 01 00 3C 'cli-1'")
		d.silent(2 * moment)
		direct.connect(cleanSession, minute) // without a forwarder it is welcome
		if r.metric("drops_total") == 0 {
			r.Error("no drop is counted")
		}
	}, key("gateway.forwarders", `["127.0.0.0/8"]`))),
}, encapsulated, behindForwarders, refusedFrames)

func TestForwarder(t *testing.T) { run(t, append(forwarding, forwarderReadings)...) }

// forwarder is a device that carries packets of nodes behind it.
type forwarder struct {
	t    *testing.T
	conn net.Conn

	mu    sync.Mutex
	nodes map[string]*packetConn
	// stray are packets for none of its nodes.
	stray []string
}

func (r *rig) forwarder() *forwarder {
	r.Helper()
	return r.forwarderOn(r.dial())
}

func (r *rig) forwarderOn(conn net.Conn) *forwarder {
	r.Helper()
	f := &forwarder{t: r.T, conn: conn, nodes: map[string]*packetConn{}}
	var done sync.WaitGroup
	done.Go(f.serve)
	r.Cleanup(func() {
		_ = f.conn.Close()
		done.Wait()
		for _, stray := range f.stray {
			r.Errorf("a forwarder got %s", stray)
		}
	})
	return f
}

// serve hands what comes to the nodes.
func (f *forwarder) serve() {
	buf := make([]byte, 65535)
	for {
		n, err := f.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			continue
		}
		b := bytes.Clone(buf[:n])
		recorded.add(b)
		header, packet := encapsulation(b)
		f.mu.Lock()
		node := f.nodes[""]
		if header != nil {
			node = f.nodes[string(header[3:])]
		}
		switch err := judge(b); {
		case err != nil:
			f.stray = append(f.stray, fmt.Sprintf("%s: %v", shown(b), err))
		case node == nil:
			f.stray = append(f.stray, shown(b)+", which is for none of its nodes")
		default:
			node.deliver(packet)
		}
		f.mu.Unlock()
	}
}

// device is a client behind the forwarder, with a Wireless Node Id in hex.
func (f *forwarder) device(id, nodeID string) *device {
	f.t.Helper()
	return newDeviceOn(f.t, func() net.Conn { return f.node(nodeID) }, id)
}

func (f *forwarder) node(nodeID string) net.Conn {
	f.t.Helper()
	name, err := encode(nodeID, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	header := append([]byte{byte(3 + len(name)), 0xFE, 0}, name...)
	c := newPacketConn(f.t, "node "+nodeID, func(packet []byte) error {
		_, err := f.conn.Write(append(bytes.Clone(header), packet...))
		return err
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[string(name)] = c
	return c
}

var encapsulated = table{
	"X01": both(func(r *rig) {
		r.device("forwarder").ask("05 FE 00 00 07 0B 04 04 01 00 3C 'cli-1'", "05 FE 00 00 07 03 05 00")
	}),
	"X02": both(func(r *rig) { // two nodes are two clients
		f := r.forwarder()
		first, second := f.device("cli-1", "00 07"), f.device("cli-2", "00 08")
		for _, d := range []*device{first, second} {
			ready(d, cleanSession)
		}
		for _, d := range []*device{first, second} {
			r.publish(d.own(), "for "+d.id, 1)
			d.receive(d.own(), "for "+d.id, 1)
		}
		first.disconnect()
		second.alive()
		first.ask("02 16", "02 18")
	}),
	"X03": both(nodeIDs(1, 2, 8, 252)), // echoed unchanged
	"X06": both(func(r *rig) { // the radius of the answer is that of the question; 0 is all, as far as 3 (A51)
		d := r.device("forwarder")
		d.ask("05 FE 00 00 07 03 01 01", "05 FE 01 00 07 03 02 01")
		d.ask("05 FE 00 00 07 03 01 00", "05 FE 03 00 07 03 02 01")
		d.ask("05 FE 00 00 07 03 01 09", "05 FE 03 00 07 03 02 01")
	}),
	"X08": both(func(r *rig) { // the encapsulated packet has its own Length
		watcher := r.watch("s/#")
		d := r.forwarder().device("cli-1", "00 07")
		d.connect(cleanSession, minute)
		d.register("s/temp")
		long := strings.Repeat("x", 300)
		d.ask("__ 0C 20 {s/temp} 00 07 "+octets(long), "07 0D {s/temp} 00 07 00")
		watcher.expect("s/temp", long, 1)
	}),
	"X10": both(func(r *rig) {
		r.device("forwarder").ask("05 FE 00 00 07 09 0C 20 00 05 00 07 'hi'", "05 FE 00 00 07 02 18")
	}),
	"X12": both(func(r *rig) { // Ctrl is no concern on the way in (A51)
		d := r.device("forwarder")
		d.ask("05 FE 00 00 07 0B 04 04 01 00 3C 'cli-1'", "05 FE 00 00 07 03 05 00")
		d.ask("05 FE FD 00 07 02 16", "05 FE 00 00 07 02 17")
	}),
}

// nodeIDs has clients with Wireless Node Ids of these lengths, all at the same time.
func nodeIDs(lengths ...int) func(*rig) {
	return func(r *rig) {
		f := r.forwarder()
		var all []*device
		for i, length := range lengths {
			d := f.device(fmt.Sprint("cli-", i), strings.Repeat("A7", length))
			d.connect(cleanSession, minute)
			all = append(all, d)
		}
		for _, d := range all {
			d.alive()
		}
	}
}

var behindForwarders = table{
	"X04": both(func(r *rig) {
		f := r.forwarder()
		d, other := f.device("cli-1", "00 07"), f.device("cli-2", "07")
		ready(d, cleanSession)
		ready(other, cleanSession)
		for i := range 3 {
			r.publish(d.own(), fmt.Sprint(i), 1)
			d.receive(d.own(), fmt.Sprint(i), 1)
		}
		other.alive()
	}),
	"X05": both(func(r *rig) { // to direct, and to another node, by CONNECT: answers go where it is
		f := r.forwarder()
		here := f.device("cli-1", "00 07")
		ready(here, keepSession)
		direct, there := r.device("cli-1"), f.device("cli-1", "00 08")
		for i, d := range []*device{direct, there, here} {
			d.connect(keepSession, minute)
			d.names[here.vars[here.own()]] = here.own()
			r.publish(here.own(), fmt.Sprint(i), 1)
			d.receive(here.own(), fmt.Sprint(i), 1)
			d.alive() // so the PUBACK is there before it moves
		}
		direct.ask("__ 0C 20 00 01 00 07 'hi'", "02 18")
		here.silent(moment)
		there.silent(moment)
		here.alive()
	}),
	"X11": both(func(r *rig) { // Z04 behind a forwarder, and from another node
		f := r.forwarder()
		d := f.device("cli-1", "00 07")
		d.connect(cleanSession, minute)
		d.subscribe("s/temp", 2)
		d.sleep(60)
		r.queue(0, 1, 2)
		d.silent(2 * moment)
		d.tell(d.wakeFrame())
		d.drain(0, 0, 1, 2)
		r.queue(1)
		moved := newDeviceOn(r.T, func() net.Conn { return f.node("00 08") }, d.id)
		moved.names[d.vars["s/temp"]] = "s/temp"
		moved.tell(moved.wakeFrame())
		moved.drain(0, 1)
		d.silent(moment)
	}),
}

var refusedFrames = table{
	"X07": both(badFrames("02 FE", "03 FE 00 02 16", "04 FE 00 2A", "09 FE 00 2A 02 16", "04 FE 00 2A 05 16",
		"04 FE 00 2A 02 16 00", "04 FE 00 2A 04 FE 00 2A 02 16", "01 00 06 FE 00 2A 02 16")),
	"X09": both(func(r *rig) { // who is on the list, and nobody else
		d := r.device("forwarder")
		d.tell("05 FE 00 00 07 0B 04 04 01 00 3C 'cli-1'")
		d.silent(2 * moment)
		if r.metric("drops_total") == 0 {
			r.Error("no drop is counted")
		}
		r.client(cleanSession).alive() // without a forwarder it is welcome
		listed := newDeviceOn(r.T, func() net.Conn {
			conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("udp", r.gateway.udp)
			if err != nil {
				r.Fatal(err)
			}
			return conn
		}, "forwarder")
		listed.ask("05 FE 00 00 07 0B 04 04 01 00 3C 'cli-2'", "05 FE 00 00 07 03 05 00")
	}, key("gateway.forwarders", `["127.0.0.2"]`)),
}

// badFrames are dropped without a word, from a forwarder and from a client. Between them
// is a silence, after which a line without framing starts afresh.
func badFrames(frames ...string) func(*rig) {
	return func(r *rig) {
		d := r.client(cleanSession)
		for _, frame := range frames {
			d.tell(frame)
			d.silent(moment)
			d.ask("02 16", "02 17")
			d.ask("04 FE 00 2A 02 16", "04 FE 00 2A 02 18")
			d.silent(5 * moment) // the next such answer is not held back
		}
		if drops := r.metric("drops_total"); r.medium == overUDP && drops < float64(len(frames)) {
			r.Errorf("%v drops are counted of %d bad frames", drops, len(frames))
		}
	}
}

// forwarderReadings has what no id of the checklist tests.
var forwarderReadings = table{
	// QoS -1 needs no session behind a forwarder either.
	"QoSMinusOne": both(func(r *rig) {
		watcher := r.watch("ab")
		d := r.device("forwarder")
		d.tell("05 FE 00 00 07 09 0C 62 'ab' 00 00 'hi'")
		watcher.expect("ab", "hi", 0)
		d.silent(moment)
	}),
	// A forwarder has only so many clients, and the others are not its business.
	"ClientsOfAForwarder": both(func(r *rig) {
		f := r.forwarder()
		for i := range 3 {
			d := f.device(fmt.Sprint("cli-", i), fmt.Sprintf("%02X", i+1))
			d.ask(d.connectFrame(cleanSession, minute), []string{"03 05 00", "03 05 00", "03 05 01"}[i])
		}
		r.device("direct").connect(cleanSession, minute)
	}, key("gateway.forwarder_clients", "2")),
	// The node ids of two forwarders are not the same node.
	"SameNodeIDBehindTwoForwarders": both(func(r *rig) {
		first, second := r.forwarder().device("cli-1", "07"), r.forwarder().device("cli-2", "07")
		ready(first, cleanSession)
		ready(second, cleanSession)
		for _, d := range []*device{first, second} {
			r.publish(d.own(), d.id, 1)
			d.receive(d.own(), d.id, 1)
		}
		first.alive()
		second.alive()
	}),
}
