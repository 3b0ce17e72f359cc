package gateway

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/session"
)

// The values of Options.Roaming.
const (
	RoamAny     = "any"
	RoamConnect = "connect"
	RoamNever   = "never"
)

// The values of Options.Profile.
const (
	ProfileServer = "server"
	ProfileSmall  = "small"
)

// maxAdvertise is what the Duration of ADVERTISE can express [SN-5.4.1].
const maxAdvertise = 65535 * time.Second

// Options are the settings of the shell. The sessions' own are in session.Options.
type Options struct {
	// ID is the gateway's id in ADVERTISE and GWINFO, 0 to 255. Gateways of one
	// network have different ids.
	ID int `mapstructure:"id"`

	// Profile chooses the defaults of the limits: "server", or "small" for machines such as a
	// Raspberry Pi with 512 MiB of memory and an SD card, on which 1000 clients are many.
	// Each option says what its default is with either. Limits that are set count in both.
	Profile string `mapstructure:"profile"`

	// MaxClients is how many clients the gateway knows at a time, asleep and
	// disconnected ones with a stored session included; 1 to 10000000. A CONNECT
	// beyond it is refused with "congestion". Each costs up to 2 KiB, and what is
	// queued for it.
	MaxClients int `mapstructure:"max_clients"`

	// ConnectRate is how many clients per second that are not known yet may come, all
	// together, from where addresses can be forged, which is plain UDP; 1 to 1000000, and 2000 at
	// once. Those beyond get no answer and come again after their T_retry. Clients that
	// have a session, and those on this host, are not counted.
	ConnectRate int `mapstructure:"connect_rate"`

	// ConnectRatePerPrefix is how many of these may come from one network (/24 in IPv4, /48 in
	// IPv6), forwarders with all that is behind them included; 1 to 1000000, and 1000 at once. Raise it where more devices are behind one NAT: a power cut
	// brings them all back together.
	ConnectRatePerPrefix int `mapstructure:"connect_rate_per_prefix"`

	// PublishRate is how many messages per second one client may publish, 1 to 1000000, and
	// those of two seconds at once. One beyond gets no answer: with QoS 0 it is lost, with QoS 1
	// and 2 the client sends it again after T_retry.
	PublishRate int `mapstructure:"publish_rate"`

	// PublishByteRate is how many octets per second of PUBLISH packets one client may send,
	// 1000 to 1000000000, and those of two seconds at once.
	PublishByteRate int `mapstructure:"publish_byte_rate"`

	// MaxQueuedBytesTotal bounds the octets of topics and payloads that wait in the gateway for
	// all clients together, 65536 to 2147483647. Beyond it messages with QoS 0 are dropped
	// that would have to wait; those with QoS 1 and 2 are bounded for each client alone, by
	// session.max_queued_bytes and by what the broker sends before it is answered. Default
	// 268435456.
	MaxQueuedBytesTotal int `mapstructure:"max_queued_bytes_total"`

	// Roaming says what a client may do from a new address: "any" (CONNECT, or wake
	// up with a PINGREQ that carries its ClientID), "connect" (only CONNECT), "never"
	// (nothing while its session is alive). Plain UDP proves nothing about a sender,
	// so "connect" is no protection there, it only costs sleeping clients behind NAT a
	// CONNECT. Who has proven an identity may do all of it, from anywhere.
	Roaming string `mapstructure:"roaming"`

	// Forwarders lists the peers that may be forwarders, which carry packets of nodes that
	// have no way of their own to the gateway [SN-5.5]: "any", an IP address, a prefix
	// such as 192.0.2.0/24, "serial" for whoever is on a serial line or radio, or
	// "identity:NAME" for a peer that has proven that identity. "any" does not include
	// peers with an identity: as forwarders they could use other ClientIDs than their
	// own. An empty list means none.
	Forwarders []string `mapstructure:"forwarders"`

	// ForwarderClients is how many clients one forwarder may have, 1 to 10000000; a
	// CONNECT beyond it is refused with "congestion". Programs at one IP address are one
	// forwarder, whatever their ports.
	ForwarderClients int `mapstructure:"forwarder_clients"`

	// ForwarderRate is how many packets per second are taken from one forwarder, 1 to
	// 1000000. Those beyond are dropped.
	ForwarderRate int `mapstructure:"forwarder_rate"`

	// IdentityClientIDs are the ClientIDs that a client may use which has proven an
	// identity (a PSK identity, or the name in a certificate): templates with ${identity}
	// for the identity and * for any octets. The default, ${identity}, is the identity
	// itself. A session that was begun with an identity is out of reach for every other
	// MQTT-SN client as long as it lasts. An empty list keeps out whoever has an identity
	// that is not in identity_file.
	// With a * one identity may well match another's ClientID: choose names so that
	// none begins with another one.
	IdentityClientIDs []string `mapstructure:"identity_client_ids"`

	// IdentityFile names a file of lines "identity ClientID user", separated by spaces, that
	// says which ClientIDs an identity may use: exactly those of its lines. The user, which
	// may be left out, is whose rights it has; otherwise it is itself the user. # begins a
	// comment, and a name with spaces stands in double quotes. Identities that are not in
	// the file have what identity_client_ids says. Only its owner and group may read it.
	// When it changes, clients that may not use their ClientID any more are disconnected.
	// Default none.
	IdentityFile string `mapstructure:"identity_file"`

	// Advertise is the time between two ADVERTISE packets to everybody on each serial
	// line and radio, and on each UDP listener that has groups; whole seconds up to
	// 65535s, and more than 15m by the specification's advice [SN-7.2]. There are none
	// while clients cannot be served. 0 means none ever.
	Advertise time.Duration `mapstructure:"advertise"`

	// QoSMinusOne lets clients without a session publish with QoS -1 to short topics
	// and to predefined topics that are not reserved for one client.
	QoSMinusOne bool `mapstructure:"qos_minus_one"`

	// QoSMinusOneRate is how many QoS -1 messages per second are taken from clients
	// without a session, all together; 1 to 1000000. Those beyond are dropped.
	QoSMinusOneRate int `mapstructure:"qos_minus_one_rate"`

	// QoSMinusOneClientID is the client id of the broker connection over which QoS -1
	// messages of clients without a session are published. No device and no client of the
	// embedded broker may have it.
	QoSMinusOneClientID string `mapstructure:"qos_minus_one_client_id"`

	// UserProperties lists what the messages of clients, and their wills, tell MQTT 5
	// subscribers of where they come from, each in a user property:
	//  - client: mqttsn-client, the ClientID; not of a QoS -1 message without a session,
	//    unless the sender has proven an identity that is its ClientID.
	//  - gateway: mqttsn-gateway, the id of this gateway.
	//  - signal: mqttsn-signal, the strength in dBm at which the gateway's radio received
	//    the client's last packet; only on radios that tell, and not behind a forwarder.
	//  - hop: mqttsn-hop, the listener or serial line by which it came; mqttsn-forwarder,
	//    the address of the forwarder or the identity that it has proven, if there is one;
	//    mqttsn-node, in hexadecimal, its wireless node id there or its radio address.
	//
	// Each is UTF-8 text of at most 512 octets, a ClientID of client_id_max. Together they
	// make a message some 100 octets longer, for subscribers and for a broker elsewhere;
	// one that then exceeds what that broker takes goes without them. The default is none,
	// which costs nothing.
	UserProperties []string `mapstructure:"user_properties"`

	// UnknownPeerRate is how many DISCONNECTs per second tell unknown peers that they
	// have to CONNECT, all together and per link; 0 to 1000000. One peer gets at most
	// 3 at once and 1 per second, the nodes behind one forwarder 100 and 20. 0 leaves
	// unknown peers without an answer.
	UnknownPeerRate int `mapstructure:"unknown_peer_rate"`

	// Shards is how many sets the sessions are divided into; sessions of different
	// shards run in parallel. 0 means one per CPU; at most 256.
	Shards int `mapstructure:"shards"`

	// Session are the settings of each session; they have a section of their own.
	Session session.Options `mapstructure:"-"`

	// Access says what devices may do. Default nil: everything.
	Access *auth.Guard `mapstructure:"-"`
}

