package dtls

import (
	"fmt"
	"time"

	"mqttsn-gateway/transports"
)

// Options are the settings of all DTLS links.
type Options struct {
	// Listeners are the addresses to listen at, each HOST:PORT as with UDP; an empty HOST
	// means every address of this machine. Default none: there is no DTLS. The usual port
	// is 8883. Each costs a socket and about 1 MiB.
	Listeners []string `mapstructure:"listeners"`

	// PSKFile names the file of pre-shared keys, in the format of Mosquitto's psk_file:
	// one "identity:hexkey" per line, # begins a comment line. Keys have 1 to 64 octets;
	// fewer than 16 are warned about. An identity may have two lines, its key and the next
	// one, and gets in with either; the gateway's own clients use the first. Only its owner
	// and group may read the file. When it is read anew, the connections of identities that
	// are not in it any more are closed; those whose key has changed go on. Default none: no
	// client can connect with a pre-shared key. With a certificate_file too,
	// clients that offer both ways use their key; those that offer none are let in unless
	// client_certificates is required.
	PSKFile string `mapstructure:"psk_file"`
	// KeyServer is where to ask for the keys of identities that psk_file does not have, as
	// bisquitt does: GET KEY_SERVER/IDENTITY is answered with {"client": IDENTITY, "psk": KEY},
	// the key in base64, or with status 404 if there is none. It is https://HOST/PATH, or
	// http on this host alone. Default none. A handshake whose key cannot be asked for fails.
	// Connections go on when their identity is removed there.
	KeyServer string `mapstructure:"key_server"`
	// KeyServerUser is the user name for key_server (HTTP Basic). Default none.
	KeyServerUser string `mapstructure:"key_server_user"`
	// KeyServerPasswordFile names the file of key_server_user's password, or without a
	// key_server_user of a token (HTTP Bearer). Only its owner and group may read it. Default
	// none.
	KeyServerPasswordFile string `mapstructure:"key_server_password_file"`
	// KeyServerCAFile names the PEM file of the authorities that the certificate at key_server has
	// to come from. Default none: those of the system.
	KeyServerCAFile string `mapstructure:"key_server_ca_file"`
	// KeyServerTimeout is how long to wait for an answer from key_server, 100ms to 1m. Default 5s.
	KeyServerTimeout time.Duration `mapstructure:"key_server_timeout"`
	// KeyServerLifetime is how long a key from key_server is used without asking again, 1s to 24h.
	// Default 5m. A key that does not fit is asked for again after 10 seconds, an identity
	// that has none after 30.
	KeyServerLifetime time.Duration `mapstructure:"key_server_lifetime"`
	// CertificateFile names the PEM file of the server's certificate (ECDSA or RSA), its
	// intermediates after it. Default none; if there is no psk_file either, a certificate
	// is made at each start, which is fit for trying things out only.
	CertificateFile string `mapstructure:"certificate_file"`
	// KeyFile names the PEM file of the private key of certificate_file, which only its
	// owner and group may read. Default none.
	KeyFile string `mapstructure:"key_file"`
	// ClientCAFile names the PEM file of the authorities that client certificates have to
	// come from. Default none. Needed if client_certificates is not none.
	ClientCAFile string `mapstructure:"client_ca_file"`
	// ClientCertificates says whether clients that use no pre-shared key show a
	// certificate: none (they are not asked), optional, or required. Default none. Unless
	// it is required, a certificate_file lets in clients that prove nothing at all. The
	// name that a client has proven is its pre-shared key's identity, or its
	// certificate's common name, or without one the first DNS name, URI or e-mail address
	// in it; with required, a certificate with none of these is refused.
	ClientCertificates string `mapstructure:"client_certificates"`

	// ConnectionID offers clients a connection id (RFC 9146), by which a device keeps its
	// connection when its address changes, as behind a NAT. Default true. It costs 9
	// octets in each datagram of a client that takes it.
	ConnectionID bool `mapstructure:"connection_id"`
	// MTU is the largest UDP datagram sent, in octets, 256 to 8192. Default 1400, which
	// fits one Ethernet frame. Messages can be 64 octets shorter; longer ones are dropped
	// and counted. More costs that much memory per connection.
	MTU int `mapstructure:"mtu"`
	// RetransmitInterval is how long the gateway waits for the client's next step of a
	// handshake before it repeats its own, 100ms to 60s; it doubles each time. Default
	// 1s. Raise it to 9s for slow radio networks (RFC 7925).
	RetransmitInterval time.Duration `mapstructure:"retransmit_interval"`
	// HandshakeTimeout is how long a handshake may take, 1s to 10m. Default 30s; slow
	// radio networks need 2m. Longer lets stalled ones hold their places longer.
	HandshakeTimeout time.Duration `mapstructure:"handshake_timeout"`
	// IdleTimeout is how long a connection may be silent, 1m to 720h, before it is
	// closed. Default 36h: half as long again as a device should sleep, which can come
	// back to its connection in that time without a new handshake. An idle connection
	// costs about 40 KiB.
	IdleTimeout time.Duration `mapstructure:"idle_timeout"`

	// MaxSessions is how many sessions of clients are kept, all listeners together, so that a
	// client that comes again need not do a whole handshake, 0 (none) to 1000000. Default
	// 10000; each takes about 1 KiB, and the oldest has to make room. A session is worth
	// nothing once its identity has been removed from psk_file or has another key. Clients
	// that take a connection id or have shown a certificate always do a whole handshake.
	MaxSessions int `mapstructure:"max_sessions"`
	// SessionLifetime is how long a session may be taken up, 1m to 168h. Default 24h. Who
	// steals the memory of the gateway or of the device in that time can read what was said
	// in it.
	SessionLifetime time.Duration `mapstructure:"session_lifetime"`
	// MaxConnections is the most connections per listener, 1 to 1000000. Default 10000,
	// about 400 MiB. A new client then takes the place of the connection that has been
	// silent longest of the identity (or, without identities, the IPv4 /24 or IPv6 /48)
	// with the most, if those are more than 4; else of the one that has been silent longest
	// of all, if that is over 10 minutes; otherwise it is turned away. Devices that share a
	// key push each other out on a full listener: give each its own.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxConnectionsPerIdentity is the most connections per listener that one identity may
	// have, 1 to 1000000. Default 4: a device that begins anew leaves one behind. Beyond it
	// the one that has been silent longest is closed. Devices that share a key need more.
	MaxConnectionsPerIdentity int `mapstructure:"max_connections_per_identity"`
	// MaxConnectsPerIdentity is how many connections per second one identity may begin per
	// listener, 1 to 1000000; twice as many may at once. Default 10. Further ones are closed
	// as soon as they have proven the identity, so that nobody else can use it up.
	MaxConnectsPerIdentity int `mapstructure:"max_connects_per_identity"`
	// MaxHandshakes is the most handshakes at the same time per listener, 1 to 65536.
	// Default 64, which is up to 10 MiB. Clients beyond it take the place of a handshake
	// that has not come to its end in 3 seconds, or try again.
	MaxHandshakes int `mapstructure:"max_handshakes"`
	// MaxHandshakesPerPrefix is the most handshakes at the same time from one IPv4 /24 or
	// IPv6 /48, 1 to 65536. Default 8. Raise it where many devices come from one network
	// or through one NAT.
	MaxHandshakesPerPrefix int `mapstructure:"max_handshakes_per_prefix"`
	// MaxHellosPerPrefix is how many clients of one IPv4 /24 or IPv6 /48 may begin a
	// handshake per second, 1 to 1000000; twice as many may at once. Default 1000. Who
	// sends hellos with addresses of others can make the gateway send that many answers of
	// 48 octets to a network, less than the hellos cost; and beyond it hardly any client of
	// that network can begin a handshake, so low values are easily turned against it. An
	// answer costs the gateway a few microseconds.
	MaxHellosPerPrefix int `mapstructure:"max_hellos_per_prefix"`
	// MaxFailuresPerPrefix is how many handshakes per second from one IPv4 /24 or IPv6 /48
	// may fail for a wrong key, an unknown identity, a bad certificate or nothing in common,
	// 1 to 1000000; twice as many may at once. Default 20. Beyond it that network's hellos
	// are not answered for a while. It bounds what guessing costs the gateway. There is no
	// such limit by identity: with it anybody could keep a device out by its name.
	MaxFailuresPerPrefix int `mapstructure:"max_failures_per_prefix"`
	// Queue is how many octets of received messages may wait for the gateway per
	// listener, 16 KiB to 1 GiB. Default 1 MiB. More are dropped and counted.
	Queue int `mapstructure:"queue"`
	// ReceiveBuffer asks the system for that many octets of buffer for datagrams that
	// wait to be read, 0 (the system's own choice) to 1 GiB. Default 4 MiB.
	ReceiveBuffer int `mapstructure:"receive_buffer"`
	// User is the user whose rights clients have that prove no identity: those that show no
	// certificate, unless it is required, and the nodes of forwarders. Up to 256 octets.
	// Default "", an anonymous client.
	User string `mapstructure:"user"`
}

