package admin

import (
	"fmt"
	"net"
	"strconv"
)

// Options are the settings of the admin server.
type Options struct {
	// Listen is the address, host:port, of the HTTP server with /healthz, /readyz and
	// /metrics. It asks for no password: keep it on a loopback address, or behind a
	// proxy that does. Port 0 takes a free one. Empty switches the server off.
	Listen string `mapstructure:"listen"`
}

// DefaultOptions are the settings of a server that is told nothing: this host only.
func DefaultOptions() Options { return Options{Listen: "127.0.0.1:8080"} }

// Validate reports the first setting that cannot be used.
func (o Options) Validate() error {
	if o.Listen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("listen: %q is not an address: host:port, such as 127.0.0.1:8080, or empty for no admin server", o.Listen)
	}
	return nil
}
