package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mosquittoClients are mosquitto_sub and mosquitto_pub under one name: the first one runs
// from subscribe to the end, the second one for each batch of messages.
type mosquittoClients struct {
	t         testing.TB
	kind      kind
	id        string
	port      int
	greeting  greeting
	in        *inbox
	filters   []string
	qos       byte
	receiving *process
	sending   *process
}

func dialMosquittoClients(f *fair, k kind, id string, h greeting) peer {
	f.Helper()
	return &mosquittoClients{t: f, kind: k, id: id, port: f.port, greeting: h, in: newInbox(id)}
}

// common are the arguments of both programs.
func (m *mosquittoClients) common() []string {
	version := map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}[m.kind.version]
	return []string{"-h", "127.0.0.1", "-p", strconv.Itoa(m.port), "-V", version}
}

func (m *mosquittoClients) subscribe(filter string, qos byte) {
	m.t.Helper()
	m.filters, m.qos = append(m.filters, filter), qos
	if m.receiving != nil {
		m.leave() // it takes its subscriptions from the command line
	}
	m.rejoin()
}

func (m *mosquittoClients) rejoin() {
	m.t.Helper()
	args := append(m.common(), "-i", m.id, "-q", strconv.Itoa(int(m.qos)), "-k", "300", "-F", "%j\t%P", "-d")
	for _, filter := range m.filters {
		args = append(args, "-t", filter)
	}
	if m.greeting.keep {
		args = append(args, "-c")
		if m.kind.version == 5 {
			args = append(args, "-x", "3600")
		}
	}
	if w := m.greeting.will; w != nil {
		args = append(args, "--will-topic", w.Topic, "--will-payload", w.Payload, "--will-qos", strconv.Itoa(int(w.QoS)))
		if w.Retain {
			args = append(args, "--will-retain")
		}
		if w.Properties != nil {
			args = append(args, w.Properties.arguments("will")...)
		}
	}
	subscribed := make(chan string, 1)
	// It would keep to itself what it says before the first message.
	args = append([]string{"-oL", tool(m.t, "mosquitto_sub", "the package mosquitto-clients")}, args...)
	m.receiving = prepare("mosquitto_sub of "+m.id, tool(m.t, "stdbuf", "the package coreutils"), args...)
	m.receiving.cmd.Stdout = &lineWriter{each: m.take(m.receiving.log, subscribed)}
	m.receiving.begin(m.t)
	m.endWithTest(m.receiving)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	// "Subscribed (mid: 1): 2, 2" has the QoS granted for each filter.
	granted := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d, ", m.qos), len(m.filters)), ", ")
	select {
	case line := <-subscribed:
		if !strings.HasSuffix(line, ": "+granted) {
			m.t.Fatalf("%s: %q, want %s", m.id, line, granted)
		}
	case <-m.receiving.ended:
		m.t.Fatalf("%s: mosquitto_sub has ended: %v\n%s", m.id, m.receiving.err, m.receiving.log)
	case <-timer.C:
		m.t.Fatalf("%s: mosquitto_sub has not subscribed\n%s", m.id, m.receiving.log)
	}
}

// take reads the lines of one mosquitto_sub: messages, and what -d tells.
func (m *mosquittoClients) take(log *output, subscribed chan<- string) func([]byte) {
	var once sync.Once
	return func(line []byte) {
		_, _ = log.Write(append(bytes.Clone(line), '\n'))
		switch {
		case bytes.HasPrefix(line, []byte("Subscribed (")):
			once.Do(func() { subscribed <- string(line) })
		case bytes.HasPrefix(line, []byte("{")):
			a, err := parseMosquittoSub(string(line))
			if err != nil {
				a.payload = err.Error() // which nobody expects
			}
			m.in.put(a)
		}
	}
}

