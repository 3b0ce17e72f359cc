package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// library is a program of ours around an MQTT library in another language. It holds any
// number of clients and lives as long as the test. It reads commands from standard input,
// one line of JSON each, and writes answers and messages the same way, so that the test
// never waits by the clock.
type library struct {
	*process
	t     testing.TB
	stdin io.WriteCloser
	// mu guards clients, which the test fills and the program's output is sorted by.
	mu      sync.Mutex
	clients map[string]*libraryClient
}

// command is what a client shall do: connect, subscribe, unsubscribe, publish, leave, die.
type command struct {
	Client string `json:"client"`
	Do     string `json:"do"`
	// Port, Version (the protocol level), Clean, Will and Aliases are for connect.
	Port    int        `json:"port,omitempty"`
	Version int        `json:"version,omitempty"`
	Clean   *bool      `json:"clean,omitempty"`
	Will    *testament `json:"will,omitempty"`
	Aliases bool       `json:"aliases,omitempty"`
	// Filter is for subscribe and unsubscribe.
	Filter string `json:"filter,omitempty"`
	// Topic, Payloads and Retain are for publish, which sends one message per payload
	// without waiting in between.
	Topic    string   `json:"topic,omitempty"`
	Payloads []string `json:"payloads,omitempty"`
	Retain   bool     `json:"retain,omitempty"`
	// QoS is for subscribe and publish, Properties for these and connect.
	QoS        *byte       `json:"qos,omitempty"`
	Properties *properties `json:"properties,omitempty"`
}

// event is what has become of a command (connected, subscribed, unsubscribed, published,
// disconnected, failed), a message (received), or the broker's DISCONNECT (dismissed).
type event struct {
	Client string `json:"client"`
	Event  string `json:"event"`
	// Present is CONNACK's session present.
	Present bool `json:"present"`
	// Codes are the reason codes, or return codes, that the broker has answered.
	Codes []int  `json:"codes"`
	Error string `json:"error"`
	// The rest is of a message; Properties may be CONNACK's.
	Topic      string     `json:"topic"`
	Payload    string     `json:"payload"`
	QoS        byte       `json:"qos"`
	Retain     bool       `json:"retain"`
	Properties properties `json:"properties"`
}

// library starts the helper program unless it runs already.
func (f *fair) library(name string, start func(testing.TB) *process) *library {
	f.Helper()
	if l := f.libraries[name]; l != nil {
		return l
	}
	l := &library{t: f, process: start(f), clients: map[string]*libraryClient{}}
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	l.stdin = stdin
	l.cmd.Stdout = &lineWriter{each: l.take}
	l.begin(f)
	f.Cleanup(func() {
		_ = stdin.Close()
		l.kill()
		if f.Failed() {
			f.Logf("%s wrote:\n%s", name, l.log)
		}
	})
	f.libraries[name] = l
	return l
}

// lineWriter is a writer that hands on whole lines.
type lineWriter struct {
	each func([]byte)
	rest []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		l.each(line)
		l.rest = rest
	}
}

// take sorts what the program says.
func (l *library) take(line []byte) {
	_, _ = l.log.Write(append(bytes.Clone(line), '\n'))
	var e event
	if json.Unmarshal(line, &e) != nil {
		return // a warning of the library's: it is in the log
	}
	l.mu.Lock()
	c := l.clients[e.Client]
	l.mu.Unlock()
	switch {
	case c == nil:
	case e.Event == "received":
		c.in.put(arrival{message{e.Topic, e.Payload, e.QoS, e.Retain, time.Now()}, e.Properties})
	default:
		c.answers <- e
	}
}

// libraryClient is one client of a library.
type libraryClient struct {
	library  *library
	kind     kind
	id       string
	greeting greeting
	port     int
	in       *inbox
	answers  chan event
	// connected is what CONNACK said.
	connected event
	// subscriptions are made again by rejoin.
	subscriptions []command
}

func dialLibrary(f *fair, l *library, k kind, id string, h greeting) *libraryClient {
	f.Helper()
	c := &libraryClient{library: l, kind: k, id: id, greeting: h, port: f.port, in: newInbox(id), answers: make(chan event, 64)}
	l.mu.Lock()
	l.clients[id] = c
	l.mu.Unlock()
	c.connect()
	if c.connected.Present {
		f.Errorf("%s: the broker has a session of it already", id)
	}
	return c
}

