package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"mqttsn-gateway/mqttsn"
)

// tool runs gateway pub or gateway sub and returns what it prints.
func tool(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, log bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(ctx)
	return out.String(), log.String(), err
}

func TestPub(t *testing.T) {
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte("from\na file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args, stdin, want string
	}{
		{"named", "-t a/b -m hi", "", "CONNECT me clean=true will=false 10s|REGISTER a/b|PUBLISH normal 5 qos=0 retain=false \"hi\"|DISCONNECT false 0"},
		{"short", "-t ab -m hi -q 1 -r -k 60", "", "CONNECT me clean=true will=false 60s|PUBLISH short 24930 qos=1 retain=true \"hi\"|DISCONNECT false 0"},
		{"predefined", "-T 7 -m hi -q 2", "", "CONNECT me clean=true will=false 10s|PUBLISH predefined 7 qos=2 retain=false \"hi\"|PUBREL|DISCONNECT false 0"},
		{"minus one", "-T 7 -m hi -q -1", "", "PUBLISH predefined 7 qos=-1 retain=false \"hi\""},
		{"null", "-t ab -n -r", "", "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=0 retain=true \"\"|DISCONNECT false 0"},
		{"file", "-t ab -q 1 -f " + file, "", "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=1 retain=false \"from\\na file\\n\"|DISCONNECT false 0"},
		{"stdin", "-t ab -q 1 -s", "a\nb", "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=1 retain=false \"a\\nb\"|DISCONNECT false 0"},
		{"lines", "-t ab -q 1 -l", "a\r\n\nb", "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=1 retain=false \"a\"|" +
			"PUBLISH short 24930 qos=1 retain=false \"\"|PUBLISH short 24930 qos=1 retain=false \"b\"|DISCONNECT false 0"},
		{"large", "-t ab -q 1 -s", strings.Repeat("x", 60000), "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=1 retain=false \"60000 octets\"|DISCONNECT false 0"},
		{"sleep", "-t ab -m hi -q 1 -e 90", "", "CONNECT me clean=true will=false 10s|PUBLISH short 24930 qos=1 retain=false \"hi\"|DISCONNECT true 90"},
		{"will", "-t ab -m hi -q 1 --will-topic w --will-payload gone --will-qos 1 --will-retain", "",
			"CONNECT me clean=true will=true 10s|WILLTOPIC w qos=1 retain=true|WILLMSG gone|PUBLISH short 24930 qos=1 retain=false \"hi\"|DISCONNECT false 0"},
		{"forwarder", "-t ab -m hi -q -1 --fe --wlnid N7", "", "node N7|PUBLISH short 24930 qos=-1 retain=false \"hi\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := startFakeGateway(t, nil)
			out, log, err := tool(t, pubCommand(), c.stdin, append(strings.Fields(c.args), "-p", g.port, "-i", "me")...)
			if err != nil || out != "" || log != "" {
				t.Errorf("%v, stdout %q, stderr %q", err, out, log)
			}
			eventually(t, func() bool { return strings.ReplaceAll(g.lines(), "\n", "|") == c.want }, func() string {
				return "gateway received\n" + g.lines() + "\nwant\n" + strings.ReplaceAll(c.want, "|", "\n")
			})
		})
	}
}

// eventually polls: QoS -1 tells nobody when it has arrived.
func eventually(t *testing.T, ok func() bool, what func() string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
		<-time.After(time.Millisecond)
	}
}

