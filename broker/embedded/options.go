package embedded

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"mqttsn-gateway/broker/auth"
)

// Options are the settings of the embedded broker. Names are Mosquitto's where it has
// the same setting.
type Options struct {
	// Listeners are where MQTT clients can connect. Default: one, at 127.0.0.1:1883,
	// which only programs on this machine can reach. The flag --mqtt ADDR replaces the
	// list. An empty list lets no MQTT client in; devices are served all the same.
	Listeners []ListenerOptions `mapstructure:"listeners"`

	// MaxConnections is how many MQTT clients may be connected at a time, 1 to 1000000;
	// devices do not count. Default 20000. A client beyond it is refused with "quota
	// exceeded". Each costs up to 8 KiB, and a file descriptor of the process.
	MaxConnections int `mapstructure:"max_connections"`

	// MaxConnectionsPerAddress is how many connections one address may have, 0 (as many
	// as there are) to 1000000; of IPv6 a network of 64 bits counts as one, and unix
	// sockets do not count. Default 0, since all clients behind a NAT or a proxy have one
	// address. A connection beyond it is closed at once.
	MaxConnectionsPerAddress int `mapstructure:"max_connections_per_address"`

	// MaxPendingConnections is how many connections may be open on top of MaxConnections
	// that have not sent their CONNECT, 1 to 1000000. Default 1000. If there are more,
	// the oldest one is closed. Each costs some 4 KiB, up to 128 KiB if it has sent part
	// of a CONNECT, and a file descriptor.
	MaxPendingConnections int `mapstructure:"max_pending_connections"`

	// ConnectTimeout is how long a new connection may take to send its CONNECT, 100ms
	// to 1h. Default 10s. More lets connections that say nothing stay longer.
	ConnectTimeout time.Duration `mapstructure:"connect_timeout"`

	// ConnectRate is how many connections are let in within a second, 0 (any number) to
	// 1000000; twice as many may come at once. Default 1000. Others wait until it is
	// their turn. More lets a storm of connections slow down the clients that are there.
	ConnectRate int `mapstructure:"connect_rate"`

	// ConnectRatePerAddress is the same for one address, as MaxConnectionsPerAddress
	// understands it, 0 (any number) to 1000000. Default 0. Others are closed at once,
	// and do not count for ConnectRate. The last 4096 addresses are remembered.
	ConnectRatePerAddress int `mapstructure:"connect_rate_per_address"`

	// MaxPacketRate is how many packets within a second one client may send, 0 (any
	// number) to 1000000; as many may come at once. Default 0. Acknowledgements do not
	// count. A client beyond it is read more slowly, so that it has to wait.
	MaxPacketRate int `mapstructure:"max_packet_rate"`

	// MaxSessions is how many sessions the broker keeps, those of devices and of
	// clients that are away included, 1 to 100000000. Default 1000000. A new client
	// beyond it is refused with "quota exceeded". Each costs some 300 octets, its
	// subscriptions and its queue.
	MaxSessions int `mapstructure:"max_sessions"`

	// SessionExpiryMax is how long a session is kept for a client that is away, 0
	// (without end) or 1s to 87600h. Default 168h. MQTT 5 clients may ask for less;
	// sessions of devices and of older clients are kept for this time. More costs memory
	// for clients that never come back.
	SessionExpiryMax time.Duration `mapstructure:"session_expiry_max"`

	// AllowZeroLengthClientID lets in MQTT clients without a client id, which get one for
	// the connection; MQTT 5 clients are told which. Default true.
	AllowZeroLengthClientID bool `mapstructure:"allow_zero_length_clientid"`

	// AutoIDPrefix is what such a client id starts with, 0 to 64 octets of UTF-8 text.
	// Default "auto-". The rest is random.
	AutoIDPrefix string `mapstructure:"auto_id_prefix"`

	// MaxKeepalive is the longest keep alive of an MQTT client, 0 (any, and none) or 1s to
	// 65535s, whole seconds. Default 0s. MQTT 5 clients that want a longer one, or none,
	// are told to use this one; older clients are refused with "identifier rejected", as
	// Mosquitto does it. Less has clients send a ping more often.
	MaxKeepalive time.Duration `mapstructure:"max_keepalive"`

	// MaxPacketSize is the largest packet taken from a client, in octets, 1024 to
	// 268435460. Default 1048576. A client that sends a larger one is disconnected. More
	// costs that much memory for each client that really sends it, and for each message
	// of that size that is retained or queued.
	MaxPacketSize int `mapstructure:"max_packet_size"`

	// MaxIncomingBytesTotal is how many octets are held for packets that have not come to
	// their end, of all clients together, 0 (no limit) or 1048576 to 1099511627776. Default
	// 268435456. Packets of up to 16 KiB do not count. If there are more, the client whose
	// packet was begun first is disconnected with "quota exceeded". More lets more clients
	// send large packets slowly.
	MaxIncomingBytesTotal int `mapstructure:"max_incoming_bytes_total"`

	// MaxTopicLevels is how many levels a topic or filter may have, 1 to 1000. Default
	// 200. More costs time to match, not memory.
	MaxTopicLevels int `mapstructure:"max_topic_levels"`

	// MaxSubscriptions is how many subscriptions one client may have, 1 to 1000000.
	// Default 10000. Further ones are refused with "quota exceeded", and who has more than
	// that in one packet, and more than 1000, is disconnected. Each costs some 250 octets and its filter.
	MaxSubscriptions int `mapstructure:"max_subscriptions"`

	// MaxSharedSubscriptions is how many of them may be shared ones, 1 to 1000000. Default
	// 100. Further ones are refused as well. With more, one client can have each message
	// sent to it many times over: once by each share name.
	MaxSharedSubscriptions int `mapstructure:"max_shared_subscriptions"`

	// MaxSubscriptionBytes is how many octets the subscriptions of one client may cost, 1024
	// to 1073741824. Default 16777216. One counts its filter and 256, and with wildcards 96
	// for each level of the filter. Further ones are refused as well. More lets a client
	// take that much memory.
	MaxSubscriptionBytes int `mapstructure:"max_subscription_bytes"`

	// MaxSessionBytesTotal is how many octets all sessions may cost together besides their
	// queues, 0 (no limit) or 1048576 to 1099511627776. Default 536870912. It counts client
	// ids, subscriptions as above, wills, identifiers of QoS 2 messages that were not
	// released, and topics of topic aliases. What would be beyond it is refused with "quota
	// exceeded": subscriptions, new clients and those with a will, QoS 2 messages. More
	// lets more clients have a session, and costs that much memory.
	MaxSessionBytesTotal int `mapstructure:"max_session_bytes_total"`

	// MaxQoS is the highest QoS with which MQTT clients may publish and subscribe, 0 to 2.
	// Default 2. A client that publishes above it is disconnected, MQTT 5 clients with "QoS
	// not supported"; subscriptions are granted with it at most.
	MaxQoS int `mapstructure:"max_qos"`

	// UpgradeOutgoingQoS sends all messages with the QoS that the subscription was granted,
	// even if they were published with a lower one. Default false, as the specification
	// says [MQTT-3.8.4-8].
	UpgradeOutgoingQoS bool `mapstructure:"upgrade_outgoing_qos"`

	// ReceiveMaximum is how many messages with QoS 1 and 2 an MQTT 5 client may send before
	// the first is acknowledged, 1 to 65535. Default 1000, with which a client half a second
	// away can send 2000 a second. One that exceeds it is disconnected with "receive maximum
	// exceeded". Older versions have no such limit but the number of their packet
	// identifiers. More costs memory for QoS 2 only, up to 24 KiB for a client that uses
	// all 65535.
	ReceiveMaximum int `mapstructure:"receive_maximum"`

	// MaxTopicAlias is the highest topic alias that an MQTT 5 client may use for topics
	// that it publishes to, 0 (none) to 65535. Default 10. Each that is used costs some 50
	// octets and its topic; the topics of one client are bounded by max_queued_bytes.
	MaxTopicAlias int `mapstructure:"max_topic_alias"`

	// MaxTopicAliasBroker is how many topics the broker gives an alias to for an MQTT 5
	// client that allows it, 0 to 65535. Default 10. The first topics that the client gets
	// on a connection have one, others are sent in full. The cost is the same.
	MaxTopicAliasBroker int `mapstructure:"max_topic_alias_broker"`

	// MaxInflightMessages is how many messages with QoS 1 and 2 are sent to an MQTT
	// client before it has acknowledged the first, 1 to 65535. Default 20. A client's
	// own receive maximum is obeyed if it is lower. 1 keeps strict order even when
	// messages are sent again.
	MaxInflightMessages int `mapstructure:"max_inflight_messages"`

	// MaxInflightBytes is how many octets of topics, payloads and properties with QoS 1 and 2
	// are in flight to a client: another message is sent only below it, 0 (no limit) to
	// 1073741824. Default 0. Less makes large messages wait for each other.
	MaxInflightBytes int `mapstructure:"max_inflight_bytes"`

	// DeviceInflight is how many messages with QoS 1 and 2 are handed to the gateway for an
	// MQTT-SN client before the first is acknowledged, 1 to 65535. Default 16. More lets
	// more of them wait in the gateway, where max_queued_messages does not count them.
	DeviceInflight int `mapstructure:"device_inflight"`

	// MaxQueuedMessages is how many messages with QoS 1 and 2 wait for one client above
	// those in flight, 1 to 10000000. Default 1000. A message that finds the queue full
	// is dropped for that client, counted as queue_full and logged: its publisher was or
	// will be told that the broker has it. Each costs some 100 octets; payloads are shared
	// between the clients that wait for the same message.
	MaxQueuedMessages int `mapstructure:"max_queued_messages"`

	// MaxQueuedBytes is how many octets of topics, payloads and properties wait for one client
	// above those in flight, 1024 to 1073741824; an empty queue takes a message of any size.
	// Default 1048576. The octets that a connection could not send yet are bounded by
	// the same number: beyond it QoS 0 messages for a client that does not read are
	// dropped and counted as slow_client.
	MaxQueuedBytes int `mapstructure:"max_queued_bytes"`

	// MaxQueuedBytesTotal is how many octets wait for all clients together, 0 (no limit)
	// or 1048576 to 1099511627776. Default 268435456. It counts memory: a message with
	// QoS 1 or 2 once and some 128 octets, in flight or not and for however many clients,
	// 32 octets for each of them, and what connections could not send yet. Beyond nine
	// tenths nothing more is queued for clients that do not keep up, beyond all of it for
	// nobody: that is counted as broker_full and logged, and publishers that can be told,
	// MQTT 5 clients and devices, are refused with "quota exceeded". The process needs
	// up to twice as much. More lets many sleeping clients have longer queues.
	MaxQueuedBytesTotal int `mapstructure:"max_queued_bytes_total"`

	// QueueQoS0Messages queues messages with QoS 0, too, for clients that are away and have
	// a session, and for those that still have to get what was queued meanwhile. Default
	// false: then they are dropped and counted as client_away. They count for the limits of
	// the queue.
	QueueQoS0Messages bool `mapstructure:"queue_qos0_messages"`

	// MaxRetainedMessages is how many retained messages are kept, 0 to 100000000.
	// Default 100000. Beyond it no further topic gets one: QoS 1 and 2 are refused with
	// "quota exceeded", QoS 0 is passed on but not retained. 0 turns retaining off. Each
	// costs some 400 octets and its topic, payload and properties.
	MaxRetainedMessages int `mapstructure:"max_retained_messages"`

	// MaxRetainedBytes is how many octets of topics, payloads and properties are retained at
	// most, 0 to 1099511627776; each level of a topic counts as 64 more. Default 268435456.
	// More costs that much memory.
	MaxRetainedBytes int `mapstructure:"max_retained_bytes"`

	// SysInterval is how often the topics below $SYS are brought up to date while
	// somebody subscribes to them, 0 (there are none) or 1s to 24h. Default 10s.
	SysInterval time.Duration `mapstructure:"sys_interval"`

	// Access says which MQTT clients may connect and what they may do. Default nil:
	// everybody may do everything. Devices are asked elsewhere, but for what they have left
	// here: their wills, and what they have retained.
	Access *auth.Guard `mapstructure:"-"`

	// ReservedClientID is a client id that no MQTT client may use, since the gateway itself
	// does. Default "", none.
	ReservedClientID string `mapstructure:"-"`
}

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		Listeners:               []ListenerOptions{DefaultListenerOptions()},
		MaxConnections:          20_000,
		MaxPendingConnections:   1000,
		ConnectTimeout:          10 * time.Second,
		ConnectRate:             1000,
		MaxSessions:             1_000_000,
		SessionExpiryMax:        7 * 24 * time.Hour,
		AllowZeroLengthClientID: true,
		AutoIDPrefix:            "auto-",
		MaxPacketSize:           1 << 20,
		MaxIncomingBytesTotal:   256 << 20,
		MaxTopicLevels:          200,
		MaxSubscriptions:        10_000,
		MaxSharedSubscriptions:  100,
		MaxSubscriptionBytes:    16 << 20,
		MaxSessionBytesTotal:    512 << 20,
		MaxQoS:                  2,
		ReceiveMaximum:          1000,
		MaxTopicAlias:           10,
		MaxTopicAliasBroker:     10,
		MaxInflightMessages:     20,
		DeviceInflight:          16,
		MaxQueuedMessages:       1000,
		MaxQueuedBytes:          1 << 20,
		MaxQueuedBytesTotal:     256 << 20,
		MaxRetainedMessages:     100_000,
		MaxRetainedBytes:        256 << 20,
		SysInterval:             10 * time.Second,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no port is tried.
