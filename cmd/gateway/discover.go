package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"mqttsn-gateway/gateway/dnssd"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

const discoverLong = `discover looks for MQTT-SN gateways, of any make, and lists those that it hears.

It sends SEARCHGW to multicast groups on every interface and to this machine, and listens
for GWINFO and ADVERTISE, and for gateways that announce themselves by DNS-SD as a service
of type _mqtt-sn._udp. A gateway is heard only where it takes part: this one needs groups in
its udp section, or dnssd enabled. With --host one gateway is asked, and nobody else.`

const discoverExample = `  gateway discover
  gateway discover --interface eth0 --timeout 20m   # long enough for ADVERTISE
  gateway discover --host 192.0.2.1:1883`

// discoverGroups are the groups of Paho's clients and gateways.
var discoverGroups = []string{"225.1.1.1:1883", "[ff1e:feed:caca:dead::1]:1883"}

// discoverFlags are the flags of gateway discover.
type discoverFlags struct {
	groups     []string
	interfaces []string
	radius     uint8
	timeout    time.Duration
	count      uint
	host       string
	dnssd      bool
	json       bool
}

// discoverCommand is gateway discover.
func discoverCommand() *cobra.Command {
	f := &discoverFlags{}
	cmd := &cobra.Command{
		Use:     "discover",
		Short:   "Look for MQTT-SN gateways",
		Long:    discoverLong,
		Example: discoverExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.groups, "group", discoverGroups, "`ADDRESS:PORT` of a multicast group; may be repeated")
	flags.StringArrayVar(&f.interfaces, "interface", nil, "`name` of an interface to search on; may be repeated (default: all)")
	flags.Uint8Var(&f.radius, "radius", 1, "how many `networks` the search may cross; 0 is no limit")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "`time` to listen for")
	flags.UintVarP(&f.count, "count", "C", 0, "exit as soon as `n` addresses of gateways are heard")
	flags.StringVar(&f.host, "host", "", "`HOST:PORT` of one gateway to ask, and nobody else")
	flags.BoolVar(&f.dnssd, "dnssd", true, "browse by DNS-SD too")
	flags.BoolVar(&f.json, "json", false, "print a JSON object per gateway")
	flags.SortFlags = false
	cmd.MarkFlagsMutuallyExclusive("host", "group")
	cmd.MarkFlagsMutuallyExclusive("host", "interface")
	return cmd
}

func (f *discoverFlags) run(ctx context.Context, out, log io.Writer) error {
	if f.timeout <= 0 {
		return fmt.Errorf("--timeout is %v, must be more than 0", f.timeout)
	}
	ctx, stop := context.WithTimeout(ctx, f.timeout)
	defer stop()
	found := &sightings{by: map[string]*sighting{}, enough: int(f.count), stop: stop}
	var err error
	if f.host != "" {
		err = f.askOne(ctx, found)
	} else {
		err = f.askAll(ctx, found, log)
	}
	if err != nil {
		return err
	}
	if list := found.list(); len(list) == 0 {
		return fmt.Errorf("no gateway was heard in %v: is one running in this network, with groups in its udp section or dnssd enabled? Not every network carries multicast: ask one gateway with --host HOST:PORT", f.timeout)
	} else if f.json {
		return printJSON(out, list)
	} else {
		return printTable(out, list)
	}
}

// askOne asks one gateway, which answers nobody else.
func (f *discoverFlags) askOne(ctx context.Context, found *sightings) error {
	address := f.host
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "1883")
	}
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("--host %s: %w", f.host, err)
	}
	c := client.New(conn, client.Options{Tretry: max(f.timeout/8, time.Millisecond), Nretry: 10})
	defer func() { _ = c.Close() }()
	g, err := c.SearchGateway(ctx, f.radius)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrNoAnswer) {
		return fmt.Errorf("no answer from %s in %v: is a gateway running there that is connected with its broker, and does a firewall let UDP pass?", address, f.timeout)
	} else if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	to, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	local, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	found.note(sighting{ID: int(g.ID), Address: to.String(), Interface: interfaceOf(transports.IPAddr(local, 0)), GWInfo: true})
	return nil
}

// askAll searches in every way there is. One that cannot be gone is told, and does not
// keep from the others.
func (f *discoverFlags) askAll(ctx context.Context, found *sightings, log io.Writer) error {
	o := udp.DefaultOptions()
	o.Listen, o.Groups, o.GroupHops = ":0", f.groups, int(f.radius)
	if f.radius == 0 {
		o.GroupHops = 255
	}
	o.GroupInterfaces = f.interfaces
	if len(f.interfaces) == 0 {
		o.GroupInterfaces = searchable()
	}
	if err := o.Validate(); err != nil {
		return fmt.Errorf("--group: %s", strings.TrimPrefix(err.Error(), "groups: "))
	}
	var all sync.WaitGroup
	defer all.Wait()
	l, err := udp.Listen(o)
	if err != nil {
		deaf := err
		if l, err = udp.Search(o); err == nil {
			fmt.Fprintf(log, "gateway: only answers to this program alone are heard: %v\n", deaf)
		}
	}
	switch {
	case err == nil:
		defer func() { _ = l.Close() }()
		all.Go(func() { _ = l.Serve(ctx, found.receive) }) // ends with ctx; nothing else ends it so soon
		all.Go(func() { f.search(ctx, l) })
	case !f.dnssd:
		return err
	default:
		fmt.Fprintf(log, "gateway: searching by DNS-SD alone: %v\n", err)
	}
	if f.dnssd {
		all.Go(func() {
			if err := dnssd.Browse(ctx, f.interfaces, found.announced); err != nil {
				fmt.Fprintf(log, "gateway: not searching by DNS-SD: %v\n", err)
			}
		})
	}
	<-ctx.Done()
	return nil
}

// searchable are the interfaces to search on: those that can multicast, and this machine's
// own.
func searchable() (names []string) {
	all, _ := net.Interfaces() // without, the link says that there is none
	for _, i := range all {
		if i.Flags&(net.FlagMulticast|net.FlagLoopback) != 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// search sends SEARCHGW, with gaps that grow [SN-6.1]. A gateway that listens to this
// machine alone hears no group, so it is asked at its port.
func (f *discoverFlags) search(ctx context.Context, l *udp.Link) {
	packet := mqttsn.SearchGW{Radius: f.radius}.Append(nil)
	var here []transports.Datagram
	for _, text := range f.groups {
		group, _ := netip.ParseAddrPort(text) // checked
		ip := netip.IPv6Loopback()
		if group.Addr().Unmap().Is4() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		here = append(here, transports.Datagram{Addr: transports.IPAddr(netip.AddrPortFrom(ip, group.Port()), 0), Data: packet})
	}
	for gap := time.Second; ; gap *= 2 {
		_ = l.Broadcast(transports.Addr{}, f.radius, packet) // what fails, fails on an interface
		if len(f.interfaces) == 0 {
			_, _ = l.Send(here)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
	}
}
