package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"mqttsn-gateway/config"
)

const rootLong = `gateway lets MQTT-SN clients (sensors, radios, microcontrollers) take part in MQTT.

Without flags it listens on this host only: for MQTT-SN on UDP port 1883, and with its own
MQTT broker on TCP port 1883. To let the network in: gateway --udp :1883 --mqtt :1883`

// rootCommand is the command line. The root itself runs the gateway.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "gateway",
		Short:         "MQTT-SN gateway with an MQTT broker inside",
		Long:          rootLong,
		Args:          cobra.NoArgs,
		SilenceUsage:  true, // main reports errors, and a usage text would hide them
		SilenceErrors: true,
	}
	flags := config.AddFlags(root.Flags())
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("broker") && cmd.Flags().Changed("mqtt") {
			return errors.New("--mqtt is for the embedded broker, which does not run with --broker")
		}
		c, origins, err := config.Load(flags.Input(os.Environ()))
		if err != nil {
			return err
		}
		limitMemory(os.DirFS("/"), os.Getenv)
		return run(cmd.Context(), c, origins, newLogger(os.Stderr, c.Log))
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(pubCommand(), subCommand(), configCommand(), discoverCommand(), doctorCommand(), forwardCommand(), passwdCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), buildText())
			return err
		},
	}
}

// buildText says which build this is, from what the Go tool stamped into it.
func buildText() string {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = ", revision " + s.Value
			}
		}
	}
	return fmt.Sprintf("gateway %s%s, %s %s/%s", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