// DefaultOptions are the settings of a gateway that is told nothing.
func DefaultOptions() Options {
	return Options{
		ID:                   1,
		Profile:              ProfileServer,
		MaxClients:           20000,
		MaxQueuedBytesTotal:  256 << 20,
		ConnectRate:          500,
		ConnectRatePerPrefix: 100,
		PublishRate:          5000,
		PublishByteRate:      1 << 20,
		Roaming:              RoamAny,
		Forwarders:           []string{forwardersAny},
		ForwarderClients:     10000,
		ForwarderRate:        5000,
		IdentityClientIDs:    []string{identityMark},
		Advertise:            16 * time.Minute,
		QoSMinusOne:          true,
		QoSMinusOneRate:      1000,
		QoSMinusOneClientID:  "mqttsn-gateway",
		UnknownPeerRate:      1000,
		Session:              session.DefaultOptions(),
	}
}

// Validate reports the first setting that is out of range.
func (o Options) Validate() error {
	switch {
	case o.ID < 0 || o.ID > 255:
		return fmt.Errorf("id: %d is not a gateway id: 0 to 255", o.ID)
	case o.Profile != ProfileServer && o.Profile != ProfileSmall:
		return fmt.Errorf("profile: %q is not a profile: %s or %s", o.Profile, ProfileServer, ProfileSmall)
	case o.MaxClients < 1 || o.MaxClients > 10_000_000:
		return fmt.Errorf("max_clients: %d is out of range: 1 to 10000000", o.MaxClients)
	case o.ConnectRate < 1 || o.ConnectRate > 1_000_000:
		return fmt.Errorf("connect_rate: %d is out of range: 1 to 1000000 clients per second", o.ConnectRate)
	case o.ConnectRatePerPrefix < 1 || o.ConnectRatePerPrefix > 1_000_000:
		return fmt.Errorf("connect_rate_per_prefix: %d is out of range: 1 to 1000000 clients per second", o.ConnectRatePerPrefix)
	case o.PublishRate < 1 || o.PublishRate > 1_000_000:
		return fmt.Errorf("publish_rate: %d is out of range: 1 to 1000000 messages per second", o.PublishRate)
	case o.PublishByteRate < 1000 || o.PublishByteRate > 1_000_000_000:
		return fmt.Errorf("publish_byte_rate: %d is out of range: 1000 to 1000000000 octets per second", o.PublishByteRate)
	case o.MaxQueuedBytesTotal < 1<<16 || o.MaxQueuedBytesTotal > math.MaxInt32:
		return fmt.Errorf("max_queued_bytes_total: %d is out of range: 65536 to 2147483647", o.MaxQueuedBytesTotal)
	case o.Roaming != RoamAny && o.Roaming != RoamConnect && o.Roaming != RoamNever:
		return fmt.Errorf("roaming: %q is not a policy: %s, %s or %s", o.Roaming, RoamAny, RoamConnect, RoamNever)
	case o.ForwarderClients < 1 || o.ForwarderClients > 10_000_000:
		return fmt.Errorf("forwarder_clients: %d is out of range: 1 to 10000000", o.ForwarderClients)
	case o.ForwarderRate < 1 || o.ForwarderRate > 1_000_000:
		return fmt.Errorf("forwarder_rate: %d is out of range: 1 to 1000000 packets per second", o.ForwarderRate)
	case o.Advertise < 0 || o.Advertise > maxAdvertise || o.Advertise%time.Second != 0:
		return fmt.Errorf("advertise: %v is not allowed: whole seconds up to %d s, or 0 for none", o.Advertise, maxAdvertise/time.Second)
	case o.QoSMinusOneRate < 1 || o.QoSMinusOneRate > 1_000_000:
		return fmt.Errorf("qos_minus_one_rate: %d is out of range: 1 to 1000000 messages per second", o.QoSMinusOneRate)
	case o.QoSMinusOneClientID == "":
		return fmt.Errorf("qos_minus_one_client_id: is empty: it is the client id at the broker")
	case o.UnknownPeerRate < 0 || o.UnknownPeerRate > 1_000_000:
		return fmt.Errorf("unknown_peer_rate: %d is out of range: 0 to 1000000 per second", o.UnknownPeerRate)
	case o.Shards < 0 || o.Shards > 256:
		return fmt.Errorf("shards: %d is out of range: 0 (one per CPU) to 256", o.Shards)
	}
	for _, template := range o.IdentityClientIDs {
		if err := validTemplate(template); err != nil {
			return err
		}
	}
	if _, err := newForwarderList(o.Forwarders); err != nil {
		return err
	}
	_, err := newOrigin(&o)
	return err
}

func (o Options) shards() int {
	if o.Shards > 0 {
		return o.Shards
	}
	return runtime.GOMAXPROCS(0)
}
