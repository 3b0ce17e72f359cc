//go:build unix

package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// README.md is executed. Its fenced blocks mean:
//
//	```sh background   a terminal of its own, until the section ends
//	```sh              commands that have to succeed
//	```text            what one of the section's terminals has to print; until it does,
//	                   the block before is repeated, since a subscriber may not be ready
//	```sh elsewhere    not run here, because it runs this test or changes the machine
//
// The ports that README names are replaced by free ones, and so are the default ports of
// the programs, which is what the small scripts in front of them are for. HOME is a
// directory of the test.

// block is one fenced block.
type block struct {
	line int
	info string
	text string
}

// readmeSections are the blocks of README.md by the heading above them.
func readmeSections(t *testing.T) (headings []string, sections map[string][]block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections = make(map[string][]block)
	heading := ""
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{line: i + 1, info: info}
		case fence:
			sections[heading] = append(sections[heading], *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "## "):
			heading = strings.TrimPrefix(line, "## ")
			headings = append(headings, heading)
		}
	}
	if open != nil {
		t.Fatalf("README.md:%d: the block does not end", open.line)
	}
	return headings, sections
}

func TestReadme(t *testing.T) {
	bench := newBench(t)
	headings, sections := readmeSections(t)
	ran := 0
	for _, h := range headings {
		if len(sections[h]) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(h, " ", "_"), func(t *testing.T) { ran += bench.section(t, sections[h]) })
	}
	if ran < 5 {
		t.Errorf("only %d blocks of README.md were executed", ran)
	}
}

// bench is the machine that README's reader sits at.
type bench struct {
	root    string
	environ []string
	ports   *strings.Replacer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	home, bin := t.TempDir(), t.TempDir()
	ports := freePorts(t, 4)
	udp, other, admin, secure := ports[0], ports[1], ports[2], ports[3]
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	// A port that README gives comes later on the command line and counts; with DTLS the
	// default is another one.
	scripts := map[string]string{
		"go":      fmt.Sprintf("case \"$1 $2 $3\" in\n'run ./cmd/gateway pub' | 'run ./cmd/gateway sub') tool=$3; shift 3; exec %q run ./cmd/gateway $tool -p %s \"$@\" ;;\nesac\nexec %q \"$@\"", goTool, udp, goTool),
		"gateway": fmt.Sprintf("case $1 in\npub | sub)\n\ttool=$1; shift\n\tcase $* in *--psk-file*) port=%s ;; *) port=%s ;; esac\n\texec \"$GOBIN/gateway\" $tool -p $port \"$@\" ;;\nesac\nexec \"$GOBIN/gateway\" \"$@\"", secure, udp),
	}
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		program, err := exec.LookPath(tool)
		if err != nil {
			t.Fatalf("%v: test/run installs it", err)
		}
		scripts[tool] = fmt.Sprintf("exec %q -p %s \"$@\"", program, udp)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{root: root(t), ports: strings.NewReplacer("1883", udp, "1884", other, "8080", admin, "8883", secure)}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "PATH" && name != "HOME" && !strings.HasPrefix(name, "MQTTSN_") {
			b.environ = append(b.environ, e)
		}
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // they may depend on HOME
		value, err := exec.Command(goTool, "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		b.environ = append(b.environ, name+"="+strings.TrimSpace(string(value)))
	}
	b.environ = append(b.environ,
		"PATH="+bin+":"+path, "HOME="+home, "GOBIN="+home+"/go/bin",
		"MQTTSN_UDP_0_LISTEN=127.0.0.1:"+udp, "MQTTSN_MQTT_LISTENERS_0_LISTEN=127.0.0.1:"+udp, "MQTTSN_ADMIN_LISTEN=127.0.0.1:"+admin)
	return b
}

// freePorts are ports that are free for UDP and TCP, outside the range from which the
// system takes ports for clients.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for i := 0; len(ports) < n; i++ {
		if i == 1000 {
			t.Fatal("no free ports")
		}
		port := fmt.Sprint(15000 + (os.Getpid()*7+i)%5000)
		tcp, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", ":"+port)
		if err == nil {
			ports = append(ports, port)
			udp.Close()
		}
		tcp.Close()
	}
	return ports
}

