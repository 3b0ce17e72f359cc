package embedded

import (
	"fmt"
	"net"
	"strconv"
)

// ListenerOptions are the settings of one listener. Names are Mosquitto's where it has the
// same setting.
type ListenerOptions struct {
	// Listen is the address at which MQTT clients can connect over TCP, HOST:PORT. An
	// empty HOST means every address of this machine, PORT 0 a free port. Default
	// "127.0.0.1:1883", which only programs on this machine can reach.
	Listen string `mapstructure:"listen"`
}

// DefaultListenerOptions returns the defaults that the fields of ListenerOptions name.
func DefaultListenerOptions() ListenerOptions {
	return ListenerOptions{Listen: "127.0.0.1:1883"}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no port is tried.
func (o ListenerOptions) Validate() error {
	_, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("listen: %q is not allowed: write HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:1883, [::1]:1883 or :1883 for every address", o.Listen)
	}
	return nil
}