// What ClientCertificates may be.
const (
	certificatesNone     = "none"
	certificatesOptional = "optional"
	certificatesRequired = "required"
)

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		KeyServerTimeout:          5 * time.Second,
		KeyServerLifetime:         5 * time.Minute,
		ClientCertificates:        certificatesNone,
		ConnectionID:              true,
		MTU:                       1400,
		RetransmitInterval:        time.Second,
		HandshakeTimeout:          30 * time.Second,
		IdleTimeout:               36 * time.Hour,
		MaxSessions:               10000,
		SessionLifetime:           24 * time.Hour,
		MaxConnections:            10000,
		MaxConnectionsPerIdentity: 4,
		MaxConnectsPerIdentity:    10,
		MaxHandshakes:             64,
		MaxHandshakesPerPrefix:    8,
		MaxHellosPerPrefix:        1000,
		MaxFailuresPerPrefix:      20,
		Queue:                     1 << 20,
		ReceiveBuffer:             4 << 20,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved, no port is tried and no file is opened.
func (o Options) Validate() error {
	for i, l := range o.Listeners {
		if err := transports.ValidateListen(l, "8883"); err != nil {
			return fmt.Errorf("listeners: number %d: %w", i+1, err)
		}
	}
	for _, r := range []struct {
		key             string
		value, min, max int
	}{
		{"mtu", o.MTU, 256, MaxDatagram},
		{"max_sessions", o.MaxSessions, 0, 1e6},
		{"max_connections", o.MaxConnections, 1, 1e6},
		{"max_connections_per_identity", o.MaxConnectionsPerIdentity, 1, 1e6},
		{"max_connects_per_identity", o.MaxConnectsPerIdentity, 1, 1e6},
		{"max_handshakes", o.MaxHandshakes, 1, 1 << 16},
		{"max_handshakes_per_prefix", o.MaxHandshakesPerPrefix, 1, 1 << 16},
		{"max_hellos_per_prefix", o.MaxHellosPerPrefix, 1, 1e6},
		{"max_failures_per_prefix", o.MaxFailuresPerPrefix, 1, 1e6},
		{"queue", o.Queue, 16 << 10, 1 << 30},
		{"receive_buffer", o.ReceiveBuffer, 0, 1 << 30},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %d is not allowed: %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	for _, r := range []struct {
		key             string
		value, min, max time.Duration
	}{
		{"retransmit_interval", o.RetransmitInterval, 100 * time.Millisecond, time.Minute},
		{"handshake_timeout", o.HandshakeTimeout, time.Second, 10 * time.Minute},
		{"key_server_timeout", o.KeyServerTimeout, 100 * time.Millisecond, time.Minute},
		{"key_server_lifetime", o.KeyServerLifetime, time.Second, 24 * time.Hour},
		{"session_lifetime", o.SessionLifetime, time.Minute, 168 * time.Hour},
		{"idle_timeout", o.IdleTimeout, time.Minute, 720 * time.Hour},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %v is not allowed: %v to %v", r.key, r.value, r.min, r.max)
		}
	}
	if err := transports.ValidateUser(o.User); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	if err := o.validateKeyServer(); err != nil {
		return err
	}
	return o.validateCredentials()
}

