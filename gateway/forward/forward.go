// Package forward is a forwarder: it carries packets between devices, on any links, and
// a gateway elsewhere, over UDP and in the frames of the forwarder encapsulation
// [SN-5.5]. The devices know nothing of it, and the gateway sees each of them.
//
// A forwarder keeps nothing that matters for long: the address of a device is in the
// Wireless Node Id (nodeid.go), its session is in the gateway. It may be restarted at any
// time; a device with an IP address is sent nothing from then on until it has sent.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// Forwarder carries packets between the devices on its links and a gateway.
type Forwarder struct {
	options Options
	log     *slog.Logger
	ports   []*port
	uplink  *uplink
	counts  counts
	decoder mqttsn.Decoder // of what the gateway sends
	subnets subnets        // for what the gateway sends
}

// port is the forwarder's end of one link.
type port struct {
	link    transports.Link
	number  int
	heard   heard
	decoder mqttsn.Decoder // of what the link receives
}

// New makes a forwarder between links and a gateway, which Run sets to work. The options
// are validated. The order of the links is part of the devices' node ids.
func New(o Options, links []transports.Link, log *slog.Logger) (*Forwarder, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(links) == 0 {
		return nil, errors.New("forwarder: no link: devices need at least one to reach it")
	}
	if len(links) > maxLinks {
		return nil, fmt.Errorf("forwarder: %d links: it can have %d at most", len(links), maxLinks)
	}
	f := &Forwarder{options: o, log: log, subnets: subnets{list: net.InterfaceAddrs}}
	for i, l := range links {
		f.ports = append(f.ports, &port{link: l, number: i})
	}
	f.uplink = newUplink(o, &f.counts, log)
	f.uplink.receive = f.fromGateway
	return f, nil
}

// Run forwards until ctx is done, then closes the links. It outlives the loss of the
// gateway, and returns an error when a link fails for good or Local cannot be had. It
// may be called once.
func (f *Forwarder) Run(ctx context.Context) error {
	f.announce()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(f.ports)+1)
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := f.uplink.run(ctx); err != nil {
			failed <- err
		}
	})
	for _, p := range f.ports {
		parts.Go(func() {
			if err := p.link.Serve(ctx, func(batch []transports.Datagram) { f.fromDevices(p, batch) }); err != nil {
				failed <- fmt.Errorf("%s: %w", p.link.Name(), err)
			}
		})
	}
	err := f.wait(ctx, failed)
	stop()
	for _, p := range f.ports {
		err = errors.Join(err, p.link.Close())
	}
	parts.Wait()
	st := f.Stats()
	f.log.Info("stopped forwarding", "to_gateway", st.ToGateway, "to_devices", st.ToDevices, "broadcasts", st.Broadcasts)
	return err
}

// reportEvery is how often the log is told of what was dropped.
const reportEvery = time.Minute

// wait waits for the end, and tells the log meanwhile.
func (f *Forwarder) wait(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var told [reasons]uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
			f.report(&told)
		}
	}
}

// report tells the log what was dropped since the last report.
func (f *Forwarder) report(told *[reasons]uint64) {
	var dropped []any
	for r := range reasons {
		n := f.counts.dropped[r].Load()
		if n > told[r] && r != deviceOtherGateway { // those are everyday
			dropped = append(dropped, slog.Uint64(r.String(), n-told[r]))
		}
		told[r] = n
	}
	if len(dropped) > 0 {
		f.log.Warn("dropped packets", slog.Group("packets", dropped...), "within", reportEvery)
	}
}

// announce is the line that says what is forwarded where.
func (f *Forwarder) announce() {
	var names []string
	for _, p := range f.ports {
		names = append(names, p.link.Name())
	}
	f.log.Info("forwarding: mqtt-sn " + strings.Join(names, ", ") + " to the gateway at udp " + f.options.To)
}

// drop counts a packet that goes no further.
func (f *Forwarder) drop(why reason, p *port, addr transports.Addr, octets int) {
	f.counts.dropped[why].Add(1)
	if !f.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	link := "-"
	if p != nil {
		link = p.link.Name()
	}
	f.log.Debug("dropped a packet", "reason", why.String(), "link", link, "device", addr.String(), "octets", octets)
}

// fromDevices sends what a link received on to the gateway.
func (f *Forwarder) fromDevices(p *port, batch []transports.Datagram) {
	for i := range batch {
		d := &batch[i]
		if why, ok := f.fromDevice(p, d); !ok {
			f.drop(why, p, d.Addr, len(d.Data))
		}
	}
}

