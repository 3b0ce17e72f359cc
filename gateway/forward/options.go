package forward

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Options are the settings of a forwarder.
type Options struct {
	// To is the gateway, HOST:PORT over UDP. HOST is an IP address or a name; a name is
	// looked up again after errors and while the gateway does not answer. It has no
	// default. The gateway must accept forwarders from the address of this machine.
	To string `mapstructure:"to"`

	// Local is the address that packets to the gateway leave from, HOST:PORT. The
	// gateway knows the devices by it: after a restart of the forwarder with another
	// address or port they have to connect again, so give it a port where that matters.
	// HOST is an IP address of this machine; an empty one leaves the choice to the
	// system. PORT 0 takes a free one and keeps it. Default ":0".
	Local string `mapstructure:"local"`

	// MTU is the largest datagram to the gateway, in octets, 64 to 65507. It holds a
	// packet of a device and 4 to 26 octets that tell the gateway whose it is. Larger
	// ones are dropped and counted. Default 1400; the gateway must take as much.
	MTU int `mapstructure:"mtu"`

	// Queue is how many octets may wait to be sent to the gateway, 1024 to 67108864.
	// What finds it full is dropped and counted. Default 262144, some 5,000 small
	// packets. More costs up to twice as much memory during bursts.
	Queue int `mapstructure:"queue"`
}

// Bounds of Options.
const (
	minMTU   = 64
	maxMTU   = 65507 // what IPv4 leaves of 65535 octets after its own header and UDP's
	minQueue = 1 << 10
	maxQueue = 64 << 20
)

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{Local: ":0", MTU: 1400, Queue: 256 << 10}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no port is tried.
func (o Options) Validate() error {
	if err := o.validateTo(); err != nil {
		return err
	}
	if _, err := o.local(); err != nil {
		return err
	}
	switch {
	case o.MTU < minMTU || o.MTU > maxMTU:
		return fmt.Errorf("mtu: %d is not allowed: %d to %d", o.MTU, minMTU, maxMTU)
	case o.Queue < minQueue || o.Queue > maxQueue:
		return fmt.Errorf("queue: %d is not allowed: %d to %d", o.Queue, minQueue, maxQueue)
	case o.Queue < o.MTU:
		return fmt.Errorf("queue: %d is not allowed: it must hold a datagram of mtu, %d octets", o.Queue, o.MTU)
	}
	return nil
}

func (o Options) validateTo() error {
	bad := func(why string) error {
		return fmt.Errorf("to: %q is not allowed: %s; write HOST:PORT, such as 192.0.2.1:1883, [2001:db8::1]:1883 or gateway.example:1883", o.To, why)
	}
	if o.To == "" {
		return bad("it is empty")
	}
	host, port, err := net.SplitHostPort(o.To)
	if err != nil {
		return bad("it is no HOST:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad("the port is not a number from 1 to 65535")
	}
	ip, _ := netip.ParseAddr(host) // the zero Addr for a name
	switch {
	case host == "":
		return bad("it names no host")
	case ip.IsUnspecified():
		return bad("it stands for every address, and the gateway has one")
	case ip.IsMulticast():
		return bad("it is a group address, not a gateway's")
	}
	return nil
}

// gateway is the host and the port of To.
func (o Options) gateway() (host string, port uint16) {
	host, text, _ := net.SplitHostPort(o.To)
	n, _ := strconv.ParseUint(text, 10, 16)
	return host, uint16(n)
}

// local is Local as an address; its host is the zero Addr if the system is to choose.
func (o Options) local() (netip.AddrPort, error) {
	bad := func(why string) (netip.AddrPort, error) {
		return netip.AddrPort{}, fmt.Errorf("local: %q is not allowed: %s; write HOST:PORT, such as 192.0.2.7:1884, or :1884 for any address of this machine", o.Local, why)
	}
	host, text, err := net.SplitHostPort(o.Local)
	if err != nil {
		return bad("it is no HOST:PORT")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return bad("the port is not a number from 0 to 65535")
	}
	var ip netip.Addr
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return bad("the host is not an IP address")
		}
		if ip = ip.Unmap(); ip.IsMulticast() {
			return bad("it is a group address, not one of this machine's")
		}
		if ip.IsUnspecified() {
			ip = netip.Addr{}
		}
	}
	return netip.AddrPortFrom(ip, uint16(port)), nil
}
