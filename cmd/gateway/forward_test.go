package main

import (
	"bytes"
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/pflag"

	"mqttsn-gateway/config"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports/serial/framing"
)

// forwardConfig is the configuration that the flags of gateway forward give.
func forwardConfig(t *testing.T, args ...string) (config.Config, config.Origins) {
	t.Helper()
	set := pflag.NewFlagSet("forward", pflag.ContinueOnError)
	flags := config.AddForwardFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, origins, err := config.Load(flags.Input(nil))
	if err != nil {
		t.Fatal(err)
	}
	return c, origins
}

// forwarding runs gateway forward until the end of the test, and returns the line that
// says what it does.
func forwarding(t *testing.T, args ...string) (announced string, log *journal) {
	t.Helper()
	c, origins := forwardConfig(t, args...)
	log = &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runForwarder(ctx, c, origins, log.logger()) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the forwarder still runs 10 s after it was to end")
		}
	})
	return log.await(t, "forwarding: "), log
}

// forwardTo is forwarding with two UDP links, whose ports it returns.
func forwardTo(t *testing.T, address string) (ports [2]string, log *journal) {
	t.Helper()
	announced, log := forwarding(t, "--to", address, "--udp", "127.0.0.1:0", "--udp", "127.0.0.1:0,mtu=500", "--local", "127.0.0.1:0")
	m := regexp.MustCompile(`^forwarding: mqtt-sn udp 127\.0\.0\.1:(\d+), udp 127\.0\.0\.1:(\d+) to the gateway at udp (.*)$`).FindStringSubmatch(announced)
	if m == nil || m[3] != address {
		t.Fatalf("announced: %s", announced)
	}
	return [2]string{m[1], m[2]}, log
}

// TestForward: clients on two links speak with a gateway that knows forwarders, and each
// is a node of its own.
func TestForward(t *testing.T) {
	g := startFakeGateway(t, func(g *fakeGateway) {
		g.deliver = []mqttsn.Packet{mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: 'a'<<8 | 'b', Data: []byte("down")}}
	})
	ports, _ := forwardTo(t, "127.0.0.1:"+g.port)
	for link, port := range ports {
		if _, log, err := tool(t, pubCommand(), "", "-p", port, "-i", "me", "-t", "a/b", "-m", "up", "-q", "2"); err != nil || log != "" {
			t.Fatalf("%v, %s", err, log)
		}
		out, log, err := tool(t, subCommand(), "", "-p", port, "-i", "you", "-t", "ab", "-C", "1")
		if err != nil || log != "" || out != "down\n" {
			t.Fatalf("%v, %q, %s", err, out, log)
		}
		node := "node " + string(rune(link)) + "\x7f\x00\x00\x01" // then the port
		for _, want := range []string{"CONNECT me", "CONNECT you", "PUBLISH normal 5 qos=2", "SUBSCRIBE"} {
			if !regexp.MustCompile(regexp.QuoteMeta(node) + `(?s:.{1,2})\n` + want).MatchString(g.lines()) {
				t.Errorf("link %d: no %s of node % x: %q", link, want, node, g.lines())
			}
		}
	}
}

// TestForwardToGateway: this gateway takes its own forwarder, with nothing to set up.
func TestForwardToGateway(t *testing.T) {
	announced, _ := start(t)
	address := regexp.MustCompile(`udp (\S+),`).FindStringSubmatch(announced)[1]
	ports, log := forwardTo(t, address)
	if _, text, err := tool(t, pubCommand(), "", "-p", ports[0], "-t", "a/b", "-m", "kept", "-q", "1", "-r"); err != nil {
		t.Fatalf("%v, %s", err, text)
	}
	out, text, err := tool(t, subCommand(), "", "-p", ports[1], "-t", "a/#", "-v", "-q", "1", "-C", "1")
	if err != nil || strings.TrimSpace(out) != "a/b: kept" {
		t.Errorf("%v, %q, %s", err, out, text)
	}
	log.await(t, "the gateway answers")
}

// TestForwardSerial: a device on a serial line.
func TestForwardSerial(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no terminals of that kind
	}
	g := startFakeGateway(t, nil)
	device, line, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	defer line.Close()
	announced, _ := forwarding(t, "--serial", line.Name()+",baud=57600,framing=slip,crc=true", "--to", "127.0.0.1:"+g.port)
	if want := "forwarding: mqtt-sn serial " + line.Name() + " to the gateway at udp "; !strings.HasPrefix(announced, want) {
		t.Errorf("announced: %s, want %s", announced, want)
	}
	slip := framing.SLIP(true)
	ask := mqttsn.Connect{CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("me")}.Append(nil)
	if _, err := device.Write(slip.Append(nil, ask)); err != nil {
		t.Fatal(err)
	}
	answer := make(chan []byte, 1)
	go func() {
		decoder, b := slip.NewDecoder(), make([]byte, 100)
		for len(answer) == 0 {
			n, err := device.Read(b)
			if err != nil {
				answer <- nil
				return
			}
			decoder.Decode(b[:n], func(packet []byte) { answer <- bytes.Clone(packet) })
		}
	}()
	select {
	case got := <-answer:
		if want := (mqttsn.Connack{}).Append(nil); !bytes.Equal(got, want) {
			t.Errorf("the device got % X, want % X", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("the device got no answer")
	}
	if want := "node \x01\nCONNECT me clean=true will=false 10s"; g.lines() != want {
		t.Errorf("the gateway got %q, want %q", g.lines(), want)
	}
}

// Each way to go wrong has a message that says what to do.
func TestForwardErrors(t *testing.T) {
	g := startFakeGateway(t, nil)
	to := "--to 127.0.0.1:" + g.port
	for args, want := range map[string]string{
		"":                                "give the gateway with --to HOST:PORT",
		"--to gateway.example --udp :0":   `it is no HOST:PORT`,
		to:                                "give --serial or --udp at least once",
		to + " --local x --udp :0":        `forward.local`,
		to + " --log-level loud --udp :0": `"loud" is not a level`,
		to + " --udp 1883":                `"1883" is not allowed`,
		to + " --udp 127.0.0.1:" + g.port: "udp.0: cannot listen at udp 127.0.0.1:" + g.port,
		to + " --udp 127.0.0.1:0,mtu=x":   "udp.0.mtu",
		to + " --udp 127.0.0.1:0,mut=1":   "udp.0.mut",
		to + " --serial /dev/null,baud=1": "1 is not allowed: 300 to",
		to + " --serial ,baud=9600":       "serial.0.device",
		to + " --udp 127.0.0.1:0 --serial /does/not/exist":    "/does/not/exist",
		to + " --udp 127.0.0.1:0 stray":                       `unknown command "stray" for "forward"`,
		to + " --udp 127.0.0.1:0 --local 127.0.0.1:" + g.port: "another program has this UDP port",
	} {
		_, _, err := tool(t, forwardCommand(), "", strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestForwardHelp(t *testing.T) {
	cmd := forwardCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--to HOST:PORT", "--serial DEV", "--udp ADDR", `--local ADDR`, "--log-level LEVEL", "gateway.forwarders"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