func (c *libraryClient) connect() {
	c.library.t.Helper()
	clean := !c.greeting.keep
	p := &properties{TopicAliasMaximum: c.greeting.aliases}
	if c.greeting.keep {
		p.SessionExpiryInterval = 3600
	}
	c.do(command{
		Do: "connect", Port: c.port, Version: c.kind.version, Clean: &clean, Will: c.greeting.will,
		Aliases: c.greeting.aliases > 0, Properties: p,
	})
	c.connected = c.answer("connected")
	c.accepted(c.connected)
}

func (c *libraryClient) do(cmd command) {
	c.library.t.Helper()
	cmd.Client = c.id
	line, err := json.Marshal(cmd)
	if err == nil {
		_, err = c.library.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		c.library.t.Fatalf("%s: tell %s: %v", c.id, c.library.name, err)
	}
}

// answer waits for what a command has to come to.
func (c *libraryClient) answer(wanted ...string) event {
	c.library.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case e := <-c.answers:
		if !slices.Contains(wanted, e.Event) {
			c.library.t.Fatalf("%s: %s %v %s, want %s", c.id, e.Event, e.Codes, e.Error, wanted)
		}
		return e
	case <-c.library.ended:
		c.library.t.Fatalf("%s has ended: %v", c.library.name, c.library.err)
	case <-timer.C:
		c.library.t.Fatalf("%s: no answer, want %s", c.id, wanted)
	}
	return event{}
}

// accepted checks that no code is a refusal.
func (c *libraryClient) accepted(e event) {
	c.library.t.Helper()
	for _, code := range e.Codes {
		if code < 0 || code >= 0x80 || (e.Event == "connected" && code != 0) {
			c.library.t.Fatalf("%s: %s with the codes %v %s", c.id, e.Event, e.Codes, e.Error)
		}
	}
}

func (c *libraryClient) subscribe(filter string, qos byte) {
	c.library.t.Helper()
	cmd := command{Do: "subscribe", Filter: filter, QoS: &qos}
	c.subscriptions = append(c.subscriptions, cmd)
	c.subscribeAs(cmd)
}

func (c *libraryClient) subscribeAs(cmd command) {
	c.library.t.Helper()
	c.do(cmd)
	if e := c.answer("subscribed"); len(e.Codes) != 1 || e.Codes[0] != int(*cmd.QoS) {
		c.library.t.Fatalf("%s: subscription to %s with QoS %d got %v %s", c.id, cmd.Filter, *cmd.QoS, e.Codes, e.Error)
	}
}

func (c *libraryClient) publish(o outgoing) {
	c.library.t.Helper()
	c.do(command{Do: "publish", Topic: o.topic, Payloads: o.payloads, QoS: &o.qos, Retain: o.retain, Properties: o.properties})
}

func (c *libraryClient) settle() {
	c.library.t.Helper()
	c.accepted(c.answer("published"))
}

func (c *libraryClient) leave() { c.end("leave") }

func (c *libraryClient) die() { c.end("die") }

func (c *libraryClient) end(how string) {
	c.library.t.Helper()
	c.do(command{Do: how})
	c.answer("disconnected")
}

func (c *libraryClient) rejoin() {
	c.library.t.Helper()
	c.connect()
	if c.kind.version > 3 && !c.connected.Present { // MQTT 3.1 does not tell
		c.library.t.Fatalf("%s: the broker has no session of it", c.id)
	}
	for _, cmd := range c.subscriptions {
		c.subscribeAs(cmd)
	}
}

func (c *libraryClient) inbox() *inbox { return c.in }

func dialPaho(f *fair, k kind, id string, h greeting) peer {
	f.Helper()
	return dialLibrary(f, f.library("paho-mqtt", startPaho), k, id, h)
}

// startPaho looks for a Python that has paho-mqtt: the first one on the PATH may be
// another than the distribution's, which has its packages.
func startPaho(t testing.TB) *process {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import paho.mqtt.client").Run() == nil {
			return prepare("paho-mqtt", python, "-u", "testdata/paho/client.py")
		}
	}
	t.Fatal("no python3 has paho-mqtt (Debian's package python3-paho-mqtt): ./test/run installs what the tests need")
	return nil
}

func dialMQTTjs(f *fair, k kind, id string, h greeting) peer {
	f.Helper()
	return dialLibrary(f, f.library("MQTT.js", startMQTTjs), k, id, h)
}

func startMQTTjs(t testing.TB) *process {
	t.Helper()
	node := tool(t, "node", "Node.js")
	if _, err := os.Stat("testdata/mqttjs/node_modules/mqtt"); err != nil {
		t.Fatalf("MQTT.js is missing: run ./test/run, or npm ci in test/e2e/testdata/mqttjs (%v)", err)
	}
	return prepare("MQTT.js", node, "testdata/mqttjs/client.mjs")
}