// section runs the blocks under one heading and returns how many.
func (b *bench) section(t *testing.T, blocks []block) (ran int) {
	var terminals []*terminal
	last := block{}
	for _, bl := range blocks {
		switch bl.info {
		case "sh background":
			terminals = append(terminals, b.open(t, bl))
			ran++
		case "sh":
			b.run(t, bl)
			last = bl
			ran++
		case "text":
			want := b.ports.Replace(strings.TrimSpace(bl.text))
			poll(t, fmt.Sprintf("README.md:%d: %q", bl.line, want), terminals, func() bool {
				for _, term := range terminals {
					if strings.Contains(term.output(), want) {
						return true
					}
				}
				if last.text != "" {
					b.run(t, last)
				}
				return false
			})
		case "yaml", "sh elsewhere":
		default:
			t.Errorf("README.md:%d: what is a block of %q to be checked as?", bl.line, bl.info)
		}
	}
	for _, term := range slices.Backward(terminals) { // who depends on others ends first
		term.close(t)
	}
	return ran
}

// command is a shell that runs a block in a process group of its own, as a terminal does.
func (b *bench) command(ctx context.Context, bl block) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", b.ports.Replace(bl.text))
	cmd.Dir, cmd.Env = b.root, b.environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

func (b *bench) run(t *testing.T, bl block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if out, err := b.command(ctx, bl).CombinedOutput(); err != nil {
		t.Fatalf("README.md:%d: %v\n%s", bl.line, err, out)
	}
}

// terminal is a block that goes on running.
type terminal struct {
	line  int
	cmd   *exec.Cmd
	mu    sync.Mutex
	text  bytes.Buffer
	ended chan struct{}
}

func (term *terminal) Write(p []byte) (int, error) {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text.Write(p)
}

func (term *terminal) output() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text.String()
}

func (term *terminal) hasEnded() bool {
	select {
	case <-term.ended:
		return true
	default:
		return false
	}
}

// open starts a block and, if it is a gateway or broker, waits until that listens.
func (b *bench) open(t *testing.T, bl block) *terminal {
	t.Helper()
	term := &terminal{line: bl.line, cmd: b.command(t.Context(), bl), ended: make(chan struct{})}
	term.cmd.Stdout, term.cmd.Stderr = term, term
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = term.cmd.Wait()
		close(term.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-term.cmd.Process.Pid, syscall.SIGKILL) // nothing is left there if all went well
		<-term.ended
	})
	ready := ""
	switch words := strings.Fields(bl.text); {
	case words[0] == "mosquitto":
		ready = "running"
	case strings.Contains(bl.text, "gateway forward"):
		ready = "forwarding: "
	case strings.Contains(bl.text, "gateway") && !strings.Contains(bl.text, " sub ") && !strings.Contains(bl.text, " pub "):
		ready = "listening: "
	}
	poll(t, fmt.Sprintf("README.md:%d: it runs", bl.line), []*terminal{term}, func() bool {
		return strings.Contains(term.output(), ready)
	})
	return term
}

// close presses Ctrl-C, and expects the block to have run until then and to end.
func (term *terminal) close(t *testing.T) {
	t.Helper()
	if term.hasEnded() {
		t.Errorf("README.md:%d: ended by itself: %s", term.line, term.output())
		return
	}
	_ = syscall.Kill(-term.cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-term.ended:
	case <-time.After(10 * time.Second):
		t.Errorf("README.md:%d: does not end at Ctrl-C: %s", term.line, term.output())
	}
}

// poll waits until the condition holds.
func poll(t *testing.T, what string, terminals []*terminal, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); <-tick.C {
		ended := slices.ContainsFunc(terminals, (*terminal).hasEnded)
		if ended && condition() {
			return
		}
		if ended || time.Now().After(deadline) {
			for _, term := range terminals {
				t.Logf("README.md:%d printed:\n%s", term.line, term.output())
			}
			t.Fatalf("%s: not within two minutes, or before it ended", what)
		}
	}
}
