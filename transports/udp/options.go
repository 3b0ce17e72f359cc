package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"mqttsn-gateway/transports"
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
	// Groups are the multicast groups, ADDRESS:PORT each, on which this listener hears
	// clients that search for a gateway, and on which it announces itself. Default: none.
	// Paho's clients use 225.1.1.1:1883 and [ff1e:feed:caca:dead::1]:1883. What is sent
	// to a group comes from the address of Listen, since that is where clients connect;
	// groups of the IP version that the listener does not speak are left out. A listener
	// at one address uses the interface that has it, and so one at 127.0.0.1 needs
	// group_interfaces [lo]. IPv6 groups that end at the local link (ff02::) need the port
	// of Listen, and a listener at every address. Each group whose port is not that of Listen costs a socket
	// and ReceiveBuffer octets of buffer.
	Groups []string `mapstructure:"groups"`
	// GroupInterfaces are the names of the interfaces on which groups are used. Default:
	// every interface that is up, can multicast and has an address of the group's IP
	// version. They are looked for again every 30 s. Linux takes no more than
	// net.ipv4.igmp_max_memberships (20) interfaces for IPv4 groups on one port.
	GroupInterfaces []string `mapstructure:"group_interfaces"`
	// GroupHops is how many networks a datagram to a group may cross, 1 to 255. A client
	// that searches asks for a number of its own, and gets no more than this; one that
	// asks for all gets this. Default 1, which is the local network. More needs routers
	// that forward multicast, and reaches more machines.
	GroupHops int `mapstructure:"group_hops"`
	// User is the user whose rights the clients of this listener have, and in whose name
	// they are shown to a broker elsewhere: on plain UDP nobody proves to be anybody, so it
	// stands for all who can reach the listener, forwarders' nodes among them. Up to 256
	// octets. Default "", an anonymous client.
	User string `mapstructure:"user"`
}

// Bounds of Options.
const (
	minMTU    = 64
	maxMTU    = 65507 // what IPv4 leaves of 65535 octets after its own header and UDP's
	maxBuffer = 1 << 30
	maxBatch  = 1024
	maxHops   = 255
)

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		Listen:        "127.0.0.1:1883",
		MTU:           1400,
		ReceiveBuffer: 4 << 20,
		SendBuffer:    1 << 20,
		Batch:         64,
		GroupHops:     1,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. Names are not resolved and no port is tried.
func (o Options) Validate() error {
	if err := transports.ValidateListen(o.Listen, "1883"); err != nil {
		return fmt.Errorf("listen: %w", err)
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
	if err := transports.ValidateUser(o.User); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	return o.validateGroups()
}

func (o Options) validateGroups() error {
	if _, err := parseGroups(o.Groups); err != nil {
		return err
	}
	if slices.Contains(o.GroupInterfaces, "") {
		return errors.New(`group_interfaces: "" is not allowed: the name of an interface, such as eth0`)
	}
	if len(o.Groups) > 0 && (o.GroupHops < 1 || o.GroupHops > maxHops) {
		return fmt.Errorf("group_hops: %d is not allowed: 1 to %d", o.GroupHops, maxHops)
	}
	return nil
}

// parseGroups reads Options.Groups.
func parseGroups(list []string) ([]netip.AddrPort, error) {
	var groups []netip.AddrPort
	for _, text := range list {
		bad := func(why string) error {
			return fmt.Errorf("groups: %q is not allowed: %s; write ADDRESS:PORT, such as 225.1.1.1:1883 or [ff1e:feed:caca:dead::1]:1883", text, why)
		}
		group, err := netip.ParseAddrPort(text)
		switch {
		case err != nil:
			return nil, bad("it is no ADDRESS:PORT")
		case group.Addr().Zone() != "":
			return nil, bad("interfaces are named in group_interfaces")
		case !group.Addr().Unmap().IsMulticast():
			return nil, bad("the address is not that of a multicast group")
		case group.Port() == 0:
			return nil, bad("the port is 0")
		}
		group = netip.AddrPortFrom(group.Addr().Unmap(), group.Port())
		if slices.Contains(groups, group) {
			return nil, bad("it is there twice")
		}
		groups = append(groups, group)
	}
	return groups, nil
}