// fromDevice is fromDevices for one packet; ok is false if it goes no further.
func (f *Forwarder) fromDevice(p *port, d *transports.Datagram) (why reason, ok bool) {
	t, _, err := mqttsn.Peek(d.Data)
	switch {
	case err != nil:
		return deviceMalformed, false
	case t == mqttsn.TypeEncapsulated:
		return deviceNested, false
	case d.Addr.IsZero():
		return deviceNoAddress, false
	case t == mqttsn.TypeAdvertise, t == mqttsn.TypeGWInfo, d.Addr == d.Local:
		return deviceOtherGateway, false
	}
	var room [maxOwnNodeID]byte
	id := f.appendNodeID(room[:0], p.number, d.Addr)
	if frameHeader+len(id)+len(d.Data) > f.options.MTU {
		return deviceTooLarge, false
	}
	local := d.Local
	if d.Multicast { // it can be answered, but not from there
		local = transports.Addr{}
	}
	p.heard.note(d.Addr, local)
	if why, ok := f.uplink.queue.put(id, d.Data); !ok {
		return why, false
	}
	if packet, err := p.decoder.Decode(d.Data); err == nil && asks(packet) {
		f.uplink.health.ask()
	}
	return 0, true
}

// fromGateway sends one datagram of the gateway on to the devices.
func (f *Forwarder) fromGateway(datagram []byte) {
	packet, err := f.decoder.Decode(datagram)
	if err != nil {
		f.drop(faultOf(err), nil, transports.Addr{}, len(datagram))
		return
	}
	switch e := packet.(type) {
	case *mqttsn.Encapsulated:
		f.uplink.health.answer()
		f.toNode(e)
	case *mqttsn.Advertise, *mqttsn.GWInfo:
		f.toAll(datagram)
	default:
		f.drop(gatewayPlain, nil, transports.Addr{}, len(datagram))
	}
}

func faultOf(err error) reason {
	var fault *mqttsn.DecodeError
	if errors.As(err, &fault) && fault.Reason == mqttsn.ReasonNested {
		return gatewayNested
	}
	return gatewayMalformed
}

// toAll sends what the gateway has for everybody to all links that can reach everybody,
// as far as they are set to.
func (f *Forwarder) toAll(packet []byte) {
	reached := false
	for _, p := range f.ports {
		if b, can := p.link.(transports.Broadcaster); can {
			f.broadcast(p, b, 0, packet)
			reached = true
		}
	}
	if !reached {
		f.drop(gatewayPlain, nil, transports.Addr{}, len(packet))
	}
}

// toNode opens a frame. Radius 0 is for the node alone, any other for all who are that
// near to it [SN-5.5].
func (f *Forwarder) toNode(e *mqttsn.Encapsulated) {
	p, addr, ok := f.node(e.NodeID)
	if !ok {
		f.drop(gatewayUnknownNode, nil, transports.Addr{}, len(e.Packet))
		return
	}
	if b, can := p.link.(transports.Broadcaster); e.Radius > 0 && can {
		f.broadcast(p, b, e.Radius, e.Packet)
		if _, _, isIP := addr.AddrPort(); !isIP {
			return
		}
		// On IP a broadcast reaches who has joined a group, if there is one; who asked
		// may have done so without.
	}
	f.send(p, addr, e.Packet)
}

// send sends a packet to one device.
func (f *Forwarder) send(p *port, addr transports.Addr, packet []byte) {
	if len(packet) > p.link.MTU() {
		f.drop(gatewayTooLarge, p, addr, len(packet))
		return
	}
	local, _ := p.heard.local(addr)
	sent, err := p.link.Send([]transports.Datagram{{Addr: addr, Local: local, Data: packet}})
	switch {
	case sent == 1:
		f.counts.toDevices.Add(1)
	case errors.Is(err, transports.ErrBusy):
		f.drop(linkBusy, p, addr, len(packet))
	default:
		f.drop(linkFailed, p, addr, len(packet))
	}
}

// broadcast sends a packet to all devices of a link.
func (f *Forwarder) broadcast(p *port, b transports.Broadcaster, radius uint8, packet []byte) {
	if len(packet) > p.link.MTU() {
		f.drop(gatewayTooLarge, p, transports.Addr{}, len(packet))
		return
	}
	switch err := b.Broadcast(transports.Addr{}, radius, packet); {
	case err == nil:
		f.counts.broadcasts.Add(1)
	case errors.Is(err, transports.ErrNobody): // who asked is answered by itself
	case errors.Is(err, transports.ErrBusy):
		f.drop(linkBusy, p, transports.Addr{}, len(packet))
	default:
		f.drop(linkFailed, p, transports.Addr{}, len(packet))
	}
}
