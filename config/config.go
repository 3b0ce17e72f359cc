// Package config makes one configuration of the options of all packages. Each package
// declares its own [Options] with comment, default and check; here they are put together
// and read, in this order of precedence: defaults, the file, environment variables
// (MQTTSN_SECTION_KEY), flags, --set.
//
// It is strict: what is not known, given twice, of the wrong kind or out of range stops
// the start, and an [Error] lists all of it with file and line.
//
// To add an option, add a field to the Options of the package that obeys it: a
// mapstructure tag, a comment, a default, a check. To add a section, add a field to
// [Config] and to [Default]. Then run go generate ./config, which writes the sample file
// and the reference.
package config

import (
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/upstream"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/gateway/dnssd"
	"mqttsn-gateway/gateway/forward"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/transports/dtls"
	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

//go:generate go test . -run TestGenerated -update

// Config is the whole configuration.
type Config struct {
	// Gateway is what concerns all clients.
	Gateway gateway.Options `mapstructure:"gateway"`

	// Session is what concerns each client: timers, counters and limits.
	Session session.Options `mapstructure:"session"`

	// UDP lists the addresses at which the gateway listens for MQTT-SN over UDP. The
	// flag --udp ADDR replaces the list.
	UDP []udp.Options `mapstructure:"udp"`

	// DTLS is MQTT-SN over UDP with encryption. The flag --dtls ADDR sets its listeners.
	DTLS dtls.Options `mapstructure:"dtls"`

	// Serial lists the serial ports that MQTT-SN clients and radio modules are on. The
	// flag --serial DEV[,KEY=VALUE]... replaces the list.
	Serial []serial.Options `mapstructure:"serial"`

	// DNSSD announces the gateway on the local networks by DNS-SD.
	DNSSD dnssd.Options `mapstructure:"dnssd"`

	// Forward is what "gateway forward" does with the packets of its udp and serial links;
	// the gateway itself does not look at it.
	Forward forward.Options `mapstructure:"forward"`

	// Broker is the MQTT broker elsewhere that the gateway connects clients with. Without
	// a url there, clients are connected with the embedded broker.
	Broker upstream.Options `mapstructure:"broker"`

	// MQTT is the embedded broker, to which MQTT clients can connect. It is not started
	// when broker.url is set.
	MQTT embedded.Options `mapstructure:"mqtt"`

	// Auth is who may connect to the embedded broker, and what MQTT clients and devices may
	// do.
	Auth auth.Options `mapstructure:"auth"`

	// State is where the gateway keeps what has to survive it. The flag --state DIR sets its
	// directory; without one nothing survives.
	State disk.Options `mapstructure:"state"`

	// PredefinedTopics lists the topic ids that clients and gateway know beforehand.
	PredefinedTopics []session.PredefinedTopic `mapstructure:"predefined_topics"`

	// Admin is the HTTP server for health checks and metrics.
	Admin admin.Options `mapstructure:"admin"`

	// Log is what the gateway says about itself, on standard error.
	Log LogOptions `mapstructure:"log"`
}

// Default is the configuration of a gateway that is told nothing: it listens on this
// host only, and the broker is the embedded one. The option gateway.profile asks for other
// defaults.
func Default() Config {
	return Config{
		Gateway: gateway.DefaultOptions(),
		Session: session.DefaultOptions(),
		UDP:     []udp.Options{udp.DefaultOptions()},
		DTLS:    dtls.DefaultOptions(),
		DNSSD:   dnssd.DefaultOptions(),
		Forward: forward.DefaultOptions(),
		Broker:  upstream.DefaultOptions(),
		MQTT:    embedded.DefaultOptions(),
		Auth:    auth.DefaultOptions(),
		State:   disk.DefaultOptions(),
		Admin:   admin.DefaultOptions(),
		Log:     DefaultLogOptions(),
	}
}
