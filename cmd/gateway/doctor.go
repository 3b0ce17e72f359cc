package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/doctor"
	"mqttsn-gateway/transports/dtls"
	"mqttsn-gateway/transports/udp"
)

const doctorLong = `doctor looks at this machine the way the gateway would with the same flags and file, and
says what does not work, why, and which command mends it. A line is one of

  ok    nothing is wrong
  warn  does not stop the gateway as it is configured
  fail  does

It listens at each address and opens each serial port for a moment, which makes some boards
reset; on the configured ports it listens for some seconds, and asks XBee modules for their
settings; it connects to the broker once. It changes nothing, but for the file of a unix
socket that nobody listens on any more, which it removes. As an ordinary user it cannot
see the programs of others: with sudo it names them. Its exit status is 1 if something fails.`

// doctorCommand is the subcommand that finds out why the gateway does not work.
func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what keeps the gateway from working on this machine, and what mends it",
		Long:  doctorLong,
		Args:  cobra.NoArgs,
	}
	flags := config.AddFlags(cmd.Flags())
	asJSON := cmd.Flags().Bool("json", false, "print JSON, for programs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, origins, err := config.Load(flags.Input(os.Environ()))
		if err == nil && cmd.Flags().Changed("broker") && cmd.Flags().Changed("mqtt") {
			err = &config.Error{Problems: []config.Problem{{Where: "--mqtt", What: "is for the embedded broker, which does not run with --broker"}}}
		}
		report := examine(cmd.Context(), c, origins, err)
		write := report.WriteText
		if *asJSON {
			write = report.WriteJSON
		}
		if err := write(cmd.OutOrStdout()); err != nil {
			return err
		}
		if n := report.Failed(); n > 0 {
			return fmt.Errorf("%d of %d findings are fails", n, len(report.Findings))
		}
		return nil
	}
	return cmd
}

// examine looks at everything. wrong is what is wrong with the configuration; what that
// names is looked at only if nothing is.
func examine(ctx context.Context, c config.Config, origins config.Origins, wrong error) *doctor.Report {
	report := new(doctor.Report)
	report.Add(configFindings(wrong)...)
	if wrong != nil {
		report.Add(doctor.SerialPorts(nil)...)
		report.Add(doctor.Clock(buildTime()))
		return report
	}
	report.Add(doctor.SerialPorts(c.Serial)...)
	report.Add(doctor.SerialLines(ctx, c.Serial)...)
	report.Add(keyFiles(c)...)
	report.Add(doctor.Listeners(listeners(c, origins))...)
	if c.State.Dir != "" {
		report.Add(doctor.StateDir(c.State.Dir)...)
	}
	for _, url := range c.Broker.URLs() {
		report.Add(doctor.Broker(ctx, doctor.Upstream{
			URL:          url,
			Username:     c.Broker.Username,
			PasswordFile: c.Broker.PasswordFile,
			CAFile:       c.Broker.CAFile,
			Certificate:  c.Broker.CertificateFile,
			Key:          c.Broker.KeyFile,
			ServerName:   c.Broker.ServerName,
			ALPN:         c.Broker.ALPN,
			DevicesOnly:  c.Broker.DevicesOnly(),
			ClientID:     c.Broker.ClientIDPrefix + "mqttsn-gateway-doctor-" + rand.Text()[:8],
			Timeout:      c.Broker.ConnectTimeout,
		}))
	}
	report.Add(doctor.Clock(buildTime()))
	return report
}

// configFindings is what is wrong with the configuration.
func configFindings(err error) []doctor.Finding {
	if err == nil {
		return []doctor.Finding{{Status: doctor.OK, Subject: "configuration", Text: "can be used"}}
	}
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		return []doctor.Finding{{Status: doctor.Fail, Subject: "configuration", Text: err.Error()}}
	}
	var findings []doctor.Finding
	for _, p := range wrong.Problems {
		findings = append(findings, doctor.Finding{Status: doctor.Fail, Subject: "configuration", Text: p.String()})
	}
	findings[0].Fixes = []string{"see what each option means: gateway config sample"}
	return append(findings, doctor.Finding{
		Status: doctor.Warn, Subject: "configuration",
		Text: "the addresses, ports and the broker that it names were not looked at",
	})
}

