//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is the process under load.
type server struct {
	pid       int
	udp, mqtt string
	ended     <-chan struct{} // closed when it has ended by itself
	stop      func() error
}

// build builds our gateway into a directory that remove deletes.
func build(ctx context.Context) (program string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "load-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	program = filepath.Join(dir, "gateway")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "mqttsn-gateway/cmd/gateway").CombinedOutput()
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, remove, nil
}

// server starts what is to be measured and waits until it answers.
func (s *settings) server(ctx context.Context, bare bool) (*server, error) {
	if s.pid != 0 && !bare {
		return &server{pid: s.pid, udp: s.udp, mqtt: s.mqtt, stop: func() error { return nil }}, nil
	}
	udp, mqtt, err := freeAddresses()
	if err != nil {
		return nil, err
	}
	if s.mqtt != "" {
		mqtt = s.mqtt
	}
	command := strings.NewReplacer("{udp}", udp, "{mqtt}", mqtt).Replace(s.start)
	if bare {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = self + " --echo " + udp
	}
	srv, err := start(command)
	if err != nil {
		return nil, err
	}
	srv.udp, srv.mqtt = udp, mqtt
	if err := srv.await(ctx, bare); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", command, err), srv.stop())
	}
	return srv, nil
}

// start runs a command by a shell, which becomes it, in an empty directory.
func start(command string) (*server, error) {
	dir, err := os.MkdirTemp("", "load-")
	if err != nil {
		return nil, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if program, rest, _ := strings.Cut(command, " "); strings.Contains(program, "/") && !filepath.IsAbs(program) {
		command = filepath.Join(here, program) + " " + rest
	}
	cmd := exec.Command("/bin/sh", "-c", "exec "+command)
	cmd.Dir = dir
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	// It must not outlive us, however we end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	var result error
	ended := make(chan struct{})
	go func() { result = cmd.Wait(); close(ended) }()
	return &server{pid: cmd.Process.Pid, ended: ended, stop: func() error {
		defer func() { _ = os.RemoveAll(dir) }()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("%s: does not stop\n%s", command, log.String())
		}
		var exit *exec.ExitError
		if errors.As(result, &exit) && exit.ExitCode() > 0 {
			return fmt.Errorf("%s: %w\n%s", command, result, log.String())
		}
		return nil
	}}, nil
}

// await asks until there is an answer, and then whether the broker is there too.
func (srv *server) await(ctx context.Context, bare bool) error {
	c, err := net.Dial("udp4", srv.udp)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	hello := []byte("\x0a\x04\x04\x01\x00\x3cload") // CONNECT
	if bare {
		hello = []byte("\x02\x16") // PINGREQ
	}
	deadline := time.After(20 * time.Second)
	for answer := make([]byte, 100); ; {
		_, _ = c.Write(hello)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err = c.Read(answer); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-srv.ended:
			return errors.New("it has ended")
		case <-deadline:
			return fmt.Errorf("no answer at UDP %s", srv.udp)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if bare || srv.mqtt == "" {
		return nil
	}
	_, _ = c.Write([]byte("\x02\x18")) // DISCONNECT
	m, err := net.DialTimeout("tcp", srv.mqtt, 5*time.Second)
	if err != nil {
		return err
	}
	return m.Close()
}

// freeAddresses are loopback addresses whose ports were free a moment ago.
func freeAddresses() (udp, tcp string, err error) {
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = u.Close() }()
	t, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = t.Close() }()
	return u.LocalAddr().String(), t.Addr().String(), nil
}
