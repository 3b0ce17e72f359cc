package udp

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Options are the settings of one UDP link.
type Options struct {
	// Listen is the address to listen at, HOST:PORT. HOST is an IP address, with a zone
	// if it is link-local ("[fe80::1%eth0]:1883"), or a name. An empty HOST, 0.0.0.0 and
	// [::] mean every address of this machine, IPv4 and IPv6 alike where the platform
	// can. PORT 0 takes a free port. Default "127.0.0.1:1883", which only programs on
	// this machine can reach.
	Listen string `mapstructure:"listen"`
	// MTU is the largest datagram received or sent, in octets, 64 to 65507. Longer ones
	// are dropped and counted, never cut. Default 1400, which fits one Ethernet frame.
	// Each octet more costs Batch octets of memory; datagrams above the path's own MTU
	// travel in fragments, and the loss of one fragment loses them all.
	MTU int `mapstructure:"mtu"`
	// ReceiveBuffer asks the system for that many octets of buffer for datagrams that
	// wait to be read, 0 (the system's own choice) to 1 GiB. Default 4 MiB, about 5,000
	// small datagrams. Without the right to exceed net.core.rmem_max Linux gives no
	// more than that; mqttsn_gateway_link_receive_buffer_bytes tells. More costs kernel memory during bursts only.
	ReceiveBuffer int `mapstructure:"receive_buffer"`
	// SendBuffer is the same for datagrams that wait to be sent. Default 1 MiB. What
	// does not fit is dropped and counted as link_busy.
	SendBuffer int `mapstructure:"send_buffer"`
	// Batch is the most datagrams that one system call receives or sends, 1 to 1024.
	// Default 64. More costs Batch x MTU octets of memory and saves little above 64.
	// Platforms other than Linux move one at a time whatever it says.
	Batch int `mapstructure:"batch"`
}

// Bounds of Options.
const (
	minMTU    = 64
	maxMTU    = 65507 // what IPv4 leaves of 65535 octets after its own header and UDP's
	maxBuffer = 1 << 30
	maxBatch  = 1024
)

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		Listen:        "127.0.0.1:1883",
		MTU:           1400,
		ReceiveBuffer: 4 << 20,
		SendBuffer:    1 << 20,
		Batch:         64,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no port is tried.
func (o Options) Validate() error {
	if err := validateListen(o.Listen); err != nil {
		return err
	}
	for _, r := range []struct {
		key             string
		value, min, max int
	}{
		{"mtu", o.MTU, minMTU, maxMTU},
		{"receive_buffer", o.ReceiveBuffer, 0, maxBuffer},
		{"send_buffer", o.SendBuffer, 0, maxBuffer},
		{"batch", o.Batch, 1, maxBatch},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %d is not allowed: %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	return nil
}

func validateListen(listen string) error {
	bad := func(why string) error {
		return fmt.Errorf("listen: %q is not allowed: %s; write HOST:PORT, such as 127.0.0.1:1883, [::1]:1883 or :1883 for every address", listen, why)
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return bad("it is no HOST:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return bad("the port is not a number from 0 to 65535")
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsMulticast() {
		return bad("it is a group address, not one of this machine's")
	}
	return nil
}
