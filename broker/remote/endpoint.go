package remote

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is where a broker is, and how it is spoken to.
type Endpoint struct {
	Scheme   string // mqtt, mqtts, ws or wss
	Host     string
	Port     string
	Path     string // of WebSocket
	Insecure bool   // the broker's certificate is not verified
}

// insecure is what the URL has to say if the broker's certificate is not to be verified.
const insecure = "insecure_skip_verify=true"

// DefaultPath is that of WebSocket when the URL has none.
const DefaultPath = "/mqtt"

var defaultPorts = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// Parse reads the URL of a broker. Its errors hide what may be a password.
func Parse(broker string) (Endpoint, error) {
	bad := func(why string) (Endpoint, error) {
		return Endpoint{}, fmt.Errorf("%q is not allowed: %s; write mqtt://HOST, mqtts://HOST, ws://HOST/PATH or wss://HOST/PATH, with :PORT after HOST if need be", redact(broker), why)
	}
	if broker == "" {
		return bad("the broker's address is missing")
	}
	u, err := url.Parse(broker)
	if err != nil {
		return bad("it is no URL")
	}
	e := Endpoint{Scheme: u.Scheme, Host: u.Hostname(), Port: u.Port(), Path: u.EscapedPath()}
	known := defaultPorts[e.Scheme]
	switch {
	case u.User != nil:
		return bad("a user name and password do not belong into it: use username and password_file")
	case known == "":
		return bad("its scheme is none of mqtt, mqtts, ws and wss")
	case e.Host == "":
		return bad("the host is missing")
	case u.Fragment != "" || strings.HasSuffix(broker, "#"):
		return bad("nothing may follow #")
	case !e.WebSocket() && e.Path != "" && e.Path != "/":
		return bad("nothing may follow the port")
	case u.RawQuery == insecure && !e.TLS():
		return bad("without TLS nothing is verified: insecure_skip_verify is for mqtts and wss")
	case u.RawQuery != "" && u.RawQuery != insecure || u.ForceQuery:
		return bad("after ? only " + insecure + " is known")
	}
	e.Insecure = u.RawQuery == insecure
	if !e.WebSocket() {
		e.Path = ""
	} else if e.Path == "" {
		e.Path = DefaultPath
	}
	if e.Port == "" {
		e.Port = known
	}
	if n, err := strconv.Atoi(e.Port); err != nil || n < 1 || n > 65535 {
		return bad("the port is not 1 to 65535")
	}
	return e, nil
}

// TLS reports whether the broker is spoken to over TLS.
func (e Endpoint) TLS() bool { return e.Scheme == "mqtts" || e.Scheme == "wss" }

// WebSocket reports whether the broker is spoken to over WebSocket.
func (e Endpoint) WebSocket() bool { return e.Scheme == "ws" || e.Scheme == "wss" }

// Address is the endpoint's HOST:PORT.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, e.Port) }

// String is the URL, without what it says of verification.
func (e Endpoint) String() string { return e.Scheme + "://" + e.Address() + e.Path }

// serverName is the name that the broker's certificate has to have if nobody says otherwise.
func (e Endpoint) serverName() string {
	host, _, _ := strings.Cut(e.Host, "%") // an IPv6 zone is this machine's business
	return host
}

// webHost is the host that WebSocket asks for.
func (e Endpoint) webHost() string {
	if e.Port == defaultPorts[e.Scheme] {
		return strings.TrimSuffix(net.JoinHostPort(e.serverName(), ""), ":")
	}
	return net.JoinHostPort(e.serverName(), e.Port)
}

// redact hides what may be a password in a URL that is not allowed to have one.
func redact(raw string) string {
	i := strings.LastIndexByte(raw, '@')
	if i < 0 {
		return raw
	}
	scheme, _, found := strings.Cut(raw[:i], "://")
	if !found || defaultPorts[scheme] == "" {
		scheme = "mqtt"
	}
	return scheme + "://...@" + raw[i+1:]
}
