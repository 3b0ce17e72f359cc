//go:build linux

package generator

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/mqttsn"
)

// device is one MQTT-SN client: a connected UDP socket and what it waits for.
type device struct {
	index   int
	fd      int
	topic   string
	topicID uint16
	msgID   uint16
	waits   bool      // for the answer to its request
	since   time.Time // when it sent that
	sent    uint32    // number of the last message for or from this device
	got     uint32    // number of the last one that arrived
}

func openDevice(to netip.AddrPort, index int) (*device, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("client %d: socket: %w (each takes a file descriptor: see ulimit -n)", index, err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("client %d: connect: %w", index, err)
	}
	return &device{index: index, fd: fd, topic: "L/" + strconv.Itoa(index)}, nil
}

// nextMsgID numbers the requests of a device.
func (d *device) nextMsgID() uint16 {
	if d.msgID++; d.msgID == 0 {
		d.msgID = 1
	}
	return d.msgID
}

// send writes one packet. What the system does not take is lost, and counted as such
// when no answer comes.
func (g *Generator) send(d *device, p mqttsn.Packet) {
	g.out = p.Append(g.out[:0])
	_, _ = write(d.fd, g.out)
}

// answer does what a client must do unasked.
func (g *Generator) answer(d *device, p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Register:
		g.send(d, &mqttsn.Regack{TopicID: p.TopicID, MsgID: p.MsgID})
	case *mqttsn.Publish:
		if p.QoS == mqttsn.QoS1 {
			g.puback = mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}
			g.send(d, &g.puback)
		}
		g.arrive(p.Data)
	}
}

// ring is a queue of devices that never holds one twice.
type ring struct {
	devices []*device
	head, n int
}

func (r *ring) push(d *device) {
	r.devices[(r.head+r.n)%len(r.devices)] = d
	r.n++
}

func (r *ring) pop() *device {
	d := r.devices[r.head]
	r.head = (r.head + 1) % len(r.devices)
	r.n--
	return d
}
