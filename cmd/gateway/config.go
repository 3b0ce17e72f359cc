package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/config"
	"mqttsn-gateway/transports/dtls"
)

const checkLong = `check reads a configuration file as the gateway does at its start, and with it the files of
keys, certificates, passwords and rights that it names. Those have to be here, and readable for
the user who asks: run it as the user of the gateway, or with --without-files on another
machine. Nothing listens, and nobody is connected to.`

// configCommand is gateway config.
func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print and check configuration files",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Say everything that is wrong with a configuration file and the files that it names",
		Long:  checkLong,
		Args:  cobra.ExactArgs(1),
	}
	aside := check.Flags().Bool("without-files", false, "leave alone the files that it names")
	check.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := config.Load(config.Input{File: args[0]})
		if err != nil {
			return err
		}
		if !*aside {
			doubts := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			if wrong := checkFiles(c, doubts); wrong != nil {
				return &config.Error{Problems: wrong}
			}
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), args[0]+": ok")
		return err
	}
	cmd.AddCommand(check, &cobra.Command{
		Use:   "sample",
		Short: "Print a configuration file with every option, its meaning and its default",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), config.Sample)
			return err
		},
	})
	return cmd
}

// checkFiles reads the files that a configuration names, of keys, certificates, passwords and
// rights, as the gateway does at its start, and returns what is wrong, one problem for each part
// of the gateway. What is doubtful is said to log. Nothing is opened but these files.
func checkFiles(c config.Config, log *slog.Logger) (wrong []config.Problem) {
	check := func(section string, err error) {
		if err != nil { // which begins with the option's key
			key, what, _ := strings.Cut(err.Error(), ": ")
			wrong = append(wrong, config.Problem{Where: section + "." + key, What: what})
		}
	}
	_, err := auth.New(c.Auth, log)
	check("auth", err)
	if options, err := c.GatewayOptions(); err == nil { // else it is not valid, which Load has said
		check("gateway", options.CheckFiles())
	}
	if c.Broker.URL != "" {
		check("broker", c.Broker.CheckFiles())
	} else {
		check("mqtt", c.MQTT.CheckFiles())
	}
	if len(c.DTLS.Listeners) > 0 {
		_, err := dtls.LoadCredentials(c.DTLS, log)
		check("dtls", err)
	}
	return wrong
}
