package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/forward"
)

const forwardLong = `forward carries packets between devices here and an MQTT-SN gateway elsewhere, over UDP and in
the frames of MQTT-SN's forwarder encapsulation. The devices know nothing of it, and the
gateway sees each of them. It keeps no state: it may be restarted at any time, but then
sends nothing to a device with an IP address before that has sent something. After an
outage of the gateway or the network it goes on by itself.

The gateway must accept it as a forwarder; with this gateway gateway.forwarders says so.
After a restart the gateway knows the devices again only if their packets leave from the
same port: give --local one.

It reads the sections forward, serial, udp and log of the gateway's configuration. A
device's id at the gateway is made of its address and, with more than one link, of the
number of its link, serial ports first: add links at the end.`

const forwardExample = `  gateway forward --serial /dev/ttyUSB0,framing=xbee --to gateway.example:1883
  gateway forward --serial /dev/ttyACM0,baud=57600 --udp :1883 --to 192.0.2.1:1883`

// forwardCommand is gateway forward.
func forwardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "forward --to HOST:PORT {--serial DEV | --udp ADDR}...",
		Short:   "Carry packets between devices here and a gateway elsewhere",
		Long:    forwardLong,
		Example: forwardExample,
		Args:    cobra.NoArgs,
	}
	flags := config.AddForwardFlags(cmd.Flags())
	cmd.Flags().SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, origins, err := config.Load(flags.Input(os.Environ()))
		if err != nil {
			return err
		}
		return runForwarder(cmd.Context(), c, origins, newLogger(os.Stderr, c.Log))
	}
	return cmd
}

// runForwarder forwards until ctx is done.
func runForwarder(ctx context.Context, c config.Config, origins config.Origins, log *slog.Logger) error {
	if c.Forward.To == "" {
		return errors.New("give the gateway with --to HOST:PORT (or forward.to)")
	}
	if !given(origins, "udp") {
		c.UDP = nil // a listener that nobody asked for is for gateways
	}
	if len(c.Serial)+len(c.UDP) == 0 {
		return errors.New("give --serial or --udp at least once: where the devices are (gateway forward --help lists the flags)")
	}
	c.DTLS.Listeners = nil // who sends to a forwarder speaks with the gateway
	links, err := openLinks(c, log)
	if err != nil {
		return err
	}
	forwarder, err := forward.New(c.Forward, links.all, log)
	if err != nil {
		return errors.Join(err, links.close())
	}
	return forwarder.Run(ctx)
}

// given reports whether anything of a list was set by somebody.
func given(origins config.Origins, list string) bool {
	for name := range origins {
		if name == list || strings.HasPrefix(name, list+".") {
			return true
		}
	}
	return false
}