func TestPubDefaultID(t *testing.T) {
	g := startFakeGateway(t, nil)
	if _, _, err := tool(t, pubCommand(), "", "-p", g.port, "-t", "ab", "-n"); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^CONNECT gateway-pub-\d+ `).MatchString(g.lines()) {
		t.Error(g.lines())
	}
}

func TestPubSourcePort(t *testing.T) {
	g := startFakeGateway(t, nil)
	free, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.LocalAddr().String())
	_, _, err = tool(t, pubCommand(), "", "-p", g.port, "-t", "ab", "-n", "--cport", port)
	if want := "UDP port " + port + " is in use on this machine: choose another (--cport)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	free.Close()
	if _, _, err = tool(t, pubCommand(), "", "-p", g.port, "-t", "ab", "-n", "--cport", port); err != nil {
		t.Error(err)
	}
}

// Each way to go wrong has a message that says what to do.
func TestPubErrors(t *testing.T) {
	g := startFakeGateway(t, nil)
	refusing := startFakeGateway(t, func(g *fakeGateway) { g.refuse[mqttsn.TypePublish] = mqttsn.InvalidTopicID })
	congested := startFakeGateway(t, func(g *fakeGateway) { g.refuse[mqttsn.TypeConnect] = mqttsn.Congestion })
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, silentPort, _ := net.SplitHostPort(silent.LocalAddr().String())
	closed, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, closedPort, _ := net.SplitHostPort(closed.LocalAddr().String())
	closed.Close()

	for args, want := range map[string]string{
		"-t ab":                                      "exactly one of -m, -n, -f, -s and -l",
		"-t ab -m x -n":                              "exactly one of -m, -n, -f, -s and -l",
		"-t ab -f ":                                  "exactly one of -m, -n, -f, -s and -l",
		"-m x":                                       "either -t or -T",
		"-t ab -T 1 -m x":                            "either -t or -T",
		"-T 0 -m x":                                  "--topic-id is 0, must be 1 to 65534",
		"-T 65535 -m x":                              "--topic-id is 65535, must be 1 to 65534",
		"-t a/# -m x":                                "is not a topic name",
		"-t a/b -m x -q -1":                          "QoS -1 needs a short topic",
		"-t ab -m x -q 3":                            "--qos is 3, must be -1, 0, 1 or 2",
		"-t ab -m x -q -1 -e 5":                      "--sleep needs a connection",
		"-t ab -m x --will-retain":                   "--will-retain needs --will-topic",
		"-t ab -m x --will-topic +":                  "--will-topic \"+\" is not a topic name",
		"-t ab -m x --will-topic w --will-qos 3":     "--will-qos is 3",
		"-t ab -m x --wlnid 7":                       "--wlnid needs --fe",
		"-t ab -m x --t-retry 0s":                    "--t-retry is 0s",
		"-t ab -m x --n-retry -1":                    "--n-retry is -1",
		"-t ab -f /does/not/exist":                   "the file to publish: open /does/not/exist",
		"-t ab -m x -h no.such.host.invalid":         "host no.such.host.invalid is not known (--host)",
		"-t ab -m x -p " + closedPort:                "nothing listens on UDP 127.0.0.1:" + closedPort + ": is the gateway running there?",
		"-t ab -m x --t-retry 20ms -p " + silentPort: "no answer from 127.0.0.1:" + silentPort + ": is the gateway running there",
		"-t ab -m x -p " + congested.port:            "CONNECT refused: congestion: the gateway has no broker or no room now: try again later",
		"-T 9 -m x -p " + refusing.port:              "PUBLISH refused: invalid topic ID: the topic id must be one of the gateway's predefined_topics",
		"-T 9 -m x -q 1 -p " + refusing.port:         "PUBLISH predefined topic ID 9 refused: invalid topic ID: the topic id must",
	} {
		list := strings.Split(args, " ")
		if !strings.Contains(args, "-p ") {
			list = append(list, "-p", g.port)
		}
		_, _, err := tool(t, pubCommand(), "", list...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
		if status := exitStatus(err); status != 1 {
			t.Errorf("%s: exit status %d", args, status)
		}
	}
	if got := g.lines(); got != "" {
		t.Errorf("gateway received %s", got)
	}
	small := startFakeGateway(t, func(g *fakeGateway) { g.mtu = 1400 })
	_, _, err = tool(t, pubCommand(), strings.Repeat("x", 2000), "-p", small.port, "-t", "ab", "-s", "-q", "1", "--t-retry", "20ms")
	if err == nil || !strings.Contains(err.Error(), "to a message of 2000 octets, perhaps more than") {
		t.Errorf("2000 octets: %v", err)
	}
	long := strings.Repeat("x", maxPayload+1)
	for _, flag := range []string{"-s", "-l"} {
		if _, _, err := tool(t, pubCommand(), long, "-p", g.port, "-t", "ab", flag); err == nil || !strings.Contains(err.Error(), "is longer than 65526 octets") {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, _, err := tool(t, pubCommand(), long[1:], "-p", g.port, "-t", "ab", "-s"); err == nil || !strings.Contains(err.Error(), "does not fit into a datagram") {
		t.Errorf("65526 octets: %v", err)
	}
}

func TestHelpIsLong(t *testing.T) {
	for _, cmd := range []*cobra.Command{pubCommand(), subCommand()} {
		out, _, err := tool(t, cmd, "", "--help")
		if err != nil || !strings.Contains(out, "-h, --host host") || !strings.Contains(out, "--will-topic") {
			t.Errorf("%v, %s", err, out)
		}
	}
}

// A line is published when it comes, and a signal between lines ends pub in good order.
func TestPubLinesInterrupted(t *testing.T) {
	g := startFakeGateway(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	defer w.Close()
	cmd := pubCommand()
	cmd.SetArgs([]string{"-p", g.port, "-i", "me", "-t", "ab", "-l", "-q", "0"})
	cmd.SetIn(r)
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	if _, err := io.WriteString(w, "one\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(g.lines(), `"one"`) }, g.lines)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(g.lines(), "\nDISCONNECT false 0") {
		t.Error(g.lines())
	}
}

// An interrupted connect has published nothing, and says so.
func TestPubInterrupted(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, _ := net.SplitHostPort(silent.LocalAddr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cmd := pubCommand()
	cmd.SetArgs([]string{"-p", port, "-t", "ab", "-n"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if err := cmd.ExecuteContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDebug(t *testing.T) {
	g := startFakeGateway(t, nil)
	_, log, err := tool(t, pubCommand(), "", "-p", g.port, "-t", "ab", "-m", "hi", "-dd")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sent         9 octets  PUBLISH  09 0C 02 61 62 00 00 68 69\n", "received     3 octets  CONNACK  03 05 00\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s\nwant %s", log, want)
		}
	}
}