// keyFiles looks at the files with secrets that the configuration names, and reads these and
// all others that say who may do what.
func keyFiles(c config.Config) []doctor.Finding {
	var findings []doctor.Finding
	look := func(option, path string) {
		if path != "" {
			findings = append(findings, doctor.KeyFile(option, path))
		}
	}
	look("auth.password_file", c.Auth.PasswordFile)
	look("gateway.identity_file", c.Gateway.IdentityFile)
	if len(c.DTLS.Listeners) > 0 {
		look("dtls.psk_file", c.DTLS.PSKFile)
		look("dtls.key_server_password_file", c.DTLS.KeyServerPasswordFile)
		look("dtls.key_file", c.DTLS.KeyFile)
	}
	if c.Broker.URL != "" {
		look("broker.password_file", c.Broker.PasswordFile)
		look("broker.credentials_file", c.Broker.CredentialsFile)
		if !strings.Contains(c.Broker.KeyFile, "${") { // else each device has its own
			look("broker.key_file", c.Broker.KeyFile)
		}
	} else {
		for i, l := range c.MQTT.Listeners {
			look(fmt.Sprintf("mqtt.listeners.%d.key_file", i), l.KeyFile)
		}
	}
	if slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Status == doctor.Fail }) {
		return findings // what is in them is said when they can be read
	}
	for _, p := range checkFiles(c, slog.New(slog.DiscardHandler)) {
		findings = append(findings, doctor.Finding{Status: doctor.Fail, Subject: p.Where, Text: p.What})
	}
	return findings
}

// listeners are the addresses at which the gateway would listen.
func listeners(c config.Config, origins config.Origins) []doctor.Listener {
	var all []doctor.Listener
	for _, o := range c.UDP {
		all = append(all, doctor.Listener{
			Network: "udp", Addr: o.Listen, Flag: "--udp",
			Open:          func() (io.Closer, error) { return udp.Listen(o) },
			ReceiveBuffer: o.ReceiveBuffer, SendBuffer: o.SendBuffer,
		})
	}
	for _, addr := range c.DTLS.Listeners {
		all = append(all, doctor.Listener{
			Network: "udp", Addr: addr, Flag: "--dtls",
			Open:          func() (io.Closer, error) { return tryDTLS(addr, c.DTLS) },
			ReceiveBuffer: c.DTLS.ReceiveBuffer,
		})
	}
	if c.Broker.URL == "" {
		for _, l := range c.MQTT.Listeners {
			all = append(all, mqttListener(l))
		}
	}
	if c.Admin.Listen != "" {
		_, asked := origins["admin.listen"]
		all = append(all, doctor.Listener{Network: "tcp", Addr: c.Admin.Listen, Flag: "--admin", Optional: !asked})
	}
	return all
}

func tryDTLS(addr string, o dtls.Options) (io.Closer, error) {
	log := slog.New(slog.DiscardHandler)
	trust, err := dtls.LoadCredentials(o, log)
	if err != nil {
		return nil, err
	}
	return listenDTLS(addr, o, trust, log)
}

func mqttListener(o embedded.ListenerOptions) doctor.Listener {
	l := doctor.Listener{
		Network: "tcp", Addr: o.Listen, Flag: "--mqtt", Broker: true,
		Open: func() (io.Closer, error) { return embedded.Listen(o) },
	}
	if path, unix := strings.CutPrefix(o.Listen, "unix:"); unix {
		l.Network, l.Addr = "unix", path
	}
	return l
}

// buildTime is when the sources of this build were committed, zero if that is not known.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}
