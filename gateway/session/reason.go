package session

// Reason says why a packet of the client or a message of the broker came to nothing.
type Reason byte

// The reasons to drop a packet of the client.
const (
	// NotConnected: the client has no connection, or has not finished connecting.
	NotConnected Reason = iota
	// Unexpected: the packet has no meaning in this state, or only gateways send it.
	Unexpected
	// UnknownTopic: a PUBLISH or SUBSCRIBE with a topic id that nobody gave.
	UnknownTopic
	// InvalidTopic: a topic name or filter that MQTT does not allow, or a reserved
	// topic id type or QoS.
	InvalidTopic
	// Congestion: more at a time than the limits allow.
	Congestion
	// RefusedByBroker: the broker refused what the client asked for.
	RefusedByBroker
	// Repeated: a copy of something that is done or being done.
	Repeated
	// NotAuthorized: the client may not publish to the topic, or subscribe to the filter,
	// or have the will.
	NotAuthorized
	// Revoked: the connection of a client that may have none any more.
	Revoked

	// The reasons to drop a message of the broker follow.

	// QueueFull: a message that found no room in the queue. The broker is told.
	QueueFull
	// QoS0Overflow: a QoS 0 message that made room for another.
	QoS0Overflow
	// TooLarge: topic or payload do not fit into a packet to this client [SN-6.10].
	TooLarge
	// TopicTableFull: a topic for which there is no topic id left.
	TopicTableFull
	// RefusedByClient: the client answered the message or its topic with a return code.
	RefusedByClient
	// Unregistrable: the client does not answer REGISTER.
	Unregistrable
	// Disconnection: a QoS 0 message that waited for a client that left.
	Disconnection
	// Cleared: a message of a session that the client ended with a clean CONNECT.
	Cleared
	// Expired: a message whose time was over before the client could be sent it.
	Expired
	// Redelivered: a message that the broker brought again and that is in hand.
	Redelivered
	// Withheld: a message of a topic that the client may not receive. The broker is told.
	Withheld
	// Unproven: a QoS 0 message to an address that could not be proven [Options.MaxAmplification].
	Unproven

	// Reasons is how many reasons there are.
	Reasons = int(iota)
)

var reasonNames = [Reasons]string{
	"not_connected", "unexpected_packet", "unknown_topic", "invalid_topic", "congestion", "refused_by_broker", "repeated", "not_authorized", "revoked",
	"queue_full", "qos0_overflow", "too_large", "topic_table_full", "refused_by_client", "unregistrable", "disconnection",
	"cleared", "expired", "redelivered", "withheld", "unproven",
}

// String is the reason's name in metrics, such as "queue_full".
func (r Reason) String() string { return reasonNames[r] }

// OfMessage reports whether the reason concerns a message of the broker. Of these:
// messages received = delivered + returned + queued + dropped.
func (r Reason) OfMessage() bool { return r >= QueueFull }
