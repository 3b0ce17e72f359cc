// Command gateway connects MQTT-SN clients with MQTT: with the broker that it has inside,
// or with one elsewhere.
//
//	gateway                      run, with defaults or with flags, --config, MQTTSN_…
//	gateway config sample        print a configuration file with every option
//	gateway config check FILE    say what is wrong with a configuration file
//	gateway discover             look for gateways
//	gateway doctor               say what does not work on this machine, and what mends it
//	gateway forward              carry packets between devices here and a gateway elsewhere
//	gateway passwd               manage a file of users and passwords
//	gateway pub, gateway sub     publish and subscribe as an MQTT-SN client
//	gateway version              say which build this is
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"mqttsn-gateway/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a clean end; with our handler gone the second one ends
	// the process at once.
	context.AfterFunc(ctx, stop)
	cmd := rootCommand()
	if err := cmd.ExecuteContext(ctx); err != nil {
		report(os.Stderr, err)
		os.Exit(exitStatus(err))
	}
}

// report says why the program ends.
func report(w io.Writer, err error) {
	var wrong *config.Error
	if errors.As(err, &wrong) {
		fmt.Fprintln(w, "gateway: the configuration cannot be used:")
		for _, p := range wrong.Problems {
			fmt.Fprintln(w, "  "+p.String())
		}
		return
	}
	fmt.Fprintln(w, "gateway:", err)
}
