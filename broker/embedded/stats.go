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
	brokerFull          // all queues and outputs together are too large
	clientAway          // QoS 0, and the client is not connected
	slowClient          // QoS 0, and the client does not read what it is sent
	tooLarge            // for the client's maximum packet size
	expired             // before it could be sent
	sessionEnded        // while it waited
	badTopic            // of a publish
	notAllowed          // to publish there
	outsideMount        // QoS 0 to 2, and the client's listener does not show it
	retainedFull        // too many retained messages: passed on, but not retained
	storeFull           // the store has no room: not taken from a publisher, or not retained, or not queued
	unreadable          // its receiver has no right to get it
	reasons
)

var reasonNames = [reasons]string{
	queueFull:    "queue_full",
	brokerFull:   "broker_full",
	clientAway:   "client_away",
	slowClient:   "slow_client",
	tooLarge:     "packet_too_large",
	expired:      "expired",
	sessionEnded: "session_ended",
	badTopic:     "invalid_topic",
	notAllowed:   "not_authorized",
	outsideMount: "outside_mount_point",
	retainedFull: "retained_full",
	storeFull:    "store_full",
	unreadable:   "receiver_not_authorized",
}

// counters is what the broker counts all the time, as [Stats] explains it.
type counters struct {
	received, sent           [3]atomic.Uint64
	receivedBytes, sentBytes atomic.Uint64
	dropped                  [reasons]atomic.Uint64
	queued, queuedBytes      atomic.Int64
	held                     atomic.Int64 // what the queues hold, see message.hold
	kept                     atomic.Int64 // what sessions cost, see max_session_bytes_total
	packetsIn, packetsOut    atomic.Uint64
	bytesIn, bytesOut        atomic.Uint64
	delayed, delayedBytes    atomic.Int64
	connections, devices     atomic.Int64
	accepted, connects       atomic.Uint64
	sessions                 atomic.Int64
	restored                 atomic.Uint64
	connected, most          atomic.Int64
	takeovers, expired       atomic.Uint64
	ends, refusedConnects    byCode
	handshakes               handshakes
}

func (c *counters) drop(why reason) { c.dropped[why].Add(1) }

// arrive counts a client that is connected. The caller holds the broker's lock.
func (c *counters) arrive() {
	if n := c.connected.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
}

// take counts a message that was taken from a publisher.
func (c *counters) take(p *publication) {
	c.received[p.QoS].Add(1)
	c.receivedBytes.Add(uint64(len(p.Payload)))
}

// intake is what a client's reader has counted and has not added to the counters yet: it
// does so once for all that has come together.
type intake struct {
	packets, octets int
	received        [3]uint32
	payload         int // octets
}

// addIntake adds what an intake has, and empties it.
func (c *counters) addIntake(i *intake) {
	count(&c.packetsIn, i.packets)
	count(&c.bytesIn, i.octets)
	for qos, n := range i.received {
		count(&c.received[qos], int(n))
	}
	count(&c.receivedBytes, i.payload)
	*i = intake{}
}

// tally is the same for what is sent: once for all receivers of a message, or for all
// acknowledgements that have come together.
type tally struct {
	sent        [3]uint32
	queued      int32
	queuedBytes int64 // one message may be for many
	held        int
	sentBytes   int64 // to devices; outputs count for themselves
}

// add adds what a tally has, and empties it.
func (c *counters) add(t *tally) {
	if *t == (tally{}) {
		return
	}
	for qos, n := range t.sent {
		count(&c.sent[qos], int(n))
	}
	if t.sentBytes > 0 {
		c.sentBytes.Add(uint64(t.sentBytes))
	}
	if t.queued != 0 || t.queuedBytes != 0 || t.held != 0 {
		c.queued.Add(int64(t.queued))
		c.queuedBytes.Add(t.queuedBytes)
		c.held.Add(int64(t.held))
	}
	*t = tally{}
}

// count leaves a counter alone that does not change: to add costs more than to look.
func count(c *atomic.Uint64, n int) {
	if n > 0 {
		c.Add(uint64(n))
	}
}

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

