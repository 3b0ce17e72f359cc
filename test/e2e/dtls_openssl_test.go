package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tunnels is a DTLS listener of the gateway, with devices on it that are `openssl s_client
// -dtls1_2`: another implementation than the gateway's.
type tunnels struct {
	addr string
	// flags are the gateway's; usual are s_client's where a test does not care who it is.
	flags, usual []string
}

// anybody is the identity of devices whose identity is no matter.
const anybody = "anybody"

// crowds lets many devices have the same identity.
var crowds = []string{"--set", "dtls.max_connections_per_identity=1000", "--set", "dtls.max_connects_per_identity=1000"}

// newTunnels takes devices with any of the identities, by a pre-shared key. Those of dial
// have the first.
func newTunnels(t testing.TB, identities ...string) *tunnels {
	t.Helper()
	n := &tunnels{addr: freeAddr(t), usual: withKey(identities[0], pskOf(identities[0]))}
	n.flags = append([]string{"--dtls", n.addr, "--set", "dtls.psk_file=" + pskFile(t, identities...)}, crowds...)
	return n
}

func (n *tunnels) args() []string { return n.flags }

func (n *tunnels) dial(t testing.TB) net.Conn {
	t.Helper()
	return dialOpenSSL(t, n.addr, n.usual...)
}

// tunnel is a device's end of s_client, as a connection that moves one packet with each
// Read and Write.
type tunnel struct {
	net.Conn
	t       testing.TB
	openssl *process
	// mayEnd: the test is about the end of the connection.
	mayEnd bool
}

// recordPart is what s_client takes of a record at once.
const recordPart = 1024

// dialOpenSSL starts s_client. Its standard input and output are one socket that keeps
// messages apart, so what is one message there is one record on the network.
func dialOpenSSL(t testing.TB, addr string, args ...string) *tunnel {
	t.Helper()
	syscall.ForkLock.RLock() // no other program is to have them
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err == nil {
		unix.CloseOnExec(ends[0])
		unix.CloseOnExec(ends[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(ends[0]), "device"), os.NewFile(uintptr(ends[1]), "s_client")
	defer func() { _ = errors.Join(near.Close(), far.Close()) }()
	conn, err := net.FileConn(near)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"s_client", "-dtls1_2", "-connect", addr, "-nbio", "-quiet", "-nocommands", "-no_ign_eof"}, args...)
	p := &process{name: "openssl", cmd: exec.Command("openssl", args...), log: &output{}, ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = far, far, p.log
	if err := p.cmd.Start(); err != nil {
		_ = conn.Close()
		t.Fatalf("openssl: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	c := &tunnel{Conn: conn, t: t, openssl: p}
	t.Cleanup(func() {
		_ = conn.Close()
		p.kill()
		if t.Failed() {
			t.Logf("openssl %s: %s", strings.Join(args, " "), p.log)
		}
	})
	return c
}

// Read puts long packets together, which s_client gives out in parts.
func (c *tunnel) Read(b []byte) (int, error) {
	n := 0
	for {
		part, err := c.Conn.Read(b[n:])
		switch {
		case errors.Is(err, io.EOF) || err == nil && part == 0:
			return 0, c.end()
		case err != nil:
			return n, err
		}
		n += part
		if length, known := rawLength(b[:n]); part < recordPart || !known || n >= length {
			return n, nil
		}
	}
}

// end: what ended says no more, so the device hears nothing.
func (c *tunnel) end() error {
	if !c.mayEnd {
		<-c.openssl.ended
		c.t.Errorf("openssl has ended: %s", c.openssl.log)
	}
	return os.ErrDeadlineExceeded
}

// Write is one record.
func (c *tunnel) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	return c.Conn.Write(b)
}

// LocalAddr names the device in messages.
func (c *tunnel) LocalAddr() net.Addr { return mediumAddr("dtls") }

// vanish ends s_client without a word to the gateway.
func (c *tunnel) vanish() {
	c.mayEnd = true
	c.openssl.kill()
}

// leave ends it properly: the gateway is told.
func (c *tunnel) leave() {
	c.t.Helper()
	c.mayEnd = true
	_ = c.Close()
	eventually(c.t, "openssl ends", func() bool { return !c.openssl.running() })
}

// linkMetric sums one of the gateway's metrics over all lines that have a label, written as
// name="value". The names of links have blanks in them.
func (g *gateway) linkMetric(t testing.TB, name, label string) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.SplitSeq(httpBody(t, "http://"+g.admin+"/metrics"), "\n") {
		at := strings.LastIndexByte(line, ' ')
		if bare, _, _ := strings.Cut(line, "{"); bare != "mqttsn_gateway_"+name || !strings.Contains(line[:at], label) {
			continue
		}
		n, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// handshakes are those that have ended with that result.
func (r *rig) handshakes(result string) float64 {
	r.Helper()
	return r.gateway.linkMetric(r.T, "dtls_handshakes_total", `result="`+result+`"`)
}
