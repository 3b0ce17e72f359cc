package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"mqttsn-gateway/broker/websocket"
)

// ListenerOptions are the settings of one listener. Names are Mosquitto's where it has the
// same setting.
type ListenerOptions struct {
	// Listen is where MQTT clients can connect. Default "127.0.0.1:1883", which only
	// programs on this machine can reach.
	//
	// HOST:PORT is TCP. An empty HOST and [::] mean every address of this machine, 0.0.0.0
	// every IPv4 address; a link-local address needs its interface: [fe80::1%eth0]:1883.
	// A name means every address that it has at the start, those left out that this
	// machine does not have. PORT 0 is a free port.
	//
	// unix:PATH is a socket in the file system, for programs on this machine. One that a
	// dead process has left is replaced; the directory has to be there.
	Listen string `mapstructure:"listen"`

	// SocketDomain restricts a listener on TCP to ipv4 or ipv6. Default "", both as far as
	// the host has them.
	SocketDomain string `mapstructure:"socket_domain"`

	// SocketMode is who may connect by a unix socket: the rights of its file, in octal,
	// 0000 to 0777 and in quotes. To connect is to write. Default "0660", the user and the
	// group that the gateway runs as. "0666" lets every user of this machine in.
	SocketMode string `mapstructure:"socket_mode"`

	// MaxConnections is how many clients may be connected by this listener at a time, 1
	// to 1000000, or -1: there is no limit but that of all listeners. Default -1. A client
	// beyond it is refused with "quota exceeded".
	MaxConnections int `mapstructure:"max_connections"`

	// MountPoint is put in front of every topic and filter of the clients of this
	// listener, and taken off what they are sent: with "site-1/" they publish to site-1/a
	// as a, and see nothing but what is below site-1/, so no $SYS. It is a topic that ends
	// with / and does not begin with $. Default "", none. A session stays with the mount
	// point that it was made at: a client that connects by another one gets a new one.
	MountPoint string `mapstructure:"mount_point"`

	// Protocol is what is spoken: mqtt, or websockets for MQTT over WebSocket, as browsers
	// need it, at any path. Default mqtt. A WebSocket connection costs some 3 KB more.
	Protocol string `mapstructure:"protocol"`

	// WebsocketsOrigin lists the sites whose pages may connect by WebSocket, each as
	// scheme://host:port or host:port without what is the scheme's own, with * for any
	// text but /; "*" alone is all sites. Default none: pages that have come from the host
	// that they connect to, at whatever port, if that is an IP address or localhost or the
	// listener has TLS. Only browsers are bound by it, and their users protected: without it
	// every page that somebody on this machine looks at could connect to 127.0.0.1.
	WebsocketsOrigin []string `mapstructure:"websockets_origin"`

	// CertificateFile makes the listener one with TLS: its certificate (ECDSA or RSA) and the
	// chain below the authority, in PEM form. Default "", no TLS. Versions 1.2 and 1.3 are
	// spoken. A connection costs some 13 KB more.
	CertificateFile string `mapstructure:"certificate_file"`

	// KeyFile is the private key of the certificate, in PEM form. No others than its owner and
	// group may read it. Default "".
	KeyFile string `mapstructure:"key_file"`

	// ClientCAFile has the authorities, in PEM form, that the certificates of clients have to
	// come from. Default "": clients are not asked for one. A client that shows another one is
	// refused.
	ClientCAFile string `mapstructure:"client_ca_file"`

	// RequireCertificate refuses clients that show no certificate. Default false. It needs
	// client_ca_file.
	RequireCertificate bool `mapstructure:"require_certificate"`

	// UseIdentityAsUsername makes the common name of a client's certificate its user name,
	// whatever its CONNECT says; there is no password then. Default false. It needs
	// require_certificate.
	UseIdentityAsUsername bool `mapstructure:"use_identity_as_username"`
}

// DefaultListenerOptions returns the defaults that the fields of ListenerOptions name.
func DefaultListenerOptions() ListenerOptions {
	return ListenerOptions{
		Listen:         "127.0.0.1:1883",
		SocketMode:     "0660",
		MaxConnections: -1,
		Protocol:       protocolMQTT,
	}
}

// unixScheme starts the address of a unix socket.
const unixScheme = "unix:"

// maxSocketPath is how long the path of a unix socket may be where systems take most.
const maxSocketPath = 107

// The values of SocketDomain.
const (
	domainAny  = ""
	domainIPv4 = "ipv4"
	domainIPv6 = "ipv6"
)

