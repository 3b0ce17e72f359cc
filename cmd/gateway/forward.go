package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/doctor"
	"mqttsn-gateway/gateway/forward"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

const forwardLong = `forward carries packets between devices here and an MQTT-SN gateway elsewhere, over UDP and in
the frames of MQTT-SN's forwarder encapsulation. The devices know nothing of it, and the
gateway sees each of them. It keeps no state: it may be restarted at any time, and after
an outage of the gateway or the network it goes on by itself.

The gateway must accept it as a forwarder; with this gateway gateway.forwarders says so.

A device's id at the gateway is made of its address and, with more than one link, of the
link's place on the command line: leave the order as it is, and add links at the end.`

const forwardExample = `  gateway forward --serial /dev/ttyUSB0,framing=xbee --to gateway.example:1883
  gateway forward --serial /dev/ttyACM0,baud=57600 --udp :1883 --to 192.0.2.1:1883`

// forwardFlags are the flags of gateway forward.
type forwardFlags struct {
	links   []linkFlag
	options forward.Options
	log     config.LogOptions
}

// linkFlag is one --udp or --serial, which keep their order among each other.
type linkFlag struct{ flag, value string }

const (
	serialFlag = "serial"
	udpFlag    = "udp"
)

// forwardCommand is gateway forward.
func forwardCommand() *cobra.Command {
	f := &forwardFlags{}
	cmd := &cobra.Command{
		Use:     "forward --to HOST:PORT {--serial DEV | --udp ADDR}...",
		Short:   "Carry packets between devices here and a gateway elsewhere",
		Long:    forwardLong,
		Example: forwardExample,
		Args:    cobra.NoArgs,
	}
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.log.Validate(); err != nil {
			return fmt.Errorf("--log-%w", err)
		}
		return f.run(cmd.Context(), newLogger(os.Stderr, f.log))
	}
	return cmd
}

func (f *forwardFlags) add(flags *pflag.FlagSet) {
	f.options, f.log = forward.DefaultOptions(), config.DefaultLogOptions()
	flags.StringVar(&f.options.To, "to", "", "`HOST:PORT` of the gateway")
	flags.Var(&linksValue{f, serialFlag}, serialFlag, "carry packets of devices on this serial port, `DEV`[,baud=N][,framing=raw|slip|cobs|xbee][,key=value], such as /dev/ttyUSB0,framing=xbee (may be repeated)")
	flags.Var(&linksValue{f, udpFlag}, udpFlag, "carry packets of devices that send to this UDP `ADDR`ess, such as :1883; ADDR,key=value sets further options (may be repeated)")
	flags.StringVar(&f.options.Local, "local", f.options.Local, "UDP `ADDR`ess that packets to the gateway leave from; port 0 is any")
	flags.StringVar(&f.log.Level, "log-level", f.log.Level, "log from this `LEVEL` on: debug, info, warn or error")
	flags.SortFlags = false
}

// linksValue collects the links of one flag.
type linksValue struct {
	flags *forwardFlags
	flag  string
}

// Set implements pflag.Value.
func (v *linksValue) Set(text string) error {
	v.flags.links = append(v.flags.links, linkFlag{v.flag, text})
	return nil
}

// Type implements pflag.Value.
func (*linksValue) Type() string { return "stringArray" }

// String implements pflag.Value; it is the default.
func (*linksValue) String() string { return "" }

// run forwards until ctx is done.
func (f *forwardFlags) run(ctx context.Context, log *slog.Logger) error {
	if err := f.options.Validate(); err != nil {
		return fmt.Errorf("--%w", err)
	}
	if len(f.links) == 0 {
		return errors.New("give --serial or --udp at least once: where the devices are (gateway forward --help lists the flags)")
	}
	links, err := f.open(log)
	if err != nil {
		return err
	}
	forwarder, err := forward.New(f.options, links, log)
	if err != nil {
		return errors.Join(err, closeAll(links))
	}
	return forwarder.Run(ctx)
}

// open opens all links or none. Serial ports come first: a descriptor that they get is
// low then, which their library needs.
func (f *forwardFlags) open(log *slog.Logger) ([]transports.Link, error) {
	links := make([]transports.Link, len(f.links))
	for _, first := range []bool{true, false} {
		for i, l := range f.links {
			if (l.flag == serialFlag) != first {
				continue
			}
			link, err := l.open(log)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("--%s %s: %w", l.flag, l.value, err), closeAll(links))
			}
			links[i] = link
		}
	}
	return links, nil
}

// closeAll closes the links that were opened.
func closeAll(links []transports.Link) error {
	var err error
	for _, l := range links {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

func (l linkFlag) open(log *slog.Logger) (transports.Link, error) {
	if l.flag == serialFlag {
		o := serial.DefaultOptions()
		if err := setOptions(&o, "device", l.value); err != nil {
			return nil, err
		}
		return serial.Open(o, log, doctor.SerialPort)
	}
	o := udp.DefaultOptions()
	if err := setOptions(&o, "listen", l.value); err != nil {
		return nil, err
	}
	link, err := udp.Listen(o)
	if err != nil {
		return nil, doctor.UDPPort(o.Listen, err)
	}
	return link, nil
}

// setOptions sets the options of a link that a flag gives in one word,
// FIRST[,key=value]..., where first is the key of what comes first.
func setOptions(options any, first, text string) error {
	settings, err := linkSettings(first, text)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if err := setOption(options, s.key, s.value); err != nil {
			return err
		}
	}
	return nil
}

// linkSetting is an option of a link, as text.
type linkSetting struct{ key, value string }

// linkSettings takes apart FIRST[,key=value]..., the form of --serial.
func linkSettings(first, text string) ([]linkSetting, error) {
	head, rest, more := strings.Cut(text, ",")
	settings := []linkSetting{{first, head}}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not an option: key=value, such as mtu=255", part)
		}
		settings = append(settings, linkSetting{key, value})
	}
	return settings, nil
}

// setOption sets the field of a struct of options that has that key. A list grows by one.
func setOption(options any, key, text string) error {
	v := reflect.ValueOf(options).Elem()
	var keys []string
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("mapstructure")
		if name == key {
			return setField(v.Field(i), key, text)
		}
		keys = append(keys, name)
	}
	slices.Sort(keys)
	return fmt.Errorf("%s: there is no such option: %s", key, strings.Join(keys, ", "))
}

func setField(field reflect.Value, key, text string) error {
	var err error
	var form string
	switch p := field.Addr().Interface().(type) {
	case *string:
		*p = text
	case *[]string:
		*p = append(*p, text)
	case *bool:
		form = "true or false"
		*p, err = strconv.ParseBool(text)
	case *int:
		form = "a whole number"
		*p, err = strconv.Atoi(text)
	case *time.Duration:
		form = "a time such as 500ms or 10s"
		*p, err = time.ParseDuration(text)
	default:
		return fmt.Errorf("%s: cannot be set here", key)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not %s", key, text, form)
	}
	return nil
}
