//go:build unix

package auth_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/mqtt"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// mosquitto is the broker that answers are compared with.
type mosquitto struct {
	socket  string
	command *exec.Cmd
}

// startMosquitto starts one with the files of o.
func startMosquitto(t *testing.T, o auth.Options) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	m := &mosquitto{socket: filepath.Join(dir, "s")}
	m.command = mosquittoCommand(t, dir, m.socket, o)
	if err := m.command.Start(); err != nil {
		t.Fatalf("%v: test/run installs it", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.command.Wait()
	}()
	t.Cleanup(func() {
		_ = m.command.Process.Kill()
		<-ended
	})
	await(t, "mosquitto listens", func() bool {
		conn, err := net.Dial("unix", m.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return m
}

func mosquittoCommand(t *testing.T, dir, socket string, o auth.Options) *exec.Cmd {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("user %s\nlistener 0 %s\nlog_dest none\nallow_anonymous %t\n", me.Username, socket, o.AllowAnonymous == auth.Yes)
	if o.PasswordFile != "" {
		text += "password_file " + o.PasswordFile + "\n"
	}
	if o.ACLFile != "" {
		text += "acl_file " + o.ACLFile + "\n"
	}
	config := filepath.Join(dir, "conf")
	put(t, config, text)
	return exec.Command("mosquitto", "-c", config)
}

// reload has it read its files again. It has done so when a client may publish to a topic that
// it could not publish to before.
func (m *mosquitto) reload(t *testing.T, c *client, topic string) {
	t.Helper()
	if err := m.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "mosquitto has read its files", func() bool { return c.mayPublish(topic) })
}

func put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// client is an MQTT 5 client.
type client struct {
	t      *testing.T
	conn   net.Conn
	reader *mqtt.Reader
	got    map[string]bool // topics of messages
}

// connect connects a subject at the socket of a broker; code is what that says.
func connect(t *testing.T, socket string, s auth.Subject, password string) (c *client, code mqtt.Code) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * patience))
	c = &client{t: t, conn: conn, reader: mqtt.NewReader(conn, 0), got: make(map[string]bool)}
	p := &mqtt.Connect{CleanStart: true, ClientID: []byte(s.Client)}
	if s.User != "" {
		p.Username, p.Password = []byte(s.User), []byte(password)
	}
	c.send(p)
	ack, ok := c.next().(*mqtt.Connack)
	if !ok {
		t.Fatal("no CONNACK")
	}
	return c, ack.Code
}

func (c *client) send(p mqtt.Packet) {
	c.t.Helper()
	if _, err := c.conn.Write(p.Append(nil, mqtt.V5)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) next() mqtt.Packet {
	c.t.Helper()
	h, body, err := c.reader.Next()
	if err != nil {
		c.t.Fatal(err)
	}
	d := mqtt.Decoder{From: mqtt.FromServer}
	p, err := d.Decode(h, body, mqtt.V5)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// await reads until an answer of this type, noting messages.
func (c *client) await(answer mqtt.Type) mqtt.Packet {
	c.t.Helper()
	for {
		switch p := c.next().(type) {
		case *mqtt.Publish:
			c.got[strings.Clone(string(p.Topic))] = true
		default:
			if p.Type() != answer {
				c.t.Fatalf("%v came instead of %v", p.Type(), answer)
			}
			return p
		}
	}
}

func (c *client) mayPublish(topic string) bool {
	c.t.Helper()
	c.send(&mqtt.Publish{QoS: mqtt.QoS1, Topic: []byte(topic), PacketID: 1})
	return !c.await(mqtt.TypePuback).(*mqtt.Puback).Code.Failed()
}

func (c *client) subscribe(filters ...string) {
	c.t.Helper()
	p := &mqtt.Subscribe{PacketID: 2}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: []byte(f)})
	}
	c.send(p)
	c.await(mqtt.TypeSuback)
}

// received are the topics that have come so far.
func (c *client) received() map[string]bool {
	c.t.Helper()
	c.send(&mqtt.Pingreq{})
	c.await(mqtt.TypePingresp)
	return c.got
}
