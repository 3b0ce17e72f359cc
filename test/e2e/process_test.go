package e2e

import (
	"bytes"
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

// patience is how long a test waits for what has to come. It is generous because the
// machine may be busy with other tests; nothing is measured by it.
const patience = 30 * time.Second

// process is a program that a test has started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *output
	// ended is closed when the program has ended; err is how.
	ended chan struct{}
	err   error
}

// output gathers what a program writes. Safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// tellsOfTakenAddress reports whether a server could not start because somebody else has
// its port by now.
func (o *output) tellsOfTakenAddress() bool {
	text := strings.ToLower(o.String())
	return strings.Contains(text, "address already in use") || strings.Contains(text, "has this port")
}

// launch starts a program.
func launch(t testing.TB, name, path string, args ...string) *process {
	t.Helper()
	p := prepare(name, path, args...)
	p.begin(t)
	return p
}

// prepare is a program that is yet to begin. It gets no MQTTSN_ variable of the test's own
// environment.
func prepare(name, path string, args ...string) *process {
	p := &process{name: name, cmd: exec.Command(path, args...), log: &output{}, ended: make(chan struct{})}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MQTTSN_") {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "GORACE=atexit_sleep_ms=0") // else a race-enabled binary ends a second late
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	return p
}

func (p *process) begin(t testing.TB) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
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

// terminate asks the program to end and returns how it ended. One that is still there
// after the limit is killed, which is an error.
func (p *process) terminate(limit time.Duration) error {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-timer.C:
		p.kill()
		return fmt.Errorf("%s still runs %v after SIGTERM", p.name, limit)
	}
}

// kill ends the program at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !within(patience, condition) {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

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

// listening reports whether something accepts TCP connections at the address.
func listening(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// The ports that tests give to servers lie below those that the system gives to
// clients, so no socket of a device takes one in between.
const firstPort, portCount = 20000, 12000

// givenPorts are those that a test of this run has already.
var givenPorts sync.Map

// freeAddr returns a loopback address whose port is free, for UDP and TCP. It is a random
// one, since other runs may look for ports at the same time.
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