func (o Options) Validate() error {
	for i, l := range o.Listeners {
		if err := l.Validate(); err != nil {
			return fmt.Errorf("listeners.%d.%w", i, err)
		}
	}
	for _, r := range []struct {
		key             string
		value, min, max int
	}{
		{"max_connections", o.MaxConnections, 1, 1_000_000},
		{"max_connections_per_address", o.MaxConnectionsPerAddress, 0, 1_000_000},
		{"max_pending_connections", o.MaxPendingConnections, 1, 1_000_000},
		{"connect_rate", o.ConnectRate, 0, 1_000_000},
		{"connect_rate_per_address", o.ConnectRatePerAddress, 0, 1_000_000},
		{"max_packet_rate", o.MaxPacketRate, 0, 1_000_000},
		{"max_sessions", o.MaxSessions, 1, 100_000_000},
		{"max_packet_size", o.MaxPacketSize, 1024, 268_435_460},
		{"max_topic_levels", o.MaxTopicLevels, 1, 1000},
		{"max_subscriptions", o.MaxSubscriptions, 1, 1_000_000},
		{"max_qos", o.MaxQoS, 0, 2},
		{"receive_maximum", o.ReceiveMaximum, 1, 65535},
		{"max_topic_alias", o.MaxTopicAlias, 0, 65535},
		{"max_topic_alias_broker", o.MaxTopicAliasBroker, 0, 65535},
		{"max_shared_subscriptions", o.MaxSharedSubscriptions, 1, 1_000_000},
		{"max_subscription_bytes", o.MaxSubscriptionBytes, 1024, 1 << 30},
		{"max_inflight_messages", o.MaxInflightMessages, 1, 65535},
		{"max_inflight_bytes", o.MaxInflightBytes, 0, 1 << 30},
		{"device_inflight", o.DeviceInflight, 1, 65535},
		{"max_queued_messages", o.MaxQueuedMessages, 1, 10_000_000},
		{"max_queued_bytes", o.MaxQueuedBytes, 1024, 1 << 30},
		{"max_retained_messages", o.MaxRetainedMessages, 0, 100_000_000},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %d is out of range: %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	if n := int64(o.MaxRetainedBytes); n < 0 || n > 1<<40 {
		return fmt.Errorf("max_retained_bytes: %d is out of range: 0 to %d", n, int64(1)<<40)
	}
	if n := int64(o.MaxQueuedBytesTotal); n != 0 && (n < 1<<20 || n > 1<<40) {
		return fmt.Errorf("max_queued_bytes_total: %d is out of range: 0 (no limit) or %d to %d", n, 1<<20, int64(1)<<40)
	}
	if n := int64(o.MaxIncomingBytesTotal); n != 0 && (n < 1<<20 || n > 1<<40) {
		return fmt.Errorf("max_incoming_bytes_total: %d is out of range: 0 (no limit) or %d to %d", n, 1<<20, int64(1)<<40)
	}
	if n := int64(o.MaxSessionBytesTotal); n != 0 && (n < 1<<20 || n > 1<<40) {
		return fmt.Errorf("max_session_bytes_total: %d is out of range: 0 (no limit) or %d to %d", n, 1<<20, int64(1)<<40)
	}
	if !utf8.ValidString(o.AutoIDPrefix) || strings.ContainsRune(o.AutoIDPrefix, 0) || len(o.AutoIDPrefix) > 64 {
		return fmt.Errorf("auto_id_prefix: %q is not allowed: write 0 to 64 octets of UTF-8 text", o.AutoIDPrefix)
	}
	return o.validateTimes()
}

func (o Options) validateTimes() error {
	for _, r := range []struct {
		key             string
		value, min, max time.Duration
		zero            string // what 0 means, if it is allowed
	}{
		{"connect_timeout", o.ConnectTimeout, 100 * time.Millisecond, time.Hour, ""},
		{"session_expiry_max", o.SessionExpiryMax, time.Second, 87600 * time.Hour, "0 (without end) or "},
		{"max_keepalive", o.MaxKeepalive, time.Second, 65535 * time.Second, "0 (any) or "},
		{"sys_interval", o.SysInterval, time.Second, 24 * time.Hour, "0 (no $SYS topics) or "},
	} {
		if r.zero != "" && r.value == 0 {
			continue
		}
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %v is out of range: %s%v to %v", r.key, r.value, r.zero, r.min, r.max)
		}
	}
	if o.MaxKeepalive%time.Second != 0 {
		return fmt.Errorf("max_keepalive: %v is not allowed: whole seconds are", o.MaxKeepalive)
	}
	return nil
}
