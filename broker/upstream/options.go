package upstream

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// The values of Options.Mode.
const (
	Transparent = "transparent"
	Aggregating = "aggregating"
)

// Options are the settings of the way to a broker elsewhere.
type Options struct {
	// URL of the broker: mqtt://HOST, mqtts://HOST (TLS), ws://HOST/PATH (WebSocket) or
	// wss://HOST/PATH (both). After HOST may stand :PORT, which is 1883, 8883, 80 or 443 if it
	// is not given; PATH is then mqtt. The broker has to speak MQTT 5. Its certificate is
	// verified; ?insecure_skip_verify=true at the end of mqtts or wss turns that off, for tests:
	// anybody on the way can be the broker then. Several, separated by commas, are brokers that
	// can stand in for each other: all clients are connected with the first one that can be
	// reached, and stay there until it is lost; then the next one is tried. The flag
	// --broker URL, which may be repeated, sets it. No default.
	URL string `mapstructure:"url"`
	// Mode says who is a client of the broker: "transparent", every device, over a connection
	// of its own and under its own client id; or "aggregating", the gateway, over a few
	// connections for all devices, whose subscriptions, sessions and wills it then keeps
	// itself, in the state directory, which that needs. Aggregating spares the broker
	// connections; it cannot tell devices apart then. Shared subscriptions need transparent.
	// Default transparent.
	Mode string `mapstructure:"mode"`
	// Connections is how many connections aggregating mode has, 1 to 64. Messages of one
	// device go by one of them, so that they stay in order. After a change, what has not been
	// sent yet is sent by the old ones first. Default 4.
	Connections int `mapstructure:"connections"`
	// ClientID is what the client ids of these connections begin with, at most 200 octets.
	// Two gateways at one broker need different ones. Default: a random one, which is kept in
	// the state directory.
	ClientID string `mapstructure:"client_id"`
	// Username that connections present to the broker. In it ${clientid} stands for the
	// device's own client id, ${user} for its user and ${identity} for the identity that it has
	// proven; a device of which that is not known is refused. The gateway's own connections
	// present nothing then: see health_interval. Default none.
	Username string `mapstructure:"username"`
	// PasswordFile is a file with the password that goes with Username; one line break
	// at its end is ignored. Only its owner and group may have access to it, and only
	// the owner may write it. It is read at start and at each reload. Default none.
	PasswordFile string `mapstructure:"password_file"`
	// CredentialsFile has a line CLIENTID:USERNAME:PASSWORD for each device that presents
	// something of its own to the broker; \: and \\ are a colon and a backslash in the first two.
	// Devices without a line present the username and password that all share; if there is none
	// they are refused. At most 1000000 lines of 150 octets of memory each, 64 MB. Who
	// may access it, and when it is read: as with PasswordFile. Default none.
	CredentialsFile string `mapstructure:"credentials_file"`
	// CAFile has the certificates, in PEM form, of the authorities that a broker's certificate
	// may come from, instead of those that the system trusts. Default none.
	CAFile string `mapstructure:"ca_file"`
	// CertificateFile has the certificate (ECDSA or RSA) with its chain that is shown to a
	// broker that wants to see one, and KeyFile its key, as secret as PasswordFile. In both,
	// ${clientid} stands for the device's own client id: so each has its own, read for each
	// connection. A device whose files cannot be read is refused. Default none.
	CertificateFile string `mapstructure:"certificate_file"`
	KeyFile         string `mapstructure:"key_file"`
	// ServerName is the name that TLS asks for (SNI) and that the broker's certificate has to
	// have, if it is not the one in URL. Default: that.
	ServerName string `mapstructure:"server_name"`
	// ALPN is the protocol that TLS asks for, at most 255 octets: AWS IoT wants x-amzn-mqtt-ca
	// at port 443. Default none.
	ALPN string `mapstructure:"alpn"`
	// ClientIDPrefix is put before every ClientID to make the client id at the broker.
	// Two gateways at one broker that serve different devices with equal ClientIDs need
	// different prefixes; gateways between which devices roam need the same. Default
	// none. At most 128 octets.
	ClientIDPrefix string `mapstructure:"client_id_prefix"`
	// SessionExpiry is how long the broker keeps the session of a client that
	// connected with CleanSession=0 after its connection has ended; in whole seconds, 1s to 49710
	// days. It has to outlast a device's absence and an outage. Longer costs the broker
	// storage. Default 168h (7 days).
	SessionExpiry time.Duration `mapstructure:"session_expiry"`
	// CleanSessionExpiry is the same for clients that connected with CleanSession=1. It
	// counts only when the connection broke; a client that leaves takes its session with
	// it. It has to outlast an outage of the network between gateway and broker, after
	// which the client shall find its subscriptions and messages. Default 1h.
	CleanSessionExpiry time.Duration `mapstructure:"clean_session_expiry"`
	// ReceiveMaximum is how many QoS 1 and 2 messages per client the broker may send
	// before the device has acknowledged the first, 1 to 1000. The rest waits at the
	// broker. Each costs the gateway the message's size. Default 16.
	ReceiveMaximum int `mapstructure:"receive_maximum"`
	// MaxPacketSize is the largest packet taken from the broker, in octets, 1024 to
	// 16777216. The broker is told, and drops larger messages for our clients. The default
	// of 262144 holds every message that MQTT-SN can carry.
	MaxPacketSize int `mapstructure:"max_packet_size"`
	// KeepAlive is how long a connection to the broker may be silent before the gateway
	// sends a PINGREQ, in whole seconds, 1s to 18h. It has nothing to do with the
	// device's own keep alive. The broker may order a shorter one. Shorter finds a dead
	// path sooner and costs a packet each way per client. Default 60s.
	KeepAlive time.Duration `mapstructure:"keep_alive"`
	// ConnectTimeout is how long a client waits at most to be connected to the broker
	// before its CONNECT is refused with "congestion", 1s to 5m. A client retransmits
	// its CONNECT after T_retry (10 to 15 s), so about that is right. Default 10s.
	ConnectTimeout time.Duration `mapstructure:"connect_timeout"`
	// DialConcurrency is how many connections are being made at the same time, 1 to
	// 1000. More than a broker's backlog (100 in Mosquitto) makes connecting slower, not
	// faster. Default 64.
	DialConcurrency int `mapstructure:"dial_concurrency"`
	// ReconnectRate is how many lost connections per second are made again, 1 to 10000.
	// Clients that connect anew go first and are not counted. Default 200.
	ReconnectRate int `mapstructure:"reconnect_rate"`
	// ReconnectMin and ReconnectMax bound the time between two attempts to make one
	// client's connection again: a random time up to ReconnectMin, twice that after each
	// failure, never above ReconnectMax. 100ms to 1h. Default 1s and 60s.
	ReconnectMin time.Duration `mapstructure:"reconnect_min"`
	ReconnectMax time.Duration `mapstructure:"reconnect_max"`
	// OutageGrace is how long a connected client outlives its connection to the broker
	// before it is disconnected; 0 means for ever, until its own keep alive ends. What it
	// publishes meanwhile waits, up to MaxPending. Default 0.
	OutageGrace time.Duration `mapstructure:"outage_grace"`
	// MaxPending is how many requests per client (publish, subscribe, unsubscribe) wait
	// for the broker, 1 to 10000; more are refused with "congestion". Each costs the
	// gateway the message's size. Default 64.
	MaxPending int `mapstructure:"max_pending"`
	// WriteBuffer is how many octets per client wait to be written to the broker or to
	// be acknowledged by it, 4096 to 16777216; what does not fit is refused with
	// "congestion", but one message of any size always fits. Idle clients have no buffer. Default 262144.
	WriteBuffer int `mapstructure:"write_buffer"`
	// WillTimeout is how long the gateway tries to publish the will of a lost client
	// while the broker is away, 1s to 24h. Default 60s.
	WillTimeout time.Duration `mapstructure:"will_timeout"`
	// HealthInterval is how often the gateway asks the broker for a sign of life, over a
	// connection of its own, in whole seconds, 1s to 10m. An outage is noticed after at
	// most three times as long. If only devices have something to present to the broker, it
	// makes a connection that often instead, without CONNECT. Default 5s.
	HealthInterval time.Duration `mapstructure:"health_interval"`
	// Durability says when a QoS 1 or 2 message of a device is acknowledged: with "spool"
	// once it is in the store, from which it is sent to the broker, also while the broker is
	// away for a time or the device has gone; with "through" once the broker has it. Messages
	// from the broker follow the same rule. Spool needs --state, and writes each message to
	// the disk. Default empty: spool with --state, else through.
	Durability string `mapstructure:"durability"`
	// ConnectOffline says what becomes of a device's CONNECT while the broker is away:
	// "accept" lets it in, what it publishes is spooled; "refuse" tells it "congestion". With
	// durability through only refuse works. Default empty: accept with spool.
	ConnectOffline string `mapstructure:"connect_offline"`
	// MaxSpooledMessages is how many messages per client are spooled for the broker, 1 to
	// 1000000; more are refused with "congestion". Each costs 8 octets of memory. Default 100000.
	MaxSpooledMessages int `mapstructure:"max_spooled_messages"`
	// MaxMessageAge is how old a spooled message may be when its turn to be sent to the broker
	// comes, 1s to 8760h; older ones are dropped and counted. Default 0: of any age.
	MaxMessageAge time.Duration `mapstructure:"max_message_age"`
	// DrainRate is how many messages per second, of all clients together, are sent to the
	// broker of those that were spooled while it was away, 0 to 1000000; what is published
	// meanwhile by other clients does not wait for them. More empties the spool sooner, and
	// leaves the broker less time for others. Default 500; 0 is no limit.
	DrainRate int `mapstructure:"drain_rate"`
	// DeadLetters is how many messages that the broker has refused for good are kept in the
	// store for the operator to look at, 0 to 100000; the oldest make room. Default 1000.
	DeadLetters int `mapstructure:"dead_letters"`
	// MaxQueuedMessages is how many messages are spooled for a client that does not take
	// them, as asleep; the rest waits at the broker. 1 to 100000. Each costs 64 octets of
	// memory. Default 1000.
	MaxQueuedMessages int `mapstructure:"max_queued_messages"`
	// MaxQueuedBytes bounds the octets of their topics and payloads in the store, but one
	// message of any size always fits. 4096 to 1073741824. Default 262144.
	MaxQueuedBytes int `mapstructure:"max_queued_bytes"`
}

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		Mode:               Transparent,
		Connections:        4,
		SessionExpiry:      7 * 24 * time.Hour,
		CleanSessionExpiry: time.Hour,
		ReceiveMaximum:     16,
		MaxPacketSize:      256 << 10,
		KeepAlive:          time.Minute,
		ConnectTimeout:     10 * time.Second,
		DialConcurrency:    64,
		ReconnectRate:      200,
		ReconnectMin:       time.Second,
		ReconnectMax:       time.Minute,
		MaxPending:         64,
		WriteBuffer:        256 << 10,
		WillTimeout:        time.Minute,
		HealthInterval:     5 * time.Second,
		MaxSpooledMessages: 100000,
		DrainRate:          500,
		DeadLetters:        1000,
		MaxQueuedMessages:  1000,
		MaxQueuedBytes:     256 << 10,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. No file is opened, and nothing is dialled.
