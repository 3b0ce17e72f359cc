package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"mqttsn-gateway/mqttsn"
)

// deliveries are messages in the three forms of a topic.
func deliveries() []mqttsn.Packet {
	return []mqttsn.Packet{
		mqttsn.Register{TopicID: 6, MsgID: 1, TopicName: []byte("a/b")},
		mqttsn.Publish{TopicID: 6, Data: []byte("one")},
		mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: 0x6162, Data: []byte("two")},
		mqttsn.Publish{QoS: mqttsn.QoS1, TopicIDType: mqttsn.TopicPredefined, TopicID: 7, MsgID: 9, Data: []byte("three\n\x00")},
		mqttsn.Publish{QoS: mqttsn.QoS1, TopicIDType: mqttsn.TopicPredefined, TopicID: 7, MsgID: 10, Data: []byte("four")},
	}
}

func TestSub(t *testing.T) {
	for _, c := range []struct {
		name, args, out, want string
	}{
		{"count", "-t a/# -C 3", "one\ntwo\nthree\n\x00\n",
			"CONNECT me clean=true will=false 10s|SUBSCRIBE normal 0 a/# qos=0|REGACK 6|PUBACK 9|DISCONNECT false 0"},
		{"one", "-t a/# -1", "one\n",
			"CONNECT me clean=true will=false 10s|SUBSCRIBE normal 0 a/# qos=0|REGACK 6|DISCONNECT false 0"},
		{"verbose", "-t /# -C 3 -v", "a/b: one\nab: two\n0007: three\n\x00\n",
			"CONNECT me clean=true will=false 10s|SUBSCRIBE normal 0 /# qos=0|REGACK 6|PUBACK 9|DISCONNECT false 0"},
		{"forms", "-t a/b -t ab -T 7 -T 8 -q 2 -c -C 12", strings.Repeat("one\ntwo\nthree\n\x00\nfour\n", 3),
			"CONNECT me clean=false will=false 10s|SUBSCRIBE normal 0 a/b qos=2|SUBSCRIBE short 24930  qos=2|" +
				"SUBSCRIBE predefined 7  qos=2|SUBSCRIBE predefined 8  qos=2"},
		{"sleep", "-t ab -e 1 -C 4", "one\ntwo\nthree\n\x00\nfour\n",
			"CONNECT me clean=true will=false 10s|SUBSCRIBE short 24930  qos=0|DISCONNECT true 1|PINGREQ me|REGACK 6|PUBACK 9|PUBACK 10|DISCONNECT true 1"},
		{"forwarder", "-t ab -1 --fe --wlnid N7", "one\n",
			"node N7|CONNECT me clean=true will=false 10s|node N7|SUBSCRIBE short 24930  qos=0|node N7|REGACK 6|node N7|DISCONNECT false 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := startFakeGateway(t, func(g *fakeGateway) { g.deliver, g.asleep = deliveries(), c.name == "sleep" })
			out, log, err := tool(t, subCommand(), "", append(strings.Fields(c.args), "-p", g.port, "-i", "me")...)
			if err != nil || out != c.out || log != "" {
				t.Errorf("%v, stdout %q, stderr %q", err, out, log)
			}
			got := strings.ReplaceAll(g.lines(), "\n", "|")
			if c.name == "forms" { // acknowledgements mingle with the requests
				got = regexp.MustCompile(`\|(REGACK|PUBACK|DISCONNECT) [^|]*`).ReplaceAllString(got, "")
			}
			if got != c.want {
				t.Errorf("gateway received\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestSubVerboseTime(t *testing.T) {
	g := startFakeGateway(t, func(g *fakeGateway) { g.deliver = deliveries() })
	out, _, err := tool(t, subCommand(), "", "-p", g.port, "-t", "ab", "-1", "-V")
	if err != nil || !regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d a/b: one\n$`).MatchString(out) {
		t.Errorf("%v, %q", err, out)
	}
}

// -W ends sub with the exit status of mosquitto_sub, and in good order.
func TestSubTimeout(t *testing.T) {
	g := startFakeGateway(t, nil)
	_, _, err := tool(t, subCommand(), "", "-p", g.port, "-i", "me", "-t", "ab", "-W", "1")
	if err == nil || err.Error() != "timed out after 1 s" || exitStatus(err) != 27 {
		t.Errorf("%v, exit status %d", err, exitStatus(err))
	}
	if !strings.HasSuffix(g.lines(), "\nDISCONNECT false 0") {
		t.Error(g.lines())
	}
}

func TestSubInterrupted(t *testing.T) {
	g := startFakeGateway(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := subCommand()
	cmd.SetArgs([]string{"-p", g.port, "-i", "me", "-t", "ab"})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	eventually(t, func() bool { return strings.Contains(g.lines(), "SUBSCRIBE") }, g.lines)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(g.lines(), "\nDISCONNECT false 0") {
		t.Error(g.lines())
	}
}

func TestSubErrors(t *testing.T) {
	g := startFakeGateway(t, nil)
	refusing := startFakeGateway(t, func(g *fakeGateway) { g.refuse[mqttsn.TypeSubscribe] = mqttsn.NotSupported })
	gone := startFakeGateway(t, func(g *fakeGateway) { g.deliver = []mqttsn.Packet{mqttsn.Disconnect{}} })
	for args, want := range map[string]string{
		"":                               "give -t or -T",
		"-t a+":                          "--topic \"a+\" is not a topic filter",
		"-T 0":                           "--topic-id is 0, must be 1 to 65534",
		"-T 65535":                       "--topic-id is 65535, must be 1 to 65534",
		"-t ab -q -1":                    "--qos is -1, must be 0, 1 or 2",
		"-t ab -c":                       "-c needs -i",
		"-t ab -1 -C 2":                  "either -1 or -C",
		"-t ab -W 9 -p " + refusing.port: "SUBSCRIBE ab refused: not supported: the topic may be invalid, or the broker does not allow it",
		"-t ab -W 9 -p " + gone.port:     "the gateway at 127.0.0.1:" + gone.port + " has ended the connection: it was restarted",
	} {
		list := strings.Fields(args)
		if !strings.Contains(args, "-p ") {
			list = append(list, "-p", g.port)
		}
		_, _, err := tool(t, subCommand(), "", list...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if got := g.lines(); got != "" {
		t.Errorf("gateway received %s", got)
	}
}
