//go:build unix

package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// program is a gateway process.
type program struct {
	cmd   *exec.Cmd
	log   *journal
	ended chan error
	udp   string
	admin string // URL
}

// launch builds the program, runs it and waits until it listens.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := &program{log: &journal{}, ended: make(chan error, 1)}
	p.cmd = exec.Command(binary, append([]string{"--udp", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	announced := p.log.await(t, "listening: ")
	p.admin = adminURL(announced)
	p.udp = regexp.MustCompile(`udp (\S+),`).FindStringSubmatch(announced)[1]
	return p
}

func (p *program) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end waits until the program has ended.
func (p *program) end(t *testing.T, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(limit):
		t.Fatalf("still running after %v", limit)
		return nil
	}
}

func TestSignalsEndItWell(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := launch(t, "--mqtt", "127.0.0.1:0")
		p.signal(t, s)
		if err := p.end(t, 5*time.Second); err != nil {
			t.Errorf("%v: %v", s, err)
		}
		if m := p.log.messages(t); m[len(m)-1] != "stopped" {
			t.Errorf("%v: logged %q", s, m)
		}
	}
}

// A broker that never answers keeps a shutdown waiting; a second signal does not wait.
func TestSecondSignalEndsItAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := launch(t, "--broker", "mqtt://"+silent.Addr().String())
	device, err := net.Dial("udp", p.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if _, err := device.Write(mqttsn.Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte("c")}.Append(nil)); err != nil {
		t.Fatal(err)
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-poll.C {
		if _, page := get(t, p.admin+"/metrics"); strings.Contains(page, "mqttsn_gateway_broker_requests_unanswered 1\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the device's CONNECT does not reach the broker")
		}
	}
	http.DefaultClient.CloseIdleConnections()
	p.signal(t, syscall.SIGTERM)
	p.log.await(t, "shutting down")
	p.signal(t, syscall.SIGTERM)
	err = p.end(t, 10*time.Second) // by the signal, whose name the error has
	if err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("ended with %v", err)
	}
}

func TestProgramSaysWhyItCannotStart(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(binary, "--set", "session.t_rety=5s")
	cmd.Stderr = &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	want := "gateway: the configuration cannot be used:\n  --set: session.t_rety: there is no such option; did you mean session.t_retry?\n"
	if stderr.String() != want {
		t.Errorf("got %q", stderr.String())
	}
}