func (o Options) Validate() error {
	endpoints, err := o.endpoints()
	if err != nil {
		return err
	}
	if o.Mode != Transparent && o.Mode != Aggregating {
		return fmt.Errorf("mode: %q is not allowed: %s or %s", o.Mode, Transparent, Aggregating)
	}
	if len(o.ClientID) > 200 || !utf8.ValidString(o.ClientID) || strings.Contains(o.ClientID, "\x00") {
		return fmt.Errorf("client_id: %q is not allowed: at most 200 octets of UTF-8 without NUL", o.ClientID)
	}
	if len(o.ClientIDPrefix) > 128 {
		return fmt.Errorf("client_id_prefix: %d octets are not allowed: at most 128", len(o.ClientIDPrefix))
	}
	if err := o.validatePapers(overTLS(endpoints)); err != nil {
		return err
	}
	for _, n := range []struct {
		key             string
		value, min, max int
	}{
		{"connections", o.Connections, 1, 64},
		{"receive_maximum", o.ReceiveMaximum, 1, 1000},
		{"max_packet_size", o.MaxPacketSize, 1 << 10, 16 << 20},
		{"dial_concurrency", o.DialConcurrency, 1, 1000},
		{"reconnect_rate", o.ReconnectRate, 1, 10000},
		{"max_pending", o.MaxPending, 1, 10000},
		{"write_buffer", o.WriteBuffer, 4 << 10, 16 << 20},
		{"max_spooled_messages", o.MaxSpooledMessages, 1, 1000000},
		{"drain_rate", o.DrainRate, 0, 1000000},
		{"dead_letters", o.DeadLetters, 0, 100000},
		{"max_queued_messages", o.MaxQueuedMessages, 1, 100000},
		{"max_queued_bytes", o.MaxQueuedBytes, 4 << 10, 1 << 30},
	} {
		if n.value < n.min || n.value > n.max {
			return fmt.Errorf("%s: %d is not allowed: %d to %d", n.key, n.value, n.min, n.max)
		}
	}
	for _, w := range []struct {
		key, value string
		allowed    [2]string
	}{
		{"durability", o.Durability, [2]string{"spool", "through"}},
		{"connect_offline", o.ConnectOffline, [2]string{"accept", "refuse"}},
	} {
		if w.value != "" && w.value != w.allowed[0] && w.value != w.allowed[1] {
			return fmt.Errorf("%s: %q is not allowed: %s or %s", w.key, w.value, w.allowed[0], w.allowed[1])
		}
	}
	if o.Mode == Aggregating && o.Durability == "through" {
		return errors.New("durability: through does not go with mode aggregating: its connections cannot wait for the broker; leave it out")
	}
	if o.Mode == Aggregating && o.ConnectOffline == "refuse" {
		return errors.New("connect_offline: refuse does not go with mode aggregating: devices are connected with the gateway; leave it out")
	}
	if o.ConnectOffline == "accept" && o.Durability == "through" {
		return errors.New("connect_offline: accept is of no use with durability through")
	}
	const day = 24 * time.Hour
	if o.MaxMessageAge != 0 && (o.MaxMessageAge < time.Second || o.MaxMessageAge > 365*day) {
		return fmt.Errorf("max_message_age: %v is not allowed: 0, or 1s to 8760h", o.MaxMessageAge)
	}
	for _, d := range []struct {
		key             string
		value, min, max time.Duration
		unit            time.Duration
	}{
		{"session_expiry", o.SessionExpiry, time.Second, 49710 * day, time.Second},
		{"clean_session_expiry", o.CleanSessionExpiry, time.Second, 49710 * day, time.Second},
		{"keep_alive", o.KeepAlive, time.Second, 18 * time.Hour, time.Second},
		{"connect_timeout", o.ConnectTimeout, time.Second, 5 * time.Minute, 1},
		{"reconnect_min", o.ReconnectMin, 100 * time.Millisecond, time.Hour, 1},
		{"reconnect_max", o.ReconnectMax, o.ReconnectMin, time.Hour, 1},
		{"outage_grace", o.OutageGrace, 0, math.MaxInt64, 1},
		{"will_timeout", o.WillTimeout, time.Second, day, 1},
		{"health_interval", o.HealthInterval, time.Second, 10 * time.Minute, time.Second},
	} {
		if d.value < d.min || d.value > d.max {
			return fmt.Errorf("%s: %v is not allowed: %v to %v", d.key, d.value, d.min, d.max)
		}
		if d.value%d.unit != 0 {
			return fmt.Errorf("%s: %v is not allowed: MQTT counts it in whole seconds", d.key, d.value)
		}
	}
	return nil
}

// spools says whether messages are spooled, given whether there is a store.
func (o Options) spools(stored bool) (bool, error) {
	if !stored {
		if o.Durability == "spool" {
			return false, errors.New("durability: spool needs a state directory to keep messages in: --state DIR")
		}
		if o.ConnectOffline == "accept" {
			return false, errors.New("connect_offline: accept needs a state directory to keep messages in: --state DIR")
		}
	}
	return stored && o.Durability != "through", nil
}