// The values of Protocol.
const (
	protocolMQTT       = "mqtt"
	protocolWebSockets = "websockets"
)

// socketPath is the path of a unix socket; ok is false for a listener on TCP.
func (o ListenerOptions) socketPath() (path string, ok bool) {
	return strings.CutPrefix(o.Listen, unixScheme)
}

// mode is SocketMode as a number.
func (o ListenerOptions) mode() (fs.FileMode, error) {
	n, err := strconv.ParseUint(o.SocketMode, 8, 9)
	return fs.FileMode(n), err
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no address is tried.
func (o ListenerOptions) Validate() error {
	if err := o.validateListen(); err != nil {
		return err
	}
	switch o.SocketDomain {
	case domainAny, domainIPv4, domainIPv6:
	default:
		return fmt.Errorf("socket_domain: %q is not allowed: ipv4, ipv6 or nothing", o.SocketDomain)
	}
	if o.SocketDomain != domainAny {
		if _, unix := o.socketPath(); unix {
			return fmt.Errorf("socket_domain: %q is for listeners on TCP, and %s is none", o.SocketDomain, o.Listen)
		}
		if ip, ok := o.literal(); ok && ip.Is4() != (o.SocketDomain == domainIPv4) {
			return fmt.Errorf("socket_domain: %q is not the kind of the address %s", o.SocketDomain, o.Listen)
		}
	}
	if _, err := o.mode(); err != nil {
		return fmt.Errorf("socket_mode: %q is no mode of a file: three or four octal digits such as \"0660\"", o.SocketMode)
	}
	if n := o.MaxConnections; n != -1 && (n < 1 || n > 1_000_000) {
		return fmt.Errorf("max_connections: %d is out of range: -1 (no limit of its own) or 1 to 1000000", n)
	}
	if err := o.validateProtocol(); err != nil {
		return err
	}
	return validateMountPoint(o.MountPoint)
}

func (o ListenerOptions) validateProtocol() error {
	switch {
	case o.Protocol != protocolMQTT && o.Protocol != protocolWebSockets:
		return fmt.Errorf("protocol: %q is not allowed: mqtt or websockets", o.Protocol)
	case o.Protocol == protocolMQTT && len(o.WebsocketsOrigin) > 0:
		return fmt.Errorf("websockets_origin: is for listeners with protocol: websockets, and %s is none", o.Listen)
	case o.CertificateFile != "" && o.KeyFile == "":
		return fmt.Errorf("certificate_file: %s needs a key_file, its private key", o.CertificateFile)
	case o.CertificateFile == "" && o.KeyFile != "":
		return fmt.Errorf("key_file: %s needs a certificate_file, its certificate", o.KeyFile)
	case o.ClientCAFile != "" && o.CertificateFile == "":
		return fmt.Errorf("client_ca_file: %s is for listeners with TLS: give it a certificate_file", o.ClientCAFile)
	case o.RequireCertificate && o.ClientCAFile == "":
		return errors.New("require_certificate: needs a client_ca_file: the authorities that certificates of clients come from")
	case o.UseIdentityAsUsername && !o.RequireCertificate:
		return errors.New("use_identity_as_username: needs require_certificate: who shows no certificate would have no name")
	}
	if err := websocket.Origins(o.WebsocketsOrigin).Validate(); err != nil {
		return fmt.Errorf("websockets_origin: %w", err)
	}
	return nil
}

func (o ListenerOptions) validateListen() error {
	if path, unix := o.socketPath(); unix {
		switch {
		case path == "" || strings.HasPrefix(path, "@") || strings.ContainsRune(path, 0):
			return fmt.Errorf("listen: %q is not allowed: write unix:PATH with the path of a file, such as unix:/run/gateway/mqtt.sock", o.Listen)
		case len(path) > maxSocketPath:
			return fmt.Errorf("listen: the path of a unix socket has %d octets at most: %q has %d", maxSocketPath, path, len(path))
		}
		return nil
	}
	_, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("listen: %q is not allowed: write HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:1883, [::1]:1883 or :1883 for every address, or unix:PATH", o.Listen)
	}
	return nil
}

// literal is the host of a listener on TCP, if it is an address.
func (o ListenerOptions) literal() (netip.Addr, bool) {
	host, _, _ := net.SplitHostPort(o.Listen)
	ip, err := netip.ParseAddr(host)
	return ip, err == nil
}
