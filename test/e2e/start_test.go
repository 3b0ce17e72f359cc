package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestConfigurationErrorsStopTheStart: each names the key, where it is set, and what is
// allowed or meant.
func TestConfigurationErrorsStopTheStart(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file  string
		args  []string
		wants []string
	}{
		"unknown key":    {file: "session:\n  t_rety: 1s\n", wants: []string{"gateway.yaml:2", "session.t_rety", "session.t_retry"}},
		"out of range":   {file: "session:\n  t_retry: 1s\n  n_retry: 1000\n", wants: []string{"gateway.yaml:3", "session.n_retry", "1000", "0 to 100"}},
		"no unit":        {file: "session:\n  t_retry: 5\n", wants: []string{"gateway.yaml:2", "session.t_retry", "5s"}},
		"no number":      {file: "session:\n  n_retry: many\n", wants: []string{"gateway.yaml:2", "session.n_retry", "many", "whole number"}},
		"no YAML":        {file: "session: [\n", wants: []string{"gateway.yaml", "YAML"}},
		"two mistakes":   {file: "session:\n  n_retry: -1\n  nonsense: 1\n", wants: []string{"gateway.yaml:2", "gateway.yaml:3"}},
		"bad topic":      {file: "predefined_topics:\n  - {id: 10, topic: \"a/#\"}\n", wants: []string{"predefined_topics", "a/#"}},
		"reserved id":    {file: "predefined_topics:\n  - {id: 65535, topic: \"a\"}\n", wants: []string{"predefined_topics", "65535"}},
		"unknown --set":  {args: []string{"--set", "session.n_retri=1"}, wants: []string{"--set", "session.n_retri", "session.n_retry"}},
		"unknown flag":   {args: []string{"--brokr", "x"}, wants: []string{"brokr"}},
		"bad --udp":      {args: []string{"--udp", "nowhere"}, wants: []string{"udp", "nowhere", "HOST:PORT"}},
		"bad --broker":   {args: []string{"--broker", "ftp://localhost"}, wants: []string{"broker", "ftp"}},
		"file not there": {args: []string{"--config", "/nowhere/gateway.yaml"}, wants: []string{"/nowhere/gateway.yaml"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "gateway.yaml")
			if err := os.WriteFile(file, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"--config", file, "--udp", freeAddr(t), "--admin", freeAddr(t), "--set", "mqtt.listeners=[]"}
			refused(t, launch(t, "gateway", gatewayBinary, append(args, test.args...)...), test.wants)
		})
	}
}

// refused waits for the end of a gateway that must not start, and reads its reasons.
func refused(t *testing.T, p *process, wants []string) {
	t.Helper()
	t.Cleanup(p.kill)
	eventually(t, "gateway gives up", func() bool { return !p.running() })
	log := p.log.String()
	if p.err == nil {
		t.Error("gateway ends as if all were well")
	}
	for _, want := range wants {
		if !strings.Contains(log, want) {
			t.Errorf("the message does not have %q", want)
		}
	}
	if strings.Contains(log, "goroutine") || t.Failed() {
		t.Errorf("the message is:\n%s", log)
	}
}

// TestAddressInUseStopsTheStart: for each kind of listener.
func TestAddressInUseStopsTheStart(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = udp.Close(), tcp.Close() })
	for flag, taken := range map[string]string{"--udp": udp.LocalAddr().String(), "--mqtt": tcp.Addr().String(), "--admin": tcp.Addr().String()} {
		args := []string{}
		for _, other := range []string{"--udp", "--mqtt", "--admin"} {
			addr := freeAddr(t)
			if other == flag {
				addr = taken
			}
			args = append(args, other, addr)
		}
		refused(t, launch(t, "gateway", gatewayBinary, args...), []string{taken})
	}
}

// TestSampleIsAConfiguration: what the gateway prints as a sample it also accepts.
func TestSampleIsAConfiguration(t *testing.T) {
	t.Parallel()
	sample := launch(t, "config sample", gatewayBinary, "config", "sample")
	eventually(t, "the sample is printed", func() bool { return !sample.running() })
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(sample.log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	check := launch(t, "config check", gatewayBinary, "config", "check", file)
	eventually(t, "the sample is checked", func() bool { return !check.running() })
	if sample.err != nil || check.err != nil {
		t.Errorf("config sample: %v; config check: %v: %s", sample.err, check.err, check.log)
	}
	for _, key := range []string{"t_retry", "n_retry", "max_queued_messages", "predefined_topics"} {
		if !strings.Contains(sample.log.String(), key) {
			t.Errorf("the sample does not have %s", key)
		}
	}
}

// shutdownLimit is how long a gateway may take to end after a signal.
const shutdownLimit = 5 * time.Second

// TestSignals: SIGTERM and SIGINT end the gateway in good order, with clients in every
// stage of talk.
func TestSignals(t *testing.T) {
	run(t, table{"SIGTERM": both(endBy(syscall.SIGTERM)), "SIGINT": both(endBy(syscall.SIGINT))})
}

func endBy(signal syscall.Signal) func(*rig) {
	return func(r *rig) {
		d := subscribed(r, keepSession, 1)
		sleeper := r.device("cli-2")
		ready(sleeper, keepSession)
		sleeper.sleep(60)
		r.publish("s/cli-2", "hi", 1)
		r.publish("s/temp", "hi", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'hi'") // and is not acknowledged
		half := r.device("cli-3")
		half.ask(half.connectFrame(withWill, minute), "02 06")
		r.gateway.signal(signal)
		if !within(shutdownLimit, func() bool { return !r.gateway.running() }) {
			r.Fatalf("gateway still runs %v after %v", shutdownLimit, signal)
		}
		if r.gateway.err != nil {
			r.Errorf("gateway after %v: %v", signal, r.gateway.err)
		}
		sleeper.silent(moment) // a sleeper's radio is off
	}
}
