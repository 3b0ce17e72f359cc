package forward

import (
	"sync/atomic"
	"time"
)

// reason says why a packet went no further.
type reason int

const (
	deviceMalformed    reason = iota // not an MQTT-SN packet
	deviceNested                     // in a forwarder's frame already: it comes from another forwarder
	deviceOtherGateway               // an ADVERTISE or GWINFO heard on a link: another gateway's, or an echo of a broadcast
	deviceTooLarge                   // larger with its frame than mtu, or than the system sends
	deviceNoAddress                  // its link did not say where it comes from
	gatewayAway                      // there was no socket to the gateway
	queueFull                        // came faster than the system took it
	sendFailed                       // the system did not take it
	gatewayMalformed                 // not an MQTT-SN packet, or not one in the frame
	gatewayNested                    // a frame within a frame
	gatewayPlain                     // not in a frame, and nothing that is for everybody
	gatewayUnknownNode               // no device can have that wireless node id, or it is an IP address from which nothing came
	gatewayTooLarge                  // larger than the device's link carries
	linkBusy                         // the device's link had no room for it
	linkFailed                       // the device's link did not take it
	reasons
)

var reasonNames = [reasons]string{
	"device_malformed", "device_nested", "device_other_gateway", "device_too_large", "device_no_address",
	"gateway_away", "queue_full", "send_failed",
	"gateway_malformed", "gateway_nested", "gateway_plain", "gateway_unknown_node", "gateway_too_large",
	"link_busy", "link_failed",
}

// String is the name under which Stats.Dropped has the reason.
func (r reason) String() string { return reasonNames[r] }

// Stats is what a forwarder has counted since it was made.
type Stats struct {
	// Up says whether the gateway has answered a device since it was last lost. It is
	// lost when there is no way to its address, when nobody listens there, and when
	// several packets that want an answer have had none for 30 s.
	Up bool
	// Since is when Up became what it is.
	Since time.Time

	// ToGateway counts the packets that went to the gateway, as far as the system tells.
	ToGateway uint64
	// ToDevices counts the packets that a link took for one device.
	ToDevices uint64
	// Broadcasts counts the packets that a link took for all of its devices.
	Broadcasts uint64
	// Unreachable counts how often the network said that nobody listens at the gateway's
	// address, or that there is no way there.
	Unreachable uint64
	// Sockets counts the sockets that were opened to the gateway.
	Sockets uint64
	// Dropped counts the packets that went no further, by reason. Those that begin with
	// device_ came from devices and those that begin with gateway_ from the gateway,
	// apart from gateway_away.
	Dropped map[string]uint64
}

// counts is what Stats is made of.
type counts struct {
	toGateway, toDevices, broadcasts, unreachable, sockets atomic.Uint64

	dropped [reasons]atomic.Uint64
}

// Stats takes a snapshot.
func (f *Forwarder) Stats() Stats {
	c := &f.counts
	st := Stats{
		ToGateway:   c.toGateway.Load(),
		ToDevices:   c.toDevices.Load(),
		Broadcasts:  c.broadcasts.Load(),
		Unreachable: c.unreachable.Load(),
		Sockets:     c.sockets.Load(),
		Dropped:     make(map[string]uint64, reasons),
	}
	st.Up, st.Since = f.uplink.health.state()
	for r := range reasons {
		st.Dropped[r.String()] = c.dropped[r].Load()
	}
	return st
}
