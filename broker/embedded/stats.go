package embedded

import (
	"sync/atomic"

	"mqttsn-gateway/broker"
)

// reason says why a message went no further.
type reason byte

const (
	noReason     reason = iota
	noRoom              // not now, but later: nothing is dropped
	queueFull           // QoS 1 or 2, and the client's queue is full
	clientAway          // QoS 0, and the client is not connected
	slowClient          // QoS 0, and the client does not read what it is sent
	tooLarge            // for the client's maximum packet size
	expired             // before it could be sent
	sessionEnded        // while it waited
	badTopic            // of a publish
	notAllowed          // to publish there
	retainedFull        // too many retained messages: passed on, but not retained
	reasons
)

var reasonNames = [reasons]string{
	queueFull:    "queue_full",
	clientAway:   "client_away",
	slowClient:   "slow_client",
	tooLarge:     "packet_too_large",
	expired:      "expired",
	sessionEnded: "session_ended",
	badTopic:     "invalid_topic",
	notAllowed:   "not_authorized",
	retainedFull: "retained_full",
}

// counters is what the broker counts all the time.
type counters struct {
	received    [3]atomic.Uint64
	sent        [3]atomic.Uint64
	dropped     [reasons]atomic.Uint64
	queued      atomic.Int64
	packetsIn   atomic.Uint64
	packetsOut  atomic.Uint64
	connections atomic.Int64
	refused     atomic.Uint64
	devices     atomic.Int64
	sessions    atomic.Int64
}

func (c *counters) drop(why reason) { c.dropped[why].Add(1) }

// refuse counts a publish that was not taken.
func (c *counters) refuse(code broker.Code) {
	switch code {
	case broker.CodeNotAuthorized:
		c.drop(notAllowed)
	case broker.CodePacketTooLarge:
		c.drop(tooLarge)
	default:
		c.drop(badTopic)
	}
}

// Stats is what a broker has counted since it was made, and what it holds now.
type Stats struct {
	// Connections is how many MQTT clients are connected, Devices how many devices.
	Connections, Devices int
	// Refused counts connections closed for want of room: max_connections.
	Refused uint64
	// Sessions counts those of clients that are away as well.
	Sessions, Subscriptions int
	// RetainedMessages and RetainedBytes (topics and payloads) are kept.
	RetainedMessages, RetainedBytes int
	// QueuedMessages with QoS 1 and 2 wait for a client or its acknowledgement.
	QueuedMessages int
	// Received and Sent count messages by QoS: taken from publishers, devices included,
	// and handed to subscribers. What is sent again is not counted again.
	Received, Sent [3]uint64
	// PacketsReceived and PacketsSent count MQTT packets of all types.
	PacketsReceived, PacketsSent uint64
	// Dropped counts messages that did not reach a subscriber, by reason:
	// queue_full, client_away (QoS 0), slow_client (QoS 0), packet_too_large, expired,
	// session_ended; and those not taken from a publisher: invalid_topic,
	// not_authorized; and those passed on but not retained: retained_full.
	Dropped map[string]uint64
}

// Stats takes a snapshot. It may be called at any time and does not visit sessions.
func (b *Broker) Stats() Stats {
	c := &b.stats
	st := Stats{
		Connections:     int(c.connections.Load()),
		Devices:         int(c.devices.Load()),
		Refused:         c.refused.Load(),
		Sessions:        int(c.sessions.Load()),
		QueuedMessages:  int(c.queued.Load()),
		PacketsReceived: c.packetsIn.Load(),
		PacketsSent:     c.packetsOut.Load(),
		Dropped:         make(map[string]uint64),
	}
	for i := range st.Received {
		st.Received[i] = c.received[i].Load()
		st.Sent[i] = c.sent[i].Load()
	}
	for why, name := range reasonNames {
		if name != "" {
			st.Dropped[name] = c.dropped[why].Load()
		}
	}
	st.RetainedMessages, st.RetainedBytes = b.retained.stats()
	st.Subscriptions, _ = b.topics.stats()
	return st
}
