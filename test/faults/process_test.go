package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what has to come. Nothing is measured by it.
const patience = 60 * time.Second

// process is a program that a test has started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *output
	// ended is closed when the program has ended.
	ended chan struct{}
}

// output keeps the end of what a program writes. Safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// sizeOfOutput is how much of it is kept at most.
const sizeOfOutput = 256 << 10

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() > sizeOfOutput {
		rest := bytes.Clone(o.text.Bytes()[o.text.Len()-sizeOfOutput/2:])
		o.text.Reset()
		o.text.Write(rest)
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts a program, with the variables of extra in its environment and none that
// begins with MQTTSN_ of the test's own.
func launch(t testing.TB, name string, extra []string, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), log: &output{}, ended: make(chan struct{})}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MQTTSN_") {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	p.cmd.Env = append(p.cmd.Env, extra...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends the program at once, in whatever it does.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// within polls until the condition holds; false if it does not in time.
func within(limit time.Duration, condition func() bool) bool {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(limit); ; <-poll.C {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !within(patience, condition) {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// pass lets time pass, for faults have to last and traffic has to flow meanwhile. Nothing
// is expected at its end.
func pass(length time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	<-ctx.Done()
}

// The ports that tests give to servers lie below those that the system gives to clients,
// and beside those of test/e2e, which may run at the same time.
const firstPort, portCount = 12000, 7000

var givenPorts sync.Map

// freeAddr returns a loopback address whose port is free, for UDP and TCP.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range portCount {
		port := firstPort + rand.IntN(portCount)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		if err == nil {
			err = udp.Close()
		}
		if errors.Join(err, tcp.Close()) == nil {
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
