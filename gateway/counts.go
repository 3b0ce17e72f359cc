package gateway

import (
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
)

// reason says why the shell dropped something. The sessions have reasons of their own.
type reason int

const (
	malformed            reason = iota // not an MQTT-SN packet
	forwarderRefused                   // the frame of a forwarder that is not listed
	forwarderRate                      // a packet of a forwarder beyond its rate
	forwarderClients                   // a client beyond those that one forwarder may have
	identityRefused                    // a ClientID that is not that of the identity proven
	userRefused                        // a client that came by the listener of another user
	connectRate                        // a new client beyond connect_rate
	connectRatePerPrefix               // a new client beyond those that may come from one network
	evicted                            // a client that said nothing after CONNECT made room for another
	publishRate                        // a PUBLISH beyond what one client may publish
	unknownPeer                        // no session at that peer, or none alive
	maxClients                         // a new client beyond max_clients
	shuttingDown                       // a CONNECT or QoS -1 without a session while the gateway ends
	roamingRefused                     // a client at a new address, against the roaming policy
	linkBusy                           // the link could not take a datagram
	minusOneOff                        // QoS -1 without a session, switched off
	minusOneTopic                      // QoS -1 to a topic that is not known or not allowed
	minusOneDenied                     // QoS -1 to a topic that its sender may not publish to
	minusOneRate                       // QoS -1 beyond the rate
	minusOneBroker                     // QoS -1 while the broker cannot be reached
	inboxFull                          // a QoS 0 message of the broker that came too fast
	storeSlow                          // a packet beyond those that may wait for the store
	storeCrowded                       // a new client while the store is about to be full
	qos0Broker                         // a QoS 0 message of a client that the broker could not take
	notReady                           // SEARCHGW while the broker side cannot serve
	searchedTooOften                   // SEARCHGW of a peer that asks too often
	otherGateway                       // ADVERTISE or GWINFO, perhaps our own
	reasons
)

var reasonNames = [reasons]string{
	"malformed", "forwarder_refused", "forwarder_rate", "forwarder_clients", "identity_refused", "user_refused",
	"connect_rate", "connect_rate_per_prefix", "evicted", "publish_rate", "unknown_peer", "max_clients", "shutting_down", "roaming_refused",
	"link_busy", "qos_minus_one_off", "qos_minus_one_topic", "qos_minus_one_denied", "qos_minus_one_rate", "qos_minus_one_broker", "inbox_full",
	"store_slow", "store_crowded", "qos0_broker", "not_ready", "search_rate", "other_gateway",
}

// typeSlots is one slot per message type of the specification's table 3 up to
// WILLMSGRESP, and a last one for all else.
const typeSlots = 0x1E + 1

func slot(t mqttsn.Type) int { return min(int(t), typeSlots-1) }

// counts is what one owner counts: a shard, or the intake of a link.
type counts struct {
	received        [typeSlots]uint64
	sent            [typeSlots]uint64
	dropped         [reasons]uint64
	sessionDropped  [session.Reasons]uint64
	retransmissions uint64
	takeovers       uint64
	unproven        uint64
	probes          uint64
	messages        Messages
}

func (c *counts) add(o *counts) {
	for i := range c.received {
		c.received[i] += o.received[i]
		c.sent[i] += o.sent[i]
	}
	for i := range c.dropped {
		c.dropped[i] += o.dropped[i]
	}
	for i := range c.sessionDropped {
		c.sessionDropped[i] += o.sessionDropped[i]
	}
	c.retransmissions += o.retransmissions
	c.takeovers += o.takeovers
	c.unproven += o.unproven
	c.probes += o.probes
	c.messages.Received += o.messages.Received
	c.messages.Delivered += o.messages.Delivered
	c.messages.Returned += o.messages.Returned
	c.messages.Dropped += o.messages.Dropped
}