// parseMosquittoSub reads a line of the format "%j\t%P": the message in JSON and its user
// properties, which are not complete in JSON if a key repeats.
func parseMosquittoSub(line string) (arrival, error) {
	text, user, _ := strings.Cut(line, "\t")
	var said struct {
		Topic      string `json:"topic"`
		Payload    string `json:"payload"`
		QoS        byte   `json:"qos"`
		Retain     int    `json:"retain"`
		Properties struct {
			ContentType            string `json:"content-type"`
			ResponseTopic          string `json:"response-topic"`
			CorrelationData        string `json:"correlation-data"`
			PayloadFormatIndicator int    `json:"payload-format-indicator"`
			MessageExpiryInterval  int    `json:"message-expiry-interval"`
			SubscriptionIdentifier int    `json:"subscription-identifier"`
		} `json:"properties"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return arrival{}, fmt.Errorf("mosquitto_sub printed %q: %w", line, err)
	}
	a := arrival{message: message{said.Topic, said.Payload, said.QoS, said.Retain == 1, time.Now()}}
	p := said.Properties
	a.properties = properties{
		ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData,
		PayloadFormatIndicator: p.PayloadFormatIndicator == 1, MessageExpiryInterval: p.MessageExpiryInterval,
		SubscriptionIdentifier: p.SubscriptionIdentifier,
	}
	for _, pair := range strings.Fields(user) {
		if a.properties.UserProperties == nil {
			a.properties.UserProperties = map[string][]string{}
		}
		key, value, _ := strings.Cut(pair, ":")
		a.properties.UserProperties[key] = append(a.properties.UserProperties[key], value)
	}
	return a, nil
}

// arguments gives properties to a packet of the Mosquitto clients.
func (p *properties) arguments(packet string) []string {
	var args []string
	add := func(name, value string) {
		if value != "" && value != "0" {
			args = append(args, "-D", packet, name, value)
		}
	}
	add("content-type", p.ContentType)
	add("response-topic", p.ResponseTopic)
	add("correlation-data", p.CorrelationData)
	add("message-expiry-interval", strconv.Itoa(p.MessageExpiryInterval))
	if p.PayloadFormatIndicator {
		add("payload-format-indicator", "1")
	}
	for key, values := range p.UserProperties {
		for _, value := range values {
			args = append(args, "-D", packet, "user-property", key, value)
		}
	}
	return args
}

func (m *mosquittoClients) publish(o outgoing) {
	m.t.Helper()
	args := append(m.common(), "-q", strconv.Itoa(int(o.qos)), "-t", o.topic, "-d")
	if o.retain {
		args = append(args, "-r")
	}
	if o.properties != nil {
		args = append(args, o.properties.arguments("publish")...)
	}
	var text string
	if len(o.payloads) == 1 && o.payloads[0] == "" {
		args = append(args, "-n")
	} else {
		args = append(args, "-l")
		text = strings.Join(o.payloads, "\n") + "\n"
	}
	m.sending = prepare("mosquitto_pub of "+m.id, tool(m.t, "mosquitto_pub", "the package mosquitto-clients"), args...)
	m.sending.cmd.Stdin = strings.NewReader(text)
	m.sending.begin(m.t)
	m.endWithTest(m.sending)
}

func (m *mosquittoClients) settle() {
	m.t.Helper()
	m.awaitEnd(m.sending)
	if err := m.sending.err; err != nil {
		m.t.Fatalf("%s: mosquitto_pub: %v\n%s", m.id, err, m.sending.log)
	}
}

func (m *mosquittoClients) awaitEnd(p *process) {
	m.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		m.t.Fatalf("%s: %s does not end\n%s", m.id, p.name, p.log)
	}
}

// leave has mosquitto_sub end as it does when it is interrupted: with DISCONNECT.
func (m *mosquittoClients) leave() { m.signal(syscall.SIGTERM) }

func (m *mosquittoClients) die() { m.signal(syscall.SIGKILL) }

func (m *mosquittoClients) signal(s syscall.Signal) {
	m.t.Helper()
	m.receiving.signal(s)
	m.awaitEnd(m.receiving)
}

func (m *mosquittoClients) inbox() *inbox { return m.in }

func (m *mosquittoClients) endWithTest(p *process) {
	m.t.Cleanup(func() {
		p.kill()
		if m.t.Failed() {
			m.t.Logf("%s printed:\n%s", p.name, p.log)
		}
	})
}
