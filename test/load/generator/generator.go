//go:build linux

// Package generator puts load on an MQTT-SN gateway, ours or another's, and measures what
// arrives. It plays all the MQTT-SN clients, each on a UDP socket of its own, and the one
// MQTT client on the other side, from one thread: epoll, plain system calls, no
// allocation per message, so that it takes as little as it can of the CPUs that it
// shares with the gateway.
//
// Its loops are closed: at most Window requests or messages are outstanding, and the
// next goes out when one has been answered or has arrived. Open loops would measure
// socket buffers.
package generator

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/mqttsn"
)

// Options say what to load, and how.
type Options struct {
	UDP     string // the gateway's address, IPv4
	MQTT    string // the broker's; Ping does without
	Clients int    // MQTT-SN clients; each takes a file descriptor
	Window  int    // requests or messages outstanding at most
	Payload int    // octets per message, 16 to 1024
	// SubscriberQoS is that of the MQTT client's subscription in UpQoS1. With 1, the number
	// of messages that the broker keeps in flight to one client is measured along.
	SubscriberQoS byte
	// Lasting has devices and the MQTT client ask for sessions that outlive the connection,
	// so that a gateway with a state directory writes down what they send and are sent.
	Lasting bool
	// Bare sends to something that answers without sessions, such as package baseline:
	// nobody connects, registers or subscribes.
	Bare bool
	// Server and Broker are the processes whose CPU time is measured; 0 for none. They
	// are the same, and Broker is 0, when the gateway is the broker.
	Server, Broker int
}

// tagMQTT marks the events of the MQTT connection; the others carry a device's index.
const tagMQTT = -1

// Generator is a set of clients. It belongs to one goroutine, which should be locked to
// its thread.
type Generator struct {
	o       Options
	poller  *poller
	devices []*device
	mqtt    *mqttConn
	decoder mqttsn.Decoder
	in, out []byte
	publish mqttsn.Publish
	puback  mqttsn.Puback
	tally   tally
	ready   ring // devices that may be given something to do

	patience time.Duration // how long an answer may take before it counts as lost
	closing  bool

	// onPacket sees each packet that comes to a device, and reports whether it was the
	// answer to its request.
	onPacket func(d *device, p mqttsn.Packet) bool
}

// New opens the sockets of all clients.
func New(o Options) (*Generator, error) {
	if o.Clients < 1 || o.Window < 1 || o.Payload < 16 || o.Payload > 1024 {
		return nil, fmt.Errorf("clients %d, window %d, payload %d: at least 1, at least 1, 16 to 1024", o.Clients, o.Window, o.Payload)
	}
	to, err := net.ResolveUDPAddr("udp4", o.UDP)
	if err != nil {
		return nil, err
	}
	gateway := netip.AddrPortFrom(to.AddrPort().Addr().Unmap(), to.AddrPort().Port())
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	g := &Generator{o: o, poller: p, patience: time.Second, in: make([]byte, 1<<16), ready: ring{devices: make([]*device, o.Clients)}}
	g.publish.Data = make([]byte, o.Payload)
	for i := range o.Clients {
		d, err := openDevice(gateway, i)
		if err == nil {
			g.devices = append(g.devices, d)
			err = p.add(d.fd, int32(i))
		}
		if err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// Close disconnects all clients and closes their sockets.
func (g *Generator) Close() {
	g.closeMQTT()
	if !g.o.Bare {
		g.disconnect()
	}
	for _, d := range g.devices {
		_ = unix.Close(d.fd)
	}
	g.poller.close()
}

func (g *Generator) openMQTT(filter string, qos byte) (err error) {
	g.mqtt, err = dialMQTT(g.o.MQTT, "load", g.o.Lasting, filter, qos)
	if err != nil {
		return err
	}
	g.mqtt.onPublish = g.arrive
	return g.poller.add(g.mqtt.fd, tagMQTT)
}

func (g *Generator) closeMQTT() {
	if g.mqtt != nil {
		g.mqtt.close()
		g.mqtt = nil
	}
}

// poll handles what has arrived, after waiting for it at most timeout.
func (g *Generator) poll(timeout time.Duration) error {
	if g.mqtt != nil {
		if err := g.mqtt.flush(); err != nil {
			return fmt.Errorf("MQTT: %w", err)
		}
		if len(g.mqtt.out) > 0 {
			timeout = min(timeout, time.Millisecond)
		}
	}
	events, err := g.poller.wait(timeout)
	if err != nil {
		return err
	}
	for i := range events {
		if events[i].Fd == tagMQTT {
			err = g.mqtt.receive()
		} else {
			err = g.receive(g.devices[events[i].Fd])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Generator) receive(d *device) error {
	n, _ := read(d.fd, g.in)
	if n < 0 {
		return nil // EAGAIN, or an ICMP message: no answer will come
	}
	p, err := g.decoder.Decode(g.in[:n])
	if err != nil {
		return fmt.Errorf("the gateway sent %x: %w", g.in[:n], err)
	}
	if p.Type() == mqttsn.TypeDisconnect && !g.closing {
		return errors.New("the gateway disconnected " + d.topic)
	}
	if !g.onPacket(d, p) {
		g.answer(d, p)
	}
	return nil
}