// Stats is what a broker has counted since it was made, and what it holds now. Devices
// are clients as well: they count wherever it says so or nothing else.
type Stats struct {
	// Connections is how many MQTT clients have a connection, with or without their
	// CONNECT, and Devices how many devices are connected.
	Connections, Devices int
	// Pending is how many connections have not sent their CONNECT yet.
	Pending int
	// Accepted counts connections of MQTT clients.
	Accepted uint64
	// Refused counts connections that were not let in or had to go, by the limit that
	// they have met with: max_connections, listener_max_connections,
	// max_connections_per_address, connect_rate_per_address, max_pending_connections,
	// connect_timeout,
	// max_incoming_bytes_total.
	Refused map[string]uint64
	// Slowed counts how often somebody had to wait: connections by connect_rate,
	// clients by max_packet_rate.
	Slowed map[string]uint64
	// Denied counts requests of clients that were refused, by the limit that they have met
	// with: max_subscriptions, max_shared_subscriptions and max_subscription_bytes refuse
	// subscriptions, max_session_bytes_total these, CONNECTs and QoS 2 messages, store new
	// sessions that are to survive a crash, while the store is crowded. acl_file are
	// subscriptions to what a client has no right to.
	Denied map[string]uint64
	// Connects counts the CONNECT packets that came, and the connects of devices.
	Connects uint64
	// RefusedConnects counts the CONNECTs of MQTT clients that were refused, and
	// Disconnects the other ends of their connections, by the reason code's name, such
	// as session_taken_over or keep_alive_timeout. If the client had sent DISCONNECT,
	// that is "disconnect", if the connection was just closed or broken,
	// "connection_lost", and before a CONNECT "no_connect". "store_full" is the end of a
	// client before MQTT 5 whose message was not taken. Of what is refused as not
	// authorized, "anonymous_not_allowed" is a client without a user name, and
	// "client_id_not_own" one whose client id has a session of somebody else's; devices
	// count there, too.
	RefusedConnects, Disconnects map[string]uint64
	// Handshakes counts connections that ended before MQTT was spoken, for a reason that
	// can be told: no_tls and unexpected_tls are clients without and with TLS at the wrong
	// listener, no_websocket and unexpected_http the same of WebSocket; no_subprotocol and
	// origin requests for WebSocket that do not ask for MQTT or come from a page that may
	// not; no_certificate, expired_certificate, unknown_authority and bad_certificate
	// what is wrong with a client's certificate; certificate_refused a client that does
	// not take ours; incompatible one with no version or cipher in common; failed others.
	Handshakes map[string]uint64
	// Connected is how many clients are connected to their session, devices included,
	// and MaxConnected how many there were at most.
	Connected, MaxConnected int
	// Takeovers counts connections that were ended because their client connected again.
	Takeovers uint64
	// Sessions is how many there are, those of clients that are away as well. Expired
	// counts those that have ended because their client stayed away for too long.
	Sessions int
	Expired  uint64
	// Restored counts the messages that were found in the store at the start, waiting for
	// their clients, each for each client, without those that may have been sent before.
	Restored uint64
	// SessionBytes is what sessions cost in memory, about, without their queues.
	// max_session_bytes_total bounds it.
	SessionBytes int
	// Subscriptions of all sessions, and how many among them are shared ones.
	Subscriptions, SharedSubscriptions int
	// RetainedMessages are kept, and RetainedBytes are their topics, payloads and properties:
	// what max_retained_bytes counts but for the levels of topics.
	RetainedMessages, RetainedBytes int
	// QueuedMessages with QoS 1 and 2 wait for a client or its acknowledgement, and
	// QueuedBytes are their topics, payloads and properties. A message counts for each
	// client.
	QueuedMessages, QueuedBytes int
	// HeldBytes is what all that waits costs in memory, about: queued messages, shared
	// ones once, and delayed packets. max_queued_bytes_total bounds it.
	HeldBytes int
	// Received and Sent count messages by QoS: taken from publishers, devices included,
	// and handed to subscribers. What is sent again is not counted again.
	Received, Sent [3]uint64
	// ReceivedBytes and SentBytes are the octets of the payloads of these messages, those
	// to MQTT clients as far as they were written.
	ReceivedBytes, SentBytes uint64
	// PacketsReceived and PacketsSent count MQTT packets of all types, BytesReceived and
	// BytesSent the octets of MQTT connections. Nothing of devices is among them.
	PacketsReceived, PacketsSent uint64
	BytesReceived, BytesSent     uint64
	// DelayedPackets and DelayedBytes are on their way to MQTT clients that do not take
	// them as fast as they come.
	DelayedPackets, DelayedBytes int
	// Dropped counts messages that did not reach a subscriber, by reason: queue_full,
	// client_away (QoS 0), slow_client (QoS 0), packet_too_large, expired, session_ended,
	// outside_mount_point, receiver_not_authorized; those not taken from a publisher: invalid_topic, not_authorized;
	// broker_full and store_full, which can be either; and those not retained: retained_full
	// and, with QoS 0, store_full, which are passed on all the same, unless their publisher
	// could be told.
	Dropped map[string]uint64
}

// Stats takes a snapshot. It may be called at any time and does not visit sessions.
func (b *Broker) Stats() Stats {
	c := &b.stats
	st := Stats{
		Connections:     int(c.connections.Load()),
		Devices:         int(c.devices.Load()),
		Accepted:        c.accepted.Load(),
		Connects:        c.connects.Load(),
		Connected:       int(c.connected.Load()),
		MaxConnected:    int(c.most.Load()),
		Takeovers:       c.takeovers.Load(),
		Sessions:        int(c.sessions.Load()),
		Expired:         c.expired.Load(),
		Restored:        c.restored.Load(),
		QueuedMessages:  int(c.queued.Load()),
		QueuedBytes:     int(c.queuedBytes.Load()),
		HeldBytes:       int(c.held.Load() + c.delayedBytes.Load()),
		ReceivedBytes:   c.receivedBytes.Load(),
		SentBytes:       c.sentBytes.Load(),
		PacketsReceived: c.packetsIn.Load(),
		PacketsSent:     c.packetsOut.Load(),
		BytesReceived:   c.bytesIn.Load(),
		BytesSent:       c.bytesOut.Load(),
		DelayedPackets:  int(c.delayed.Load()),
		DelayedBytes:    int(c.delayedBytes.Load()),
		Dropped:         make(map[string]uint64),
		RefusedConnects: c.refusedConnects.named(usualRefusals),
		Disconnects:     c.ends.named(usualEnds),
		Handshakes:      c.handshakes.named(),
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
	st.SessionBytes = int(c.kept.Load())
	st.Pending = b.clients.stats()
	st.Refused, st.Slowed, st.Denied = b.limited.stats()
	st.RetainedMessages, st.RetainedBytes = b.retained.stats()
	st.Subscriptions, st.SharedSubscriptions, _ = b.topics.stats()
	return st
}