// hasKeys says that clients may use pre-shared keys.
func (o *Options) hasKeys() bool { return o.PSKFile != "" || o.KeyServer != "" }

func (o Options) validateCredentials() error {
	switch o.ClientCertificates {
	case certificatesNone:
		if o.ClientCAFile != "" {
			return fmt.Errorf("client_ca_file: %q is of no use while client_certificates is none: choose optional or required", o.ClientCAFile)
		}
	case certificatesOptional, certificatesRequired:
		if o.ClientCAFile == "" {
			return fmt.Errorf("client_ca_file: \"\" is not allowed while client_certificates is %s: name the PEM file of the authorities", o.ClientCertificates)
		}
		if o.CertificateFile == "" && o.hasKeys() {
			return fmt.Errorf("client_certificates: %q is not allowed without certificate_file: only a server with a certificate asks for one", o.ClientCertificates)
		}
	default:
		return fmt.Errorf("client_certificates: %q is not allowed: none, optional or required", o.ClientCertificates)
	}
	switch {
	case o.CertificateFile != "" && o.KeyFile == "":
		return fmt.Errorf("certificate_file: %q is not allowed without key_file: name the file of its private key there", o.CertificateFile)
	case o.CertificateFile == "" && o.KeyFile != "":
		return fmt.Errorf("key_file: %q is not allowed without certificate_file: name the file of its certificate there", o.KeyFile)
	}
	return nil
}
