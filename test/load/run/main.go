//go:build linux

// Run measures an MQTT-SN gateway under load and prints one table: messages per second,
// messages per CPU-second of the gateway process, and the ratio of the latter to a bare
// recvmmsg/sendmmsg echo (package baseline) that is measured in between.
//
//	go run ./test/load/run                                # builds and starts our gateway
//	go run ./test/load/run --scenario "up QoS 1" --clients 1000 --runs 5
//	go run ./test/load/run --start "./gateway --udp {udp} --mqtt {mqtt} --admin ''"
//	go run ./test/load/run --lasting --subscriber-qos 1 --start "$PWD/gateway --udp {udp} --mqtt {mqtt} --admin '' --state new"
//	go run ./test/load/run --pid 4711 --udp 127.0.0.1:10000 --mqtt 127.0.0.1:1883   # any other
//
// Messages per CPU-second is the figure that is stable from machine to machine and run to
// run; generator, gateway and broker share the CPUs, so messages per second are those of
// the system. Runs during which other processes took more than a quarter of a CPU are
// marked with an asterisk and left out of the medians while two clean ones remain.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mqttsn-gateway/test/load/baseline"
	"mqttsn-gateway/test/load/generator"
)

// settings are the command line.
type settings struct {
	start     string // command line of the server, {udp} and {mqtt} stand for its addresses
	udp, mqtt string
	pid       int
	brokerPID int
	scenarios []generator.Scenario
	idle      bool
	clients   []int
	length    time.Duration
	runs      int
	window    int
	payload   int
	qos       int
	lasting   bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	var scenario, clients, echo string
	names := []string{"idle"}
	for _, n := range generator.Scenarios {
		names = append(names, string(n))
	}
	flag.StringVar(&s.start, "start", "", "`command` that starts the server, anew for each run; {udp} and {mqtt} stand for its addresses (default: our gateway, built for the purpose)")
	flag.StringVar(&s.udp, "udp", "", "`address` of a gateway that runs already; needs --pid")
	flag.StringVar(&s.mqtt, "mqtt", "", "`address` of the broker, if it is not the gateway that is started")
	flag.IntVar(&s.pid, "pid", 0, "process `id` of the gateway that runs already")
	flag.IntVar(&s.brokerPID, "broker-pid", 0, "process `id` of a broker apart from the gateway, so that its CPU time counts for neither gateway nor others")
	flag.StringVar(&scenario, "scenario", strings.Join(names, ","), "comma-separated `list`")
	flag.StringVar(&clients, "clients", "100,1000", "comma-separated `list` of client numbers")
	flag.DurationVar(&s.length, "time", time.Second, "length of a run")
	flag.IntVar(&s.runs, "runs", 3, "runs of each scenario; the table has their medians")
	flag.IntVar(&s.window, "window", 128, "messages outstanding at most")
	flag.IntVar(&s.payload, "payload", 64, "octets per message")
	flag.IntVar(&s.qos, "subscriber-qos", 0, "QoS of the MQTT client's subscription in \"up QoS 1\"; 1 measures along how much the broker keeps in flight to one client")
	flag.BoolVar(&s.lasting, "lasting", false, "sessions that outlive the connection, which a gateway with a state directory writes down")
	flag.StringVar(&echo, "echo", "", "be the bare echo at that `address`: the program starts itself so")
	flag.Parse()
	if echo != "" {
		at, err := netip.ParseAddrPort(echo)
		if err != nil {
			return err
		}
		return baseline.Echo(ctx, at)
	}
	if err := s.parse(scenario, clients, names); err != nil {
		return err
	}
	runtime.LockOSThread() // the generator is one thread
	return s.measure(ctx)
}

// parse checks the flags and takes the lists apart.
func (s *settings) parse(scenario, clients string, names []string) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flag.Arg(0))
	}
	if (s.udp == "") != (s.pid == 0) {
		return fmt.Errorf("--udp and --pid name a gateway that runs already: give both or none")
	}
	if s.runs < 1 || s.length <= 0 {
		return fmt.Errorf("--runs %d, --time %v: at least 1, more than 0", s.runs, s.length)
	}
	if s.qos < 0 || s.qos > 1 {
		return fmt.Errorf("--subscriber-qos %d: 0 or 1", s.qos)
	}
	for _, name := range strings.Split(scenario, ",") {
		switch {
		case !slices.Contains(names, name):
			return fmt.Errorf("--scenario %q: one of %s", name, strings.Join(names, ", "))
		case name == "idle":
			s.idle = true
		default:
			s.scenarios = append(s.scenarios, generator.Scenario(name))
		}
	}
	for _, text := range strings.Split(clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("--clients %q: a number from 1", text)
		}
		s.clients = append(s.clients, n)
	}
	return nil
}
