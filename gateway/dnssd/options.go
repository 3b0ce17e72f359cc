package dnssd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Options are the settings of the announcement by DNS-SD.
type Options struct {
	// Enabled announces the gateway on the local networks as a service of type
	// _mqtt-sn._udp by multicast DNS (RFC 6762, RFC 6763), while it can serve. Default
	// false. It opens UDP port 5353, which it shares with other programs such as Avahi,
	// and two further ports that the system chooses.
	Enabled bool `mapstructure:"enabled"`
	// Name is what people see when they browse, 1 to 63 octets of UTF-8 without control
	// characters, dots and backslashes. Names of one network must differ: give each
	// gateway on a machine its own. Default "": "MQTT-SN gateway on HOSTNAME".
	Name string `mapstructure:"name"`
	// Interfaces are the names of the network interfaces to announce on. Default: every
	// interface that is up and can multicast, loopback excepted. They are looked for
	// again every 30 s.
	Interfaces []string `mapstructure:"interfaces"`
}

// maxLabel is the longest label of a domain name (RFC 1035, 2.3.4).
const maxLabel = 63

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options { return Options{} }

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed.
func (o Options) Validate() error {
	for _, name := range o.Interfaces {
		if name == "" {
			return errors.New(`interfaces: "" is not allowed: the name of an interface, such as eth0`)
		}
	}
	bad := func(why string) error {
		return fmt.Errorf("name: %q is not allowed: %s", o.Name, why)
	}
	switch {
	case len(o.Name) > maxLabel:
		return bad("1 to 63 octets")
	case !utf8.ValidString(o.Name):
		return bad("it must be UTF-8")
	case strings.ContainsAny(o.Name, `.\`), strings.ContainsFunc(o.Name, unicode.IsControl):
		return bad("no control characters, dots or backslashes")
	}
	return nil
}

// names are what the service and its host are called, as domain names.
type names struct {
	instance string // the label alone
	host     string // without the dot at the end
}

// serviceType is what is browsed for.
const serviceType = "_mqtt-sn._udp"

// service and full are domain names: of the type, and of the gateway.
const service = serviceType + ".local."

func (n names) full() string { return n.instance + "." + service }

func (o Options) names() names {
	hostname, _ := os.Hostname()
	return namesOf(o.Name, hostname)
}

// namesOf makes names of a configured one, which may be empty, and the machine's. The
// host's differs from the machine's own in this domain, for which another program may
// answer.
func namesOf(name, hostname string) names {
	hostname, _, _ = strings.Cut(hostname, ".")
	hostname = strings.Map(func(r rune) rune {
		if r == '-' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '-'
	}, hostname)
	const prefix, before = "mqtt-sn-", "MQTT-SN gateway on "
	hostname = hostname[:min(len(hostname), maxLabel-len(before))]
	if hostname == "" {
		hostname = "unnamed"
	}
	if name == "" {
		name = before + hostname
	}
	return names{instance: name, host: prefix + hostname + ".local"}
}
